import { fail } from "../config/schema.ts";
import type { Directive } from "../config/types.ts";
import { parseMsec, parseNumber, parseSec } from "../config/values.ts";
import { parseUrl } from "../net/parse_url.ts";
import { type MethodDefinition, SERVER_DEFAULTS, type ServerDefinition } from "./definition.ts";

type Parameters = { -readonly [K in keyof typeof SERVER_DEFAULTS]: ServerDefinition[K] };

/** Above it weights could overflow the shared state's 32 bits. */
const MAX_WEIGHT = 1_000_000;
/** Route names are at most as long as the MD5 that stands in for them. */
const MAX_ROUTE = 32;

/** Methods that nginx lets have no `backup` servers, and NGINX Plus no `slow_start`, when they stand before the server. */
const HASHING: ReadonlySet<MethodDefinition["name"]> = new Set([
  "ip_hash",
  "hash",
  "hash_consistent",
  "random",
  "random_two",
]);

/** `server address [parameters]` inside an upstream. `method` is the balancing method set so far. */
export function readServer(directive: Directive, method: MethodDefinition | undefined): ServerDefinition {
  const [server, ...rest] = directive.args;
  const parameters: Parameters = { ...SERVER_DEFAULTS };
  for (const text of rest) {
    const equals = text.indexOf("=");
    const name = equals === -1 ? text : text.slice(0, equals + 1);
    const read = Object.hasOwn(PARAMETERS, name) ? PARAMETERS[name] : undefined;
    if (read === undefined) fail(directive, `invalid parameter "${text}"`);
    if ((name === "backup" || name === "slow_start=") && method !== undefined && HASHING.has(method.name)) {
      fail(directive, `balancing method does not support parameter "${text}"`);
    }
    if (!read(parameters, text.slice(name.length), directive)) fail(directive, `invalid parameter "${text}"`);
  }
  const { resolve, service } = parameters;
  if (service !== "" && !resolve) fail(directive, `service upstream "${server}" requires "resolve" parameter`);
  const target = parseUrl(server, 80);
  if (typeof target === "string") fail(directive, `${target} in upstream "${server}"`);
  if (service !== "" && hasPort(server)) fail(directive, `service upstream "${server}" may not have port`);
  if (service !== "" && "family" in target) fail(directive, `service upstream "${server}" requires domain name`);
  return { ...parameters, server, target, file: directive.file, line: directive.line };
}

/** As nginx has it, a unix socket has one. */
function hasPort(server: string): boolean {
  return /^unix:/i.test(server) || /:\d+$/.test(server.replace(/^\[.*\]/, ""));
}

/** Each parameter takes its value's text and says whether it is valid. */
const PARAMETERS: Readonly<Record<string, (into: Parameters, value: string, directive: Directive) => boolean>> = {
  "weight=": (into, value) => {
    into.weight = parseNumber(value) ?? 0;
    return into.weight > 0 && into.weight <= MAX_WEIGHT;
  },
  "max_conns=": (into, value) => {
    const number = parseNumber(value);
    into.maxConns = Math.min(number ?? 0, 0x7fffffff);
    return number !== undefined;
  },
  "max_fails=": (into, value) => {
    const number = parseNumber(value);
    into.maxFails = Math.min(number ?? 0, 0x7fffffff);
    return number !== undefined;
  },
  "fail_timeout=": (into, value) => {
    const seconds = parseSec(value);
    into.failTimeout = (seconds ?? 0) * 1000;
    return seconds !== undefined;
  },
  "slow_start=": (into, value) => {
    const ms = parseMsec(value);
    into.slowStart = ms ?? 0;
    return ms !== undefined;
  },
  backup: (into) => {
    into.backup = true;
    return true;
  },
  down: (into) => {
    into.down = true;
    into.drain = false;
    return true;
  },
  drain: (into) => {
    into.drain = true;
    into.down = false;
    return true;
  },
  "route=": (into, value, directive) => {
    if (value === "") fail(directive, "route is empty");
    if (value.length > MAX_ROUTE) fail(directive, `route is longer than ${MAX_ROUTE}`);
    into.route = value;
    return true;
  },
  // Tengine's name for it, which `session_sticky hash=plain` shows.
  "id=": (into, value) => {
    if (into.route === "") into.route = value;
    return value !== "" && value.length <= MAX_ROUTE;
  },
  resolve: (into) => {
    into.resolve = true;
    return true;
  },
  "service=": (into, value, directive) => {
    if (value === "") fail(directive, "service is empty");
    into.service = value;
    return true;
  },
};
