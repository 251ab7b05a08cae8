import { parseNumber, parseSec, parseSize } from "../../config/values.ts";
import type { Address } from "../../net/address.ts";
import { ipv4Text, ipv6Text, parseIpv4, parseIpv6 } from "../../net/ip.ts";

/** The arguments of `listen`. Errors and warnings are nginx's sentences, without the place. */

/** The parameters of the listening socket. */
export interface ListenOptions {
  /** A parameter was given that may be given once for an address only. */
  readonly set: boolean;
  /** A socket of its own is wanted, even where a wildcard address has the port. */
  readonly bind: boolean;
  readonly defaultServer: boolean;
  readonly backlog: number;
  /** SO_RCVBUF and SO_SNDBUF in bytes; undefined leaves the system's. */
  readonly rcvbuf: number | undefined;
  readonly sndbuf: number | undefined;
  /** TCP_FASTOPEN's queue length. */
  readonly fastopen: number | undefined;
  readonly deferred: boolean;
  readonly ipv6only: boolean;
  readonly reuseport: boolean;
  readonly multipath: boolean;
  readonly proxyProtocol: boolean;
  /** Undefined leaves the system's setting; times in seconds, undefined the system's. */
  readonly soKeepalive: "off" | KeepAlive | undefined;
}

export interface KeepAlive {
  readonly idle: number | undefined;
  readonly interval: number | undefined;
  readonly count: number | undefined;
}

/** Where to listen: addresses, or a host name still to be resolved with its range of ports. */
export type ListenPlace =
  | { readonly addresses: readonly Address[] }
  | { readonly host: string; readonly firstPort: number; readonly lastPort: number };

export interface ParsedListen {
  readonly place: ListenPlace;
  readonly options: ListenOptions;
  /** Sentences of parameters that are ignored. */
  readonly warnings: readonly string[];
}

interface Failure {
  readonly error: string;
}

/** The queue length nginx asks of Linux for connections not yet accepted. */
const DEFAULT_BACKLOG = 511;
const DEFAULT_PORT = 80;
const UNIX_PATH_MAX = 108;

/** A server without any `listen` listens on `*:80`, or on `*:8000` when not run by root. */
export function defaultListen(root: boolean): ParsedListen {
  const address: Address = { family: "ipv4", host: "0.0.0.0", port: root ? 80 : 8000 };
  return { place: { addresses: [address] }, options: DEFAULTS, warnings: [] };
}

/** Reads the arguments of one `listen`. */
export function parseListen(args: readonly string[]): ParsedListen | Failure {
  const place = parsePlace(args[0]);
  if ("error" in place) return { error: `${place.error} in "${args[0]}" of the "listen" directive` };
  const options = parseOptions(args.slice(1));
  if ("error" in options) return options;
  return { place, ...options };
}

/** The addresses of a place once its host name has been resolved to `ips`; none found is an error. */
export function resolvedAddresses(
  listen: ParsedListen,
  written: string,
  ips: readonly string[],
): readonly Address[] | Failure {
  const { place } = listen;
  if ("addresses" in place) return place.addresses;
  const addresses: Address[] = [];
  for (const ip of new Set(ips)) {
    const family = ip.includes(":") ? "ipv6" : "ipv4";
    addresses.push(...overPorts(family, ip, place.firstPort, place.lastPort));
  }
  if (addresses.length === 0) return { error: `host not found in "${written}" of the "listen" directive` };
  return addresses;
}

function parsePlace(text: string): ListenPlace | Failure {
  if (/^unix:/i.test(text)) {
    const path = text.slice(5);
    if (path === "") return { error: "no path in the unix domain socket" };
    if (path.length >= UNIX_PATH_MAX) return { error: "too long path in the unix domain socket" };
    return { addresses: [{ family: "unix", path }] };
  }
  return text.startsWith("[") ? parseIpv6Place(text) : parseInetPlace(text);
}

function overPorts(family: "ipv4" | "ipv6", host: string, first: number, last: number): Address[] {
  return Array.from({ length: last - first + 1 }, (_, i) => ({ family, host, port: first + i }));
}

type PortRange = readonly [first: number, last: number];

function parsePorts(text: string): PortRange | Failure {
  const dash = text.indexOf("-");
  const last = dash === -1 ? undefined : parsePort(text.slice(dash + 1));
  if (dash !== -1 && last === undefined) return { error: "invalid port" };
  const first = parsePort(dash === -1 ? text : text.slice(0, dash));
  if (first === undefined) return { error: "invalid port" };
  if (last !== undefined && first > last) return { error: "invalid port range" };
  return [first, last ?? first];
}

function parsePort(text: string): number | undefined {
  const port = parseNumber(text);
  return port === undefined || port < 1 || port > 65535 ? undefined : port;
}

function parseIpv6Place(text: string): ListenPlace | Failure {
  const close = text.indexOf("]");
  const rest = text.slice(close + 1);
  if (close === -1 || rest.includes("/") || (rest !== "" && !rest.startsWith(":"))) return { error: "invalid host" };
  const ports = rest === "" ? ([DEFAULT_PORT, DEFAULT_PORT] as const) : parsePorts(rest.slice(1));
  if ("error" in ports) return ports;
  if (close === 1) return { error: "no host" };
  const bytes = parseIpv6(text.slice(1, close));
  if (bytes === undefined) return { error: "invalid IPv6 address" };
  return { addresses: overPorts("ipv6", ipv6Text(bytes), ...ports) };
}

function parseInetPlace(text: string): ListenPlace | Failure {
  if (/[/?]/.test(text)) return { error: "invalid host" };
  const colon = text.indexOf(":");
  if (colon === -1 && looksLikePorts(text)) {
    const ports = parsePorts(text);
    return "error" in ports ? ports : { addresses: overPorts("ipv4", "0.0.0.0", ...ports) };
  }
  const ports = colon === -1 ? ([DEFAULT_PORT, DEFAULT_PORT] as const) : parsePorts(text.slice(colon + 1));
  if ("error" in ports) return ports;
  const host = colon === -1 ? text : text.slice(0, colon);
  if (host === "") return { error: "no host" };
  const ipv4 = host === "*" ? 0 : parseIpv4(host);
  if (ipv4 !== undefined) return { addresses: overPorts("ipv4", ipv4Text(ipv4), ...ports) };
  return { host, firstPort: ports[0], lastPort: ports[1] };
}

/** `80` or `8080-8090`: with a number on both sides of the dash; anything else is a host. */
function looksLikePorts(text: string): boolean {
  const [first, ...rest] = text.split("-");
  return [first, ...(rest.length === 0 ? [] : [rest.join("-")])].every((part) => parseNumber(part) !== undefined);
}

const DEFAULTS: ListenOptions = {
  set: false,
  bind: false,
  defaultServer: false,
  backlog: DEFAULT_BACKLOG,
  rcvbuf: undefined,
  sndbuf: undefined,
  fastopen: undefined,
  deferred: false,
  ipv6only: true,
  reuseport: false,
  multipath: false,
  proxyProtocol: false,
  soKeepalive: undefined,
};

type Change = Partial<ListenOptions> & { readonly warning?: string };

/** Parameters without a value. */
const FLAGS: ReadonlyMap<string, Change> = new Map<string, Change>([
  ["default_server", { defaultServer: true }],
  ["default", { defaultServer: true }],
  ["bind", { set: true, bind: true }],
  ["deferred", { deferred: true, set: true, bind: true }],
  ["reuseport", { reuseport: true, set: true, bind: true }],
  ["multipath", { multipath: true, set: true, bind: true }],
  ["proxy_protocol", { proxyProtocol: true }],
]);

/** Parameters nginx knows whose protocols are not there yet. */
const NOT_YET: ReadonlySet<string> = new Set(["ssl", "http2", "quic"]);

function parseOptions(args: readonly string[]): Pick<ParsedListen, "options" | "warnings"> | Failure {
  let options = DEFAULTS;
  const warnings: string[] = [];
  for (const arg of args) {
    if (NOT_YET.has(arg)) {
      return {
        error: `the "${arg}" parameter of the "listen" directive is known to nginx but not available in Holdfast yet`,
      };
    }
    const change = FLAGS.get(arg) ?? parseValued(arg);
    if ("error" in change) return change;
    const { warning, ...changed } = change;
    if (warning !== undefined) warnings.push(warning);
    options = { ...options, ...changed };
  }
  return { options, warnings };
}

function parseValued(arg: string): Change | Failure {
  const own = { set: true, bind: true };
  const equals = arg.indexOf("=");
  const value = arg.slice(equals + 1);
  switch (equals === -1 ? "" : arg.slice(0, equals)) {
    case "backlog": {
      const backlog = parseNumber(value);
      return backlog === undefined || backlog === 0 ? { error: `invalid backlog "${arg}"` } : { ...own, backlog };
    }
    case "rcvbuf": {
      const rcvbuf = parseSize(value);
      return rcvbuf === undefined ? { error: `invalid rcvbuf "${arg}"` } : { ...own, rcvbuf };
    }
    case "sndbuf": {
      const sndbuf = parseSize(value);
      return sndbuf === undefined ? { error: `invalid sndbuf "${arg}"` } : { ...own, sndbuf };
    }
    case "fastopen": {
      const fastopen = parseNumber(value);
      return fastopen === undefined ? { error: `invalid fastopen "${arg}"` } : { ...own, fastopen };
    }
    case "accept_filter":
      return { warning: `accept filters "${arg}" are not supported on this platform, ignored` };
    case "ipv6only":
      if (value === "on" || value === "off") return { ...own, ipv6only: value === "on" };
      return { error: value.startsWith("o") ? `invalid ipv6only flags "${value}"` : `invalid parameter "${arg}"` };
    case "so_keepalive": {
      const soKeepalive = parseKeepalive(value);
      return soKeepalive === undefined ? { error: `invalid so_keepalive value: "${value}"` } : { ...own, soKeepalive };
    }
    default:
      return { error: `invalid parameter "${arg}"` };
  }
}

/** `on`, `off` or `idle:interval:count`, any of the three left out. */
function parseKeepalive(value: string): "off" | KeepAlive | undefined {
  if (value === "off") return "off";
  if (value === "on") return { idle: undefined, interval: undefined, count: undefined };
  const [first, second = "", ...rest] = value.split(":");
  const third = rest.join(":");
  const idle = first === "" ? 0 : parseSec(first);
  const interval = second === "" ? 0 : parseSec(second);
  const count = third === "" ? 0 : parseNumber(third);
  if (idle === undefined || interval === undefined || count === undefined) return undefined;
  if (idle === 0 && interval === 0 && count === 0) return undefined;
  return { idle: idle || undefined, interval: interval || undefined, count: count || undefined };
}
