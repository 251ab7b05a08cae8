import { isIPv4, isIPv6 } from "node:net";
import { parseNumber } from "../config/values.ts";
import type { Address } from "../net/address.ts";

/** Where a server is: an address, or a name to be resolved when the configuration is loaded. */
export type Target = Address | { readonly host: string; readonly port: number };

/** Longest path a unix socket's address can hold, without its terminating zero. */
const UNIX_PATH = 107;

/**
 * Parses `address[:port]` as nginx does: `unix:/path`, `[ipv6]:port`, an IPv4 address or a name. Returns nginx's words
 * for what is wrong with it ("invalid port"), which are put before ` in upstream "…"`.
 */
export function parseTarget(text: string, defaultPort: number): Target | string {
  if (/^unix:/i.test(text)) {
    const path = text.slice(5);
    if (path === "") return "no path in the unix domain socket";
    if (path.length > UNIX_PATH) return "too long path in the unix domain socket";
    return { family: "unix", path };
  }
  return text.startsWith("[") ? parseIPv6(text, defaultPort) : parseHost(text, defaultPort);
}

function parseIPv6(text: string, defaultPort: number): Target | string {
  const end = text.indexOf("]");
  if (end === -1) return "invalid host";
  const rest = text.slice(end + 1);
  if (rest.includes("/") || (rest !== "" && !rest.startsWith(":"))) return "invalid host";
  const port = rest === "" ? defaultPort : parsePort(rest.slice(1));
  if (port === undefined) return "invalid port";
  const host = text.slice(1, end);
  if (host === "") return "no host";
  if (!isIPv6(host) || host.includes("%")) return "invalid IPv6 address";
  // The short form that nginx prints: RFC 5952, lower case.
  return { family: "ipv6", host: new URL(`http://[${host}]/`).hostname.slice(1, -1), port };
}

function parseHost(text: string, defaultPort: number): Target | string {
  if (/[/?]/.test(text)) return "invalid host";
  const colon = text.indexOf(":");
  const port = colon === -1 ? defaultPort : parsePort(text.slice(colon + 1));
  if (port === undefined) return "invalid port";
  const host = colon === -1 ? text : text.slice(0, colon);
  if (host === "") return "no host";
  return isIPv4(host) ? { family: "ipv4", host, port } : { host, port };
}

function parsePort(text: string): number | undefined {
  const port = parseNumber(text);
  return port === undefined || port < 1 || port > 65535 ? undefined : port;
}
