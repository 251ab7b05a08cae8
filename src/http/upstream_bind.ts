import { isIP } from "node:net";
import { logError } from "./log_context.ts";
import type { Request } from "./request.ts";

/** proxy_bind's value for a request: an address with an optional port; an empty or invalid one binds nothing. */
export function openBindAddress(
  request: Request,
  text: string,
): { host: string; port: number | undefined } | undefined {
  if (text === "") return undefined;
  const bracketed = /^\[([^\]]+)\](?::(\d+))?$/.exec(text) ?? /^([^:]+):(\d+)$/.exec(text);
  const host = bracketed === null ? text : bracketed[1];
  const port = bracketed?.[2] === undefined ? undefined : Number(bracketed[2]);
  if (isIP(host) === 0) {
    logError(request, "error", `invalid local address "${text}"`);
    return undefined;
  }
  return { host, port };
}
