import { ConfigError, placeText } from "../config/types.ts";
import type { Cycle } from "../runtime/cycle.ts";
import type { Zone } from "../shm/zone.ts";
import { sharedNow } from "../sys/clock.ts";
import { type Attempt, type BalanceInput, type Binding, newAttempt, resetAttempt } from "./attempt.ts";
import { type Hosts, resolvedName, resolvePeers, type UpstreamDefinition } from "./definition.ts";
import { makeMethod } from "./methods/registry.ts";
import type { HealthView, KeepaliveSettings, Outcome, Peer, Upstream } from "./peer.ts";
import { nominalWeight, Peers, scaleOf } from "./peers.ts";
import { Queue } from "./queue.ts";
import {
  migrateResolved,
  NOTHING_RESOLVED,
  type ResolvedNames,
  type ResolvedServer,
  readResolved,
  resolvedVersion,
  writeResolved,
} from "./resolved.ts";
import { type PeerCounters, Selection } from "./selection.ts";
import { claimSlots, columnAt, forgetWorker, migrate, openColumn, ownZone, UPSTREAM_ZONE, zoneBytes } from "./zone.ts";

/** The most the weights may add up to: current weights range from minus to plus the total, in 32 bits. */
const MAX_TOTAL_WEIGHT = 0x3fffffff;
/** Bytes of a `zone` for each address that a name may have, and the most there are. */
const ZONE_BYTES = 512;
const MOST_RESOLVED = 4096;

export interface GroupOptions {
  /** The generation of the configuration, so that state of addresses no longer named gives way first. */
  readonly generation: number;
  readonly health?: HealthView;
  /** check_panic in percent; 0 or absent: off. */
  readonly panic?: number;
  /** ms, the same in all processes; for tests. */
  readonly clock?: () => number;
}

/** Builds an upstream of a cycle over the cycle's zone `upstream NAME`. Throws as `buildUpstream`. */
export function cycleUpstream(
  definition: UpstreamDefinition,
  cycle: Cycle,
  options: Omit<GroupOptions, "generation"> = {},
): Group {
  const { generation, hosts } = cycle.data;
  const { name } = definition;
  const copy = (from: Zone, to: Zone) => {
    migrate(from, to);
    migrateResolved(from, to);
  };
  const zone = (size: number) => cycle.zone({ kind: UPSTREAM_ZONE, name, size, migrate: copy });
  return buildUpstream(definition, hosts, zone, { ...options, generation });
}

/**
 * Builds an upstream over its shared zone, or one of its own. Throws ConfigError when a name has no address, when every server is a
 * backup ("no servers in upstream"), or the zone has no room.
 */
export function buildUpstream(
  definition: UpstreamDefinition,
  hosts: Hosts,
  shared: Zone | ((bytes: number) => Zone) | undefined,
  options: GroupOptions,
): Group {
  const resolves = definition.servers.some((server) => resolvedName(server) !== undefined);
  const configured = resolvePeers(definition, hosts, NOTHING_RESOLVED);
  if (!definition.state && !definition.servers.some((server) => !server.backup)) {
    throw new ConfigError(`no servers in upstream "${definition.name}"`, definition);
  }
  if (resolves && definition.zone === 0) throw new ConfigError(needsZone(definition));
  const room = resolves ? Math.min(MOST_RESOLVED, Math.floor(definition.zone / ZONE_BYTES)) : 0;
  const capacity = configured.length + room;
  const made = shared ?? ownZone(capacity);
  const zone = typeof made === "function" ? made(zoneBytes(capacity)) : made;
  return new Group(definition, { hosts, zone, capacity, resolves }, options);
}

function needsZone({ name, file, line }: UpstreamDefinition): string {
  return `resolving names at run time requires upstream "${name}" in ${placeText(file, line)} to be in shared memory`;
}

/** An upstream of one generation in one process; several generations and all workers share its state. */
export class Group implements Upstream {
  readonly name: string;
  readonly definition: UpstreamDefinition;
  readonly keepalive: KeepaliveSettings | undefined;
  readonly ntlm: boolean;
  /** Where requests wait that find no server. */
  readonly queue: Queue | undefined;
  /** The most servers it may have. */
  readonly capacity: number;
  /** It has names that are resolved while serving: its servers change. */
  readonly resolves: boolean;
  readonly #hosts: Hosts;
  readonly #zone: Zone;
  readonly #generation: number;
  readonly #clock: () => number;
  readonly #spare: Attempt[] = [];
  #selection: Selection;
  #sidOf: ((peer: Peer) => string) | undefined = undefined;
  #column: number;
  /** What names stand for in this process, and the version in the zone that this is. */
  #names: ResolvedNames = NOTHING_RESOLVED;
  #version = 0;
  readonly #listeners: (() => void)[] = [];

  constructor(
    definition: UpstreamDefinition,
    place: { readonly hosts: Hosts; readonly zone: Zone; readonly capacity: number; readonly resolves: boolean },
    options: GroupOptions,
  ) {
    this.name = definition.name;
    this.definition = definition;
    this.keepalive = definition.keepalive;
    this.ntlm = definition.ntlm;
    this.capacity = place.capacity;
    this.resolves = place.resolves;
    this.#hosts = place.hosts;
    this.#zone = place.zone;
    this.#generation = options.generation;
    this.#clock = options.clock ?? sharedNow;
    const { queue } = definition;
    this.queue = queue && new Queue(queue, place.zone, this.#clock, (attempt) => this.#nextAnew(attempt));
    this.#column = columnAt(place.zone.words, 0);
    if (this.resolves) this.#read();
    this.#selection = this.#select();
    this.watch(options.health, options.panic);
  }

  get peers(): readonly Peer[] {
    return this.#selection.list;
  }

  /** What its names stand for, in this process. */
  get names(): ResolvedNames {
    return this.#names;
  }

  /** Gives the servers the names by which requests are bound to them. Called once, before `watch`. */
  identify(sidOf: (peer: Peer) => string): void {
    this.#sidOf = sidOf;
    this.#selection = this.#select();
  }

  /** Sets the number of this worker, which is that of its column in the zone. */
  enter(worker: number): void {
    this.#column = columnAt(this.#zone.words, worker);
    this.#selection.column = this.#column;
    openColumn(this.#zone, worker);
    this.queue?.enter(worker);
  }

  /** Subtracts the connections of a worker that died. Call before another worker gets its number. */
  forget(worker: number): void {
    forgetWorker(this.#zone, worker);
  }

  /** Sets the view of the active checks on the servers that there are now. */
  watch(health: HealthView | undefined, panic = 0): void {
    this.#selection.watch(health, panic);
  }

  /** Sets what is said of the servers that there are now, by ADMIN, for all processes. */
  administer(stateOf: (peer: Peer) => number): void {
    this.#selection.administer(stateOf);
  }

  /** Those servers of that name are found to work: what requests have found before (max_fails) counts no more. */
  forgive(name: string): void {
    this.#selection.forgive(name);
  }

  /** Calls back in this process when the servers have changed, before a request sees it. */
  onChange(listener: () => void): void {
    this.#listeners.push(listener);
  }

  /** Takes over what the checker has found out since. To be called now and then where no request does. */
  follow(): void {
    if (this.resolves && resolvedVersion(this.#zone) !== this.#version) this.#refresh();
  }

  /**
   * In the checker: what names stand for from now on. The other processes see it only after the listeners here were called.
   * False when there is no room for all addresses. Where not even the names have room, all processes keep what they had.
   */
  learn(names: ResolvedNames): boolean {
    const before = this.#names;
    const fitting = firstOf(names, this.capacity);
    this.#names = fitting.names;
    this.#version++;
    this.#change();
    const written = writeResolved(this.#zone, fitting.names);
    if (!written) {
      this.#names = before;
      this.#change();
    }
    this.#version = resolvedVersion(this.#zone);
    return written && fitting.all;
  }

  #refresh(): void {
    this.#read();
    this.#change();
  }

  #read(): void {
    const { version, names } = readResolved(this.#zone);
    this.#version = version;
    this.#names = names;
  }

  #change(): void {
    this.#selection = this.#select();
    for (const listener of this.#listeners) listener();
  }

  #select(): Selection {
    const { definition } = this;
    const resolved = resolvePeers(definition, this.#hosts, this.#names);
    const scale = scaleOf(resolved);
    const total = resolved.reduce((sum, peer) => sum + nominalWeight(peer, scale), 0);
    if (total > MAX_TOTAL_WEIGHT && !this.resolves) {
      throw new ConfigError(`the weights in upstream "${definition.name}" are too large`, definition);
    }
    const found = total > MAX_TOTAL_WEIGHT ? lighter(resolved, MAX_TOTAL_WEIGHT / total) : resolved;
    const seen = new Map<string, number>();
    const claims = found.map((peer) => {
      // The same address twice is two servers, each with its own record.
      const repeat = seen.get(peer.name) ?? 0;
      seen.set(peer.name, repeat + 1);
      return { name: `${repeat} ${peer.name}`, weight: nominalWeight(peer, scale) };
    });
    const slots = claimSlots(this.#zone, claims, this.#generation + this.#version);
    if (slots.includes(-1) && !this.resolves) {
      throw new ConfigError(`the zone of upstream "${definition.name}" is too small`, definition);
    }
    const sidOf = this.#sidOf ?? noSid;
    const placed = found
      .filter((_, peer) => slots[peer] !== -1)
      .map((peer, index) => ({ ...peer, index, sid: sidOf(peer) }));
    const own = slots.filter((slot) => slot !== -1);
    const peers = new Peers(placed, this.#zone.words, own);
    const method = makeMethod(definition.method, peers);
    return new Selection(peers, method, own, { zone: this.#zone, clock: this.#clock, column: this.#column });
  }

  begin(input: BalanceInput, preferred = -1, binding?: Binding): Attempt {
    // `preferred` is one of the servers that are known.
    if (this.resolves && preferred === -1) this.follow();
    const selection = this.#selection;
    let attempt = this.#spare.pop();
    if (attempt === undefined || attempt.selection !== selection) attempt = newAttempt(input, selection);
    else resetAttempt(attempt, input);
    attempt.binding = binding;
    selection.begin(attempt, preferred);
    return attempt;
  }

  end(attempt: Attempt): void {
    attempt.binding = undefined;
    if (this.#spare.length < 256) this.#spare.push(attempt);
  }

  next(attempt: Attempt): Peer | undefined {
    if (this.resolves) {
      this.follow();
      // The servers have changed since the request's last try: it goes on with those that there are now.
      if (attempt.selection !== this.#selection) this.#selection.adopt(attempt, attempt.selection);
    }
    return attempt.selection.next(attempt);
  }

  #nextAnew(attempt: Attempt): Peer | undefined {
    attempt.selection.restart(attempt);
    return this.next(attempt);
  }

  release(attempt: Attempt, outcome: Outcome): void {
    if (attempt.binding !== undefined && outcome === "ok") attempt.binding.released();
    attempt.selection.release(attempt, outcome);
    if (this.queue !== undefined) this.queue.released();
  }

  tries(attempt: Attempt): number {
    return attempt.tries;
  }

  header(attempt: Attempt): void {
    attempt.selection.header(attempt);
  }

  /** Counters of a peer, for status pages. */
  counters(peer: number): PeerCounters {
    return this.#selection.counters(peer);
  }
}

function noSid(): string {
  return "";
}

/** As many of the addresses as there is room for. */
function firstOf(names: ResolvedNames, most: number): { readonly names: ResolvedNames; readonly all: boolean } {
  const first = new Map<string, readonly ResolvedServer[]>();
  let left = most;
  let all = true;
  for (const [name, servers] of names) {
    const kept = servers.slice(0, left);
    all &&= kept.length === servers.length;
    left -= kept.length;
    first.set(name, kept);
  }
  return { names: first, all };
}

/** The same servers with their weights made smaller: name servers may give any. */
function lighter(peers: readonly Peer[], factor: number): Peer[] {
  return peers.map((peer) => ({ ...peer, weight: Math.max(1, Math.floor(peer.weight * factor)) }));
}
