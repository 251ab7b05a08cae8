/** Parsing of addresses in the configuration and in fields (ngx_parse_url, ngx_parse_addr_port). */

import { parseNumber } from "../config/values.ts";
import { type Address, type InetAddress, type UnixAddress, withPort } from "./address.ts";
import { ipv4Text, ipv6Text, parseIpv4, parseIpv6 } from "./ip.ts";

/** A server's address, or a name to resolve. */
export type Target = Address | { readonly host: string; readonly port: number };

/** A range of ports at an address; `family` is undefined if `host` is a name to resolve. */
export interface PortRange {
  readonly family: "ipv4" | "ipv6" | undefined;
  readonly host: string;
  readonly firstPort: number;
  readonly lastPort: number;
}

/** The longest path of a unix socket, without the terminating zero. */
const UNIX_PATH = 107;

/**
 * Parses `address[:port]`: `unix:/path`, `[ipv6]:port`, an IPv4 address or a name. A string is nginx's error ("invalid
 * port"), to be followed by ` in upstream "…"` or the like.
 */
export function parseUrl(text: string, defaultPort: number): Target | string {
  const found = parse(text, defaultPort, false);
  if (typeof found === "string" || "path" in found) return found;
  const { family, host, firstPort: port } = found;
  return family === undefined ? { host, port } : { family, host, port };
}

/** The same for `listen`: also a port alone, `*` for any address, and ranges of ports. */
export function parseListenUrl(text: string, defaultPort: number): UnixAddress | PortRange | string {
  return parse(text, defaultPort, true);
}

/** The addresses of names when the configuration was loaded. */
type Hosts = Readonly<Record<string, readonly Address[]>>;

/** The addresses of a name; none if it was not resolved. */
export function hostAddresses(host: string, hosts: Hosts): readonly Address[] {
  return Object.hasOwn(hosts, host) ? hosts[host] : [];
}

/** The addresses of a target: its own, or those of its name. */
export function targetAddresses(target: Target, hosts: Hosts): readonly Address[] {
  if ("family" in target) return [target];
  return hostAddresses(target.host, hosts).map((address) => withPort(address, target.port));
}

function parse(text: string, defaultPort: number, listen: boolean): UnixAddress | PortRange | string {
  if (/^unix:/i.test(text)) return parseUnix(text.slice(5));
  return text.startsWith("[") ? parseInet6(text, defaultPort, listen) : parseInet(text, defaultPort, listen);
}

function parseUnix(path: string): UnixAddress | string {
  if (path === "") return "no path in the unix domain socket";
  if (path.length > UNIX_PATH) return "too long path in the unix domain socket";
  return { family: "unix", path };
}

function parseInet6(text: string, defaultPort: number, listen: boolean): PortRange | string {
  const close = text.indexOf("]");
  const rest = text.slice(close + 1);
  if (close === -1 || rest.includes("/") || (rest !== "" && !rest.startsWith(":"))) return "invalid host";
  const ports = rest === "" ? portRange(defaultPort) : parsePorts(rest.slice(1), listen);
  if (typeof ports === "string") return ports;
  if (close === 1) return "no host";
  const ipv6 = parseIpv6(text.slice(1, close));
  if (ipv6 === undefined) return "invalid IPv6 address";
  return { family: "ipv6", host: ipv6Text(ipv6), ...ports };
}

function parseInet(text: string, defaultPort: number, listen: boolean): PortRange | string {
  if (/[/?]/.test(text)) return "invalid host";
  const colon = text.indexOf(":");
  if (listen && colon === -1 && looksLikePorts(text)) {
    const ports = parsePorts(text, true);
    return typeof ports === "string" ? ports : { family: "ipv4", host: "0.0.0.0", ...ports };
  }
  const ports = colon === -1 ? portRange(defaultPort) : parsePorts(text.slice(colon + 1), listen);
  if (typeof ports === "string") return ports;
  const host = colon === -1 ? text : text.slice(0, colon);
  if (host === "") return "no host";
  const ipv4 = listen && host === "*" ? 0 : parseIpv4(host);
  return ipv4 === undefined
    ? { family: undefined, host, ...ports }
    : { family: "ipv4", host: ipv4Text(ipv4), ...ports };
}

type Ports = Pick<PortRange, "firstPort" | "lastPort">;

function portRange(first: number, last = first): Ports {
  return { firstPort: first, lastPort: last };
}

/** `80`, or with `ranges` `8080-8090`. */
function parsePorts(text: string, ranges: boolean): Ports | string {
  const dash = ranges ? text.indexOf("-") : -1;
  const last = dash === -1 ? undefined : parsePort(text.slice(dash + 1));
  if (dash !== -1 && last === undefined) return "invalid port";
  const first = parsePort(dash === -1 ? text : text.slice(0, dash));
  if (first === undefined) return "invalid port";
  if (last !== undefined && first > last) return "invalid port range";
  return portRange(first, last);
}

function parsePort(text: string): number | undefined {
  const port = parseNumber(text);
  return port === undefined || port < 1 || port > 65535 ? undefined : port;
}

/** Whether it is `80` or `8080-8090`, with a number on either side of the dash; anything else is a host. */
function looksLikePorts(text: string): boolean {
  const [first, ...rest] = text.split("-");
  return [first, ...(rest.length === 0 ? [] : [rest.join("-")])].every((part) => parseNumber(part) !== undefined);
}

/** An address with or without port, IPv6 with or without brackets; port 0 if there is none (ngx_parse_addr_port). */
export function parseAddrPort(text: string): InetAddress | undefined {
  const plain = parseAddr(text, 0);
  if (plain !== undefined) return plain;
  const bracketed = text.startsWith("[");
  const end = text.indexOf(bracketed ? "]" : ":");
  if (end < 0) return undefined;
  const host = bracketed ? text.slice(1, end) : text.slice(0, end);
  const rest = text.slice(bracketed ? end + 1 : end);
  if (rest === "") return parseAddr(host, 0);
  const port = rest.startsWith(":") ? parsePort(rest.slice(1)) : undefined;
  return port === undefined ? undefined : parseAddr(host, port);
}

/** An IP address without brackets and port (ngx_parse_addr). */
export function parseAddr(text: string, port: number): InetAddress | undefined {
  const ipv4 = parseIpv4(text);
  if (ipv4 !== undefined) return { family: "ipv4", host: ipv4Text(ipv4), port };
  const ipv6 = parseIpv6(text);
  return ipv6 === undefined ? undefined : { family: "ipv6", host: ipv6Text(ipv6), port };
}
