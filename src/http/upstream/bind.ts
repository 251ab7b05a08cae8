import { isIP } from "node:net";
import { logError } from "../core/log_context.ts";
import type { Request } from "../core/request.ts";

/** Where connections to servers come from; without a port the system chooses one. */
export interface LocalAddress {
  readonly host: string;
  readonly port: number | undefined;
}

/** `address[:port]`; undefined for what is none. */
export function parseBind(text: string): LocalAddress | undefined {
  const match = /^\[([^\]]+)\](?::(\d{1,5}))?$/.exec(text) ?? /^([^:]+):(\d{1,5})$/.exec(text);
  const host = match === null ? text : match[1];
  const port = match?.[2] === undefined ? undefined : Number(match[2]);
  if (isIP(host) === 0 || (port !== undefined && (port < 1 || port > 65535))) return undefined;
  return { host, port };
}

/** proxy_bind's value for a request; an empty or invalid one binds nothing. */
export function openBindAddress(request: Request, text: string): LocalAddress | undefined {
  if (text === "") return undefined;
  const address = parseBind(text);
  if (address === undefined) logError(request, "error", `invalid local address "${text}"`);
  return address;
}
