import type { Request } from "./request.ts";

/** What an `Authorization: Basic` field holds; byte strings. */
export interface Credentials {
  readonly user: string;
  readonly password: string;
}

/** Reads the user and password a client sent (ngx_http_auth_basic_user); undefined without, or where they are malformed. */
export function basicCredentials(request: Request): Credentials | undefined {
  const field = request.headers.get("authorization");
  if (field === undefined || field.slice(0, 6).toLowerCase() !== "basic ") return undefined;
  const text = field.slice(6).replace(/^ +/, "");
  const digits = /^[A-Za-z0-9+/]+/.exec(text)?.[0] ?? "";
  if (digits.length % 4 === 1 || !/^=*$/.test(text.slice(digits.length))) return undefined;
  const decoded = Buffer.from(digits, "base64").toString("latin1");
  const colon = decoded.indexOf(":");
  if (colon <= 0) return undefined;
  return { user: decoded.slice(0, colon), password: decoded.slice(colon + 1) };
}
