import { parseNumber, parseSec, parseSize } from "../../config/values.ts";
import type { Address } from "../../net/address.ts";
import { parseListenUrl } from "../../net/parse_url.ts";

/** The arguments of `listen`. Errors and warnings are nginx's sentences, without file and line. */

/** The parameters of the listening socket. */
export interface ListenOptions {
  /** It has a parameter that may be given only once per address. */
  readonly set: boolean;
  /** It needs a socket of its own even if a wildcard address has the port. */
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
  readonly ssl: boolean;
  readonly http2: boolean;
  /** Undefined leaves the system's setting. Times in seconds. */
  readonly soKeepalive: "off" | KeepAlive | undefined;
}

export interface KeepAlive {
  readonly idle: number | undefined;
  readonly interval: number | undefined;
  readonly count: number | undefined;
}

/** Where to listen: addresses, or a host name still to be resolved and its range of ports. */
export type ListenPlace =
  | { readonly addresses: readonly Address[] }
  | { readonly host: string; readonly firstPort: number; readonly lastPort: number };

export interface ParsedListen {
  readonly place: ListenPlace;
  readonly options: ListenOptions;
  /** Warnings about parameters that are ignored. */
  readonly warnings: readonly string[];
}

interface Failure {
  readonly error: string;
}

/** nginx's backlog on Linux. */
const DEFAULT_BACKLOG = 511;
const LISTEN = { name: "listen", port: 80 } as const;

/** A server without any `listen` listens on `*:80`, or on `*:8000` when not run by root. */
export function defaultListen(root: boolean): ParsedListen {
  const address: Address = { family: "ipv4", host: "0.0.0.0", port: root ? 80 : 8000 };
  return { place: { addresses: [address] }, options: DEFAULTS, warnings: [] };
}

/** Reads the arguments of one `listen`, or of a directive like it that has another port where none is given. */
export function parseListen(
  args: readonly string[],
  directive: { readonly name: string; readonly port: number } = LISTEN,
): ParsedListen | Failure {
  const place = parsePlace(args[0], directive.port);
  if ("error" in place) return { error: `${place.error} in "${args[0]}" of the "${directive.name}" directive` };
  const options = parseOptions(args.slice(1));
  if ("error" in options) return options;
  return { place, ...options };
}

/** The addresses to listen on, once its host name has been resolved to `ips`; none is an error. */
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

function parsePlace(text: string, port: number): ListenPlace | Failure {
  const found = parseListenUrl(text, port);
  if (typeof found === "string") return { error: found };
  if ("path" in found) return { addresses: [found] };
  const { family, host, firstPort, lastPort } = found;
  if (family === undefined) return { host, firstPort, lastPort };
  return { addresses: overPorts(family, host, firstPort, lastPort) };
}

function overPorts(family: "ipv4" | "ipv6", host: string, first: number, last: number): Address[] {
  return Array.from({ length: last - first + 1 }, (_, i) => ({ family, host, port: first + i }));
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
  ssl: false,
  http2: false,
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
  ["ssl", { ssl: true }],
  [
    "http2",
    { http2: true, warning: 'the "listen ... http2" directive is deprecated, use the "http2" directive instead' },
  ],
]);

/** nginx's parameters for protocols that are not implemented yet. */
const NOT_YET: ReadonlySet<string> = new Set(["quic"]);

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

/** `on`, `off` or `idle:interval:count`, of which any may be empty. */
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
