/** User and password of an `Authorization: Basic` field; byte strings. */
export interface Credentials {
  readonly user: string;
  readonly password: string;
}

/**
 * Reads the value of an Authorization field (RFC 7617, ngx_http_auth_basic_user); undefined without a field, or if it
 * is malformed.
 */
export function basicCredentials(field: string | undefined): Credentials | undefined {
  if (field === undefined || field.slice(0, 6).toLowerCase() !== "basic ") return undefined;
  const text = field.slice(6).replace(/^ +/, "");
  const digits = /^[A-Za-z0-9+/]+/.exec(text)?.[0] ?? "";
  if (digits.length % 4 === 1 || !/^=*$/.test(text.slice(digits.length))) return undefined;
  const decoded = Buffer.from(digits, "base64").toString("latin1");
  const colon = decoded.indexOf(":");
  if (colon <= 0) return undefined;
  return { user: decoded.slice(0, colon), password: decoded.slice(colon + 1) };
}
