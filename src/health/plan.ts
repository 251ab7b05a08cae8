import type { HealthView, Peer } from "../balancer/peer.ts";
import { type Address, addressText, withPort } from "../net/address.ts";
import type { Cycle } from "../runtime/cycle.ts";
import type { CheckDefinition } from "./definition.ts";
import { checksOf, panicOf } from "./settings.ts";
import type { Sharing } from "./sharing.ts";
import { type HealthStates, healthView } from "./state.ts";

/** One check of one server, as configured. */
export interface PlannedCheck {
  /** Key of its state: upstream, server address and what the check does (not how often). */
  readonly key: string;
  readonly upstream: string;
  /** nginx's text of the server's address. */
  readonly name: string;
  /** Where the check connects to: the server, or another port of it. */
  readonly target: Address;
  /** The `server` directive's argument as written: its host name is the TLS server name of ssl_hello. */
  readonly server: string;
  readonly definition: CheckDefinition;
}

export interface PlannedServer {
  readonly key: string;
  /** nginx's text of its address. */
  readonly name: string;
  /** Numbers of its checks in the plan: up is when all of them are. */
  readonly checks: readonly number[];
}

export interface PlannedUpstream {
  readonly name: string;
  /** check_panic in percent; 0: off. */
  readonly panic: number;
  readonly sharing?: Sharing;
  /** By peer index. A server marked `down` has no checks and does not count. */
  readonly servers: readonly PlannedServer[];
  /** To be told of a server that was down for its checks and is up again. */
  readonly recovered?: (server: string) => void;
  /** The most records it needs, whatever its servers' names are resolved to. */
  readonly records: number;
}

/** Everything the checker checks under one generation. In the order of the configuration, which the status page keeps. */
export interface CheckPlan {
  readonly checks: readonly PlannedCheck[];
  readonly upstreams: readonly PlannedUpstream[];
}

/** A plan with the places of its states in the shared zone. */
export interface BoundPlan extends CheckPlan {
  readonly states: HealthStates;
  /** Record of each check. */
  readonly records: readonly number[];
  /** Records of each upstream's servers. */
  readonly servers: readonly (readonly number[])[];
}

/** What the upstream layer knows of an upstream. */
export interface CheckedUpstream {
  readonly name: string;
  readonly peers: readonly Peer[];
  /** The most servers it may have. */
  readonly capacity: number;
  /** Calls back when its servers have changed. */
  onChange?(listener: () => void): void;
  /** Sets the view that balancing asks, check_panic included; undefined: no checks. */
  watch?(health: HealthView | undefined): void;
  /** What requests have found before of the servers of that name counts no more. */
  forgive?(server: string): void;
}

/**
 * Makes the plan of a configuration: `check` in an upstream's block and `health_check` in the locations that pass to it.
 * `upstreams` in the order of the configuration; those without checks may be among them. Throws ConfigError.
 */
export function planChecks(cycle: Cycle, upstreams: readonly CheckedUpstream[]): CheckPlan {
  const checks: PlannedCheck[] = [];
  const planned: PlannedUpstream[] = [];
  const byKey = new Map<string, number>();
  /** Tengine's `unique`: the first check of an address that does the same. */
  const shared = new Map<string, number>();
  const { root } = cycle;
  const definitions = checksOf(cycle);
  for (const checked of upstreams) {
    const { name: upstream, peers, capacity } = checked;
    const own = definitions.get(upstream.toLowerCase());
    if (own === undefined || own.length === 0) continue;
    const servers = peers.map((peer): PlannedServer => {
      const numbers: number[] = [];
      if (!peer.down) {
        for (const definition of own) {
          const what = `${peer.name}\0${definition.identity}`;
          const key = `check\0${upstream}\0${what}`;
          const known = byKey.get(key) ?? (definition.unique ? shared.get(what) : undefined);
          const number = known ?? checks.length;
          if (!numbers.includes(number)) numbers.push(number);
          if (known !== undefined) continue;
          byKey.set(key, number);
          if (!shared.has(what)) shared.set(what, number);
          const target = onPort(peer.address, definition.port);
          checks.push({ key, upstream, name: peer.name, target, server: peer.server, definition });
        }
      }
      // An unchecked server has another key: a check added later must not start in its state.
      const kind = numbers.length === 0 ? "unchecked" : "server";
      return { key: `${kind}\0${upstream}\0${peer.name}`, name: peer.name, checks: numbers };
    });
    const records = capacity * (own.length + 1);
    const { sharing } = own[0];
    const panic = panicOf(root, upstream.toLowerCase());
    const recovered = (server: string): void => checked.forgive?.(server);
    planned.push({ name: upstream, panic, servers, recovered, records, ...(sharing === undefined ? {} : { sharing }) });
  }
  return { checks, upstreams: planned };
}

/** A unix socket has no ports: it is checked where it is, whatever `port=` says (as Tengine does). */
function onPort(address: Address, port: number): Address {
  return port === 0 ? address : withPort(address, port);
}

export function checkAddress(check: PlannedCheck): string {
  return addressText(check.target);
}

/** Records the plan may need in the zone, for healthBytes: the same in all processes. */
export function recordsOf(plan: CheckPlan): number {
  return plan.upstreams.reduce((sum, upstream) => sum + upstream.records, 0);
}

/**
 * Finds or makes the plan's states. A check that is new to a server with a known state begins in that state, so that
 * changing a check neither takes every server down nor lets one back in that was down; a new server begins as
 * default_down says. `before`: the plan in force until now in this process, of the same generation. `now` is wall-clock ms.
 */
export function bindPlan(
  plan: CheckPlan,
  states: HealthStates,
  generation: number,
  now: number,
  before?: BoundPlan,
): BoundPlan {
  return states.claiming(() => {
    const known = new Map<number, boolean>();
    for (const upstream of plan.upstreams) {
      for (const server of upstream.servers) {
        const record = states.keep(server.key, generation);
        if (record === -1) continue;
        for (const check of server.checks) known.set(check, (known.get(check) ?? true) && states.healthy(record));
      }
    }
    // Those kept are marked first, so that no new one takes the place of one of them.
    for (const { key } of plan.checks) states.keep(key, generation);
    const heirs = before === undefined ? new Set<number>() : heirsIn(plan, before);
    const records = plan.checks.map(({ key, definition }, number) => {
      const up = heirs.has(number) || (known.get(number) ?? !definition.defaultDown);
      return states.claim(key, generation, up, now);
    });
    for (const number of heirs) if (!states.up(records[number])) states.change(records[number], true, now);
    const servers = plan.upstreams.map((upstream) =>
      upstream.servers.map((server) => {
        const up = server.checks.every((check) => states.up(records[check]));
        if (states.find(server.key, generation) !== -1 && !server.checks.some((check) => heirs.has(check))) {
          return states.claim(server.key, generation, true, now);
        }
        const record = states.claim(server.key, generation, up, now);
        states.setUp(record, up);
        states.setHealthy(record, up);
        return record;
      }),
    );
    return { ...plan, states, records, servers };
  });
}

/**
 * The checks that begin as if their servers were up: those of servers that have come when all that were up have gone, as
 * when a name's only address changes. Until they are found to be down there would be no server else.
 */
function heirsIn(plan: CheckPlan, before: BoundPlan): Set<number> {
  const heirs = new Set<number>();
  for (const [number, { name, servers }] of before.upstreams.entries()) {
    const next = plan.upstreams.find((upstream) => upstream.name === name);
    if (next === undefined) continue;
    const now = new Set(next.servers.map(({ key }) => key));
    const up = servers.filter((_, peer) => before.states.healthy(before.servers[number][peer]));
    if (up.length === 0 || up.some(({ key }) => now.has(key))) continue;
    const then = new Set(servers.map(({ key }) => key));
    for (const { key, checks } of next.servers) if (!then.has(key)) for (const check of checks) heirs.add(check);
  }
  return heirs;
}

/** The view a balancing method asks, for one upstream; undefined where it has no checks. */
export function viewOf(plan: BoundPlan, upstream: string): HealthView | undefined {
  const number = plan.upstreams.findIndex(({ name }) => name === upstream);
  return number === -1 ? undefined : healthView(plan.states, plan.servers[number]);
}
