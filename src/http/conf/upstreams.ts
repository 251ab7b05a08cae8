import { hostNotFound, implicitUpstream, type UpstreamDefinition } from "../../balancer/definition.ts";
import { upstreamDefinitions } from "../../balancer/directives.ts";
import { buildUpstream, cycleUpstream, type Group } from "../../balancer/group.ts";
import type { ResolvingGroup } from "../../balancer/name_service.ts";
import type { Pool } from "../../balancer/pool.ts";
import { refusalsOf } from "../../config/errors.ts";
import { reachesOut, type Scope } from "../../config/schema.ts";
import { ConfigError, type Directive } from "../../config/types.ts";
import { type Address, addressText, withPort } from "../../net/address.ts";
import { parseUrl, targetAddresses } from "../../net/parse_url.ts";
import type { ClientSessions } from "../../net/tls/client_sessions.ts";
import type { Cycle } from "../../runtime/cycle.ts";
import { openMainLog } from "../../runtime/log/directive.ts";
import type { Sliced } from "../../sys/sliced.ts";
import { type Template, template } from "../core/script.ts";
import type { Stickiness } from "../core/upstream.ts";
import { resolvingInUpstream } from "./resolver.ts";

/** A host name to resolve while serving. */
export interface Unresolved {
  readonly host: string;
  readonly port: number;
}

/** An upstream of one cycle, and its idle connections, which the worker keeps from cycle to cycle. */
export interface UpstreamEntry {
  readonly group: Group;
  /** The worker's; set when the cycle begins to serve. */
  pool: Pool | undefined;
  /** The key of `hash`. */
  readonly key: Template | undefined;
  /** TLS sessions with its servers that all workers share; undefined: each worker has its own. */
  sessions: ClientSessions | undefined;
  /** What binds its requests to servers. */
  sticky: Stickiness | undefined;
}

/** A configuration's upstreams: those with a block, and those implied by `proxy_pass` to an address. */
export class Upstreams {
  readonly byName = new Map<string, UpstreamEntry>();
  /** Those with names that are resolved while serving. */
  readonly resolving: ResolvingGroup[] = [];
  private readonly cycle: Cycle;

  constructor(cycle: Cycle) {
    this.cycle = cycle;
  }

  /** Builds the upstreams that have a block. */
  *declare(scope: Scope): Sliced<void> {
    const refusals = refusalsOf(scope);
    const blocks = scope.children.filter(({ context }) => context === "upstream");
    for (const [key, definition] of upstreamDefinitions(this.cycle.root)) {
      const { method, file, line } = definition;
      const text = "key" in method ? method.key : undefined;
      const hashKey =
        text === undefined ? undefined : template(scope, { name: "hash", args: [text], file, line }, text);
      const block = blocks.find(({ directive }) => directive.args[0].toLowerCase() === key);
      const group = refusals.attempt(() => this.group(definition, block ?? scope));
      if (group === undefined) refusals.leaveOut({ name: "upstream", args: [definition.name], file, line });
      else this.byName.set(key, { group, pool: undefined, key: hashKey, sessions: undefined, sticky: undefined });
      yield;
    }
  }

  private group(definition: UpstreamDefinition, block: Scope): Group {
    const group = cycleUpstream(definition, this.cycle);
    if (!group.resolves) return group;
    const { resolver, timeout } = resolvingInUpstream(block, this.cycle, openMainLog(this.cycle));
    if (resolver === undefined) {
      const what = "no resolver defined to resolve names at run time";
      throw new ConfigError(`${what} in upstream "${definition.name}"`, definition);
    }
    this.resolving.push({ group, resolver, timeout });
    return group;
  }

  /** The upstream with a block of that name. */
  named(name: string): UpstreamEntry | undefined {
    return this.byName.get(name.toLowerCase());
  }

  /**
   * The upstream that a variable's value names: that of a block, or of an address, whose state is this worker's own.
   * `Unresolved` for a name to be resolved; a string is an error in nginx's words.
   */
  dynamic(name: string, defaultPort: number): UpstreamEntry | Unresolved | string {
    const lower = name.toLowerCase();
    const key = implicitKey(lower, defaultPort);
    const known = this.byName.get(lower) ?? this.byName.get(key) ?? this.made.get(key);
    if (known !== undefined) return known;
    const target = parseUrl(name, defaultPort);
    if (typeof target === "string") return target;
    if (!("family" in target)) return this.byName.get(implicitKey(lower, target.port)) ?? target;
    return this.make(key, implicitUpstream(name, target, { file: "", line: 0 }));
  }

  /**
   * The upstream of a resolved name. nginx builds a new one for each request, so failures do not count from one request
   * to the next (`max_fails` 0).
   */
  resolved(name: string, port: number, addresses: readonly Address[]): UpstreamEntry {
    const servers = addresses
      .map((address) => withPort(address, port))
      .map((address) => ({ address, text: addressText(address) }))
      .sort((a, b) => order(a) - order(b) || (a.text < b.text ? -1 : 1));
    const key = `${name} ${servers.map(({ text }) => text).join(" ")}`;
    const known = this.made.get(key);
    if (known !== undefined) return known;
    const definition = implicitUpstream(name, { host: name, port }, { file: "", line: 0 });
    const [model] = definition.servers;
    return this.make(key, {
      ...definition,
      servers: servers.map(({ address }) => ({ ...model, target: address, maxFails: 0 })),
    });
  }

  private make(key: string, definition: UpstreamDefinition): UpstreamEntry {
    const { hosts, generation } = this.cycle.data;
    const group = buildUpstream(definition, hosts, undefined, { generation });
    const entry = { group, pool: undefined, key: undefined, sessions: undefined, sticky: undefined };
    // Clients may control the variable's value: the number of these must be bounded.
    if (this.made.size >= DYNAMIC_LIMIT) this.made.clear();
    this.made.set(key, entry);
    return entry;
  }

  private readonly made = new Map<string, UpstreamEntry>();

  /** The upstream of `host[:port]` in a URL: a block's name, else the address itself. */
  find(name: string, defaultPort: number, at: Directive): UpstreamEntry {
    const key = name.toLowerCase();
    const known = this.byName.get(key) ?? this.byName.get(implicitKey(key, defaultPort));
    if (known !== undefined) return known;
    const target = parseUrl(name, defaultPort);
    if (typeof target === "string") throw new ConfigError(`${target} in upstream "${name}"`, at);
    if ("host" in target && this.byName.has(target.host.toLowerCase()))
      throw new ConfigError(`upstream "${target.host}" may not have port ${target.port}`, at);
    if ("host" in target && targetAddresses(target, this.cycle.data.hosts).length === 0)
      throw new ConfigError(hostNotFound(target.host), at, "complete");
    const definition = implicitUpstream(name, target, at);
    const group = cycleUpstream(definition, this.cycle);
    const entry = { group, pool: undefined, key: undefined, sessions: undefined, sticky: undefined };
    this.byName.set(implicitKey(key, defaultPort), entry);
    reachesOut(this.cycle.root, at);
    return entry;
  }
}

const DYNAMIC_LIMIT = 10_000;

/** IPv4 first, as nginx puts them. */
function order({ address }: { readonly address: Address }): number {
  return address.family === "ipv6" ? 1 : 0;
}

function implicitKey(key: string, defaultPort: number): string {
  return `${key} ${defaultPort}`;
}
