import { directive, msec, number } from "../config/directives.ts";
import { warn } from "../config/errors.ts";
import { type DirectiveSpec, defineDirectives, fail, type Scope } from "../config/schema.ts";
import { ConfigError, type Directive } from "../config/types.ts";
import { parseMsec, parseNumber, parseSize } from "../config/values.ts";
import type { HostWanted } from "../runtime/application.ts";
import { type DeclaredZone, declareZone, LEAST_ZONE, largeEnough } from "../shm/registry.ts";
import {
  hostNotFound,
  type MethodDefinition,
  type QueueSettings,
  type ServerDefinition,
  type TimeMode,
  type UpstreamDefinition,
} from "./definition.ts";
import { readServer } from "./server_directive.ts";
import { checkState, state } from "./state_file.ts";
import { UPSTREAM_ZONE } from "./zone.ts";

/** Idle connections kept where no `keepalive` says otherwise (nginx 1.29.7 and later). */
const DEFAULT_KEEPALIVE = 32;

/** A balancing method's directive: the last one in the block holds. */
function method(spec: {
  readonly args: readonly [number, number];
  readonly syntax: string;
  readonly doc: string;
  readonly once?: boolean;
  readonly read: (at: Directive) => MethodDefinition;
}): DirectiveSpec<MethodDefinition | undefined> {
  const { once, read, ...rest } = spec;
  return directive<MethodDefinition, undefined>({
    ...rest,
    in: ["upstream"],
    repeat: once !== true,
    initial: () => undefined,
    read(at, scope) {
      const wrapped = wrappedIn(scope).delete(scope);
      if (wrapped || methodOf(scope) !== undefined) warn(at, scope, "load balancing method redefined");
      const definition = read(at);
      methods(scope).set(scope, definition);
      return definition;
    },
  });
}

const RANDOM_TWO: ReadonlyMap<string, "least_conn" | TimeMode> = new Map([
  ["least_conn", "least_conn"],
  ["least_time=header", "header"],
  ["least_time=last_byte", "last_byte"],
]);

const METHODS = {
  least_conn: method({
    args: [0, 0],
    syntax: "",
    doc: "Passes a request to the server with the fewest active connections in proportion to its weight; equals take turns by weighted round robin.",
    read: () => ({ name: "least_conn" }),
  }),
  ip_hash: method({
    args: [0, 0],
    syntax: "",
    doc: "Passes requests of one client to one server, by the first three octets of its IPv4 address or its whole IPv6 address.",
    read: () => ({ name: "ip_hash" }),
  }),
  hash: method({
    args: [1, 2],
    syntax: "key [consistent]",
    doc: "Maps requests to servers by a hash of the key, which may contain variables. With `consistent` (ketama), a server added or removed moves only few keys.",
    read(at) {
      const [key, kind] = at.args;
      if (kind !== undefined && kind !== "consistent") fail(at, `invalid parameter "${kind}"`);
      return { name: kind === undefined ? "hash" : "hash_consistent", key };
    },
  }),
  random: method({
    args: [0, 2],
    syntax: "[two [least_conn | least_time=header | least_time=last_byte]]",
    doc: "Passes a request to a random server in proportion to the weights. With `two`, picks two and takes the one with fewer active connections, or with the least average response time (to the header, or to the last byte) and the fewest active connections.",
    read(at) {
      const [two, by] = at.args;
      if (two !== undefined && two !== "two") fail(at, `invalid parameter "${two}"`);
      if (two === undefined) return { name: "random" };
      const method = by === undefined ? "least_conn" : RANDOM_TWO.get(by);
      return { name: "random_two", by: method ?? fail(at, `invalid parameter "${by}"`) };
    },
  }),
  least_time: method({
    args: [1, 2],
    once: true,
    syntax: "header | last_byte [inflight]",
    doc: "Passes a request to the server with the least average response time (to the header, or to the last byte) and the fewest active connections. With `inflight`, requests still running count too.",
    read(at) {
      const [word, inflight] = at.args;
      if (inflight !== undefined && inflight !== "inflight") fail(at, `invalid parameter "${inflight}"`);
      const mode = word.toLowerCase();
      if (mode !== "header" && mode !== "last_byte") fail(at, `invalid value "${word}"`);
      return { name: "least_time", mode, inflight: inflight !== undefined };
    },
  }),
} as const;

export const upstream = defineDirectives("http_upstream", {
  upstream: directive<readonly string[], undefined>({
    in: ["http"],
    args: [1, 1],
    block: "upstream",
    repeat: true,
    inherit: false,
    syntax: "name { … }",
    doc: "Defines a group of servers that proxy_pass and the like name as one.",
    initial: () => undefined,
    read(at, _scope, previous = []) {
      const name = at.args[0].toLowerCase();
      if (previous.includes(name)) fail(at, `duplicate upstream "${at.args[0]}"`);
      return [...previous, name];
    },
    close(block) {
      const { file, line, endLine } = block.directive;
      const { state: path, zone } = upstream.in(block);
      if (path !== undefined) {
        checkState(block, path, zone !== undefined);
        return;
      }
      if (serversOf(block).length > 0) return;
      throw new ConfigError("no servers are inside upstream", { file, line: endLine ?? line });
    },
  }),
  server: directive<readonly ServerDefinition[], undefined>({
    in: ["upstream"],
    args: [1, Number.POSITIVE_INFINITY],
    repeat: true,
    syntax:
      "address [weight=number] [max_conns=number] [max_fails=number] [fail_timeout=time] [slow_start=time] [route=name] [backup] [down] [drain] [resolve] [service=name]",
    doc: "Adds a server: a domain name or an IP address with an optional port (80), or unix: and a path. A name with several addresses is several servers. Defaults: weight=1 max_conns=0 max_fails=1 fail_timeout=10s. `route` names it for `sticky`; with `drain` it gets only the requests that `sticky` binds to it. With `resolve` the name is looked up again and again while serving, and servers come and go with its addresses; it needs `zone` and `resolver`. `service` has them come from the name's SRV records, with ports and weights, and backups where priorities differ.",
    initial: () => undefined,
    read: (at, scope, previous = []) => [...previous, readServer(at, methodOf(scope))],
  }),
  zone: directive<DeclaredZone, undefined>({
    in: ["upstream"],
    args: [1, 2],
    syntax: "name [size]",
    doc: "Names the shared memory of the group. The state of every group is shared by all workers and sized by itself; where names are resolved while serving, the size says for how many addresses there is room (one for each 512 bytes).",
    initial: () => undefined,
    read: readZone,
  }),
  queue: directive<QueueSettings, undefined>({
    in: ["upstream"],
    args: [1, 2],
    syntax: "number [timeout=time]",
    doc: "Lets a request wait where no server can be had at once, as when all have `max_conns` connections: so many requests, of all workers together, each for so long (60s). When there is no room or the time is over it is answered with 502. The balancing method stands before it. As in NGINX Plus.",
    initial: () => undefined,
    read: readQueue,
  }),
  ntlm: directive({
    in: ["upstream"],
    args: [0, 0],
    syntax: "",
    doc: "For servers that authenticate by NTLM or Negotiate: from a client's first request with such an Authorization on, all requests of its connection go over one connection to a server, which no other client's do. As in NGINX Plus; the balancing method stands before it.",
    initial: () => false,
    read: () => true,
  }),
  state,
  ...METHODS,
});

export const upstreamKeepalive = defineDirectives("http_upstream_keepalive", {
  keepalive: directive({
    in: ["upstream"],
    args: [1, 2],
    syntax: "connections [local]",
    doc: "How many idle connections to its servers each worker keeps; the one unused longest is closed when there are more, from 8 on 20 ms later, if nobody took one meanwhile. 0 keeps none. With `local`, a connection is reused only in the location that opened it.",
    defaultText: "32 local",
    initial: () => ({ connections: DEFAULT_KEEPALIVE, local: true }),
    read(at) {
      const [text, local] = at.args;
      const connections = parseNumber(text);
      if (connections === undefined) fail(at, `invalid value "${text}" in "keepalive" directive`);
      if (local !== undefined && local !== "local") fail(at, `invalid parameter "${local}"`);
      return { connections, local: local !== undefined };
    },
  }),
  keepalive_time: msec({
    in: ["upstream"],
    default: 3_600_000,
    doc: "A connection is closed after the request that ends later than this after it was opened.",
  }),
  keepalive_timeout: msec({
    in: ["upstream"],
    default: 60_000,
    doc: "How long an idle connection to a server stays open.",
  }),
  keepalive_requests: number({
    in: ["upstream"],
    default: 1000,
    doc: "How many requests one connection may serve before it is closed.",
  }),
  keepalive_streams: number({
    in: ["upstream"],
    min: 1,
    default: 100,
    doc: "How many requests one connection of HTTP/2 carries at a time (`grpc_pass`, `proxy_http_version 2`), unless its server allows fewer. With 1 each has a connection of its own, as in nginx. Not in nginx.",
  }),
});

function serversOf(block: Scope): readonly ServerDefinition[] {
  return upstream.in(block).server ?? [];
}

const METHOD_NOTES = Symbol("balancing methods");

/** The balancing method in force in each upstream block so far: the last directive of one. */
function methods(scope: Scope): Map<unknown, MethodDefinition> {
  const noted = scope.notes.get(METHOD_NOTES);
  if (noted instanceof Map) return noted;
  const made = new Map<unknown, MethodDefinition>();
  scope.notes.set(METHOD_NOTES, made);
  return made;
}

function methodOf(block: Scope): MethodDefinition | undefined {
  return methods(block).get(block);
}

const WRAPPED = Symbol("wrapped balancing methods");

class Wrapped extends Map<Scope, Directive> {}

function wrappedIn({ notes }: Scope): Wrapped {
  const noted = notes.get(WRAPPED);
  if (noted instanceof Wrapped) return noted;
  const made = new Wrapped();
  notes.set(WRAPPED, made);
  return made;
}

/** Notes that a directive stands around the balancing method of an upstream block: a method after it takes its place. */
export function wrapMethod(at: Directive, block: Scope): void {
  const other = wrapping(block);
  if (other !== undefined) fail(at, `"${at.name}" directive is incompatible with "${other.name}"`);
  wrappedIn(block).set(block, at);
}

/** That directive, where it is in force. */
export function wrapping(block: Scope): Directive | undefined {
  return wrappedIn(block).get(block);
}

const QUEUE_TIMEOUT = 60_000;

function readQueue(at: Directive): QueueSettings {
  const [text, option] = at.args;
  const length = parseNumber(text);
  if (length === undefined || length === 0) fail(at, `invalid value "${text}" in "queue" directive`);
  if (option === undefined) return { length, timeout: QUEUE_TIMEOUT };
  const timeout = option.startsWith("timeout=") ? parseMsec(option.slice(8)) : undefined;
  return { length, timeout: timeout ?? fail(at, `invalid parameter "${option}"`) };
}

function readZone(at: Directive, scope: Scope): DeclaredZone {
  const [name, text] = at.args;
  if (name === "") fail(at, `invalid zone name "${name}"`);
  if (text === undefined) return declareZone(at, scope, UPSTREAM_ZONE, name, 0);
  const size = parseSize(text);
  if (size === undefined) fail(at, `invalid zone size "${text}"`);
  return declareZone(at, scope, UPSTREAM_ZONE, name, largeEnough(at, name, size));
}

/** Every upstream of a configuration by its name in lower case. */
export function upstreamDefinitions(root: Scope): Map<string, UpstreamDefinition> {
  const found = new Map<string, UpstreamDefinition>();
  for (const http of root.children) {
    if (http.context !== "http") continue;
    for (const block of http.children) {
      if (block.context === "upstream") found.set(block.directive.args[0].toLowerCase(), definitionOf(block));
    }
  }
  return found;
}

function definitionOf(block: Scope): UpstreamDefinition {
  const { keepalive, keepalive_requests, keepalive_streams, keepalive_time, keepalive_timeout } =
    upstreamKeepalive.in(block);
  const limits = {
    requests: keepalive_requests,
    time: keepalive_time,
    timeout: keepalive_timeout,
    streams: keepalive_streams,
  };
  return {
    name: block.directive.args[0],
    servers: serversOf(block),
    method: methodOf(block) ?? { name: "round_robin" },
    keepalive: keepalive.connections === 0 ? undefined : { ...keepalive, ...limits },
    queue: upstream.in(block).queue,
    ntlm: upstream.in(block).ntlm,
    state: upstream.in(block).state !== undefined,
    zone: zoneSize(upstream.in(block).zone),
    file: block.directive.file,
    line: block.directive.line,
  };
}

/** In bytes; 0 without one. A zone may get its size from another directive. */
function zoneSize(zone: DeclaredZone | undefined): number {
  return zone === undefined ? 0 : Math.max(LEAST_ZONE, zone.size);
}

/** The names that upstreams need resolved before they can be built, for `Program.hosts`. */
export function upstreamHosts(definitions: Iterable<UpstreamDefinition>): HostWanted[] {
  const wanted: HostWanted[] = [];
  for (const { servers } of definitions) {
    for (const { target, server, resolve, file, line } of servers) {
      if (!("family" in target || resolve)) wanted.push({ host: target.host, file, line, error: hostNotFound(server) });
    }
  }
  return wanted;
}
