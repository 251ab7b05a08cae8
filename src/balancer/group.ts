import { ConfigError } from "../config/types.ts";
import type { Cycle } from "../runtime/cycle.ts";
import type { Zone } from "../shm/zone.ts";
import { now, sharedNow } from "../sys/clock.ts";
import type { Attempt, BalanceInput } from "./attempt.ts";
import { newAttempt, resetAttempt } from "./attempt.ts";
import { type Hosts, resolvePeers, type UpstreamDefinition } from "./definition.ts";
import { makeMethod } from "./methods/registry.ts";
import { type HealthView, type KeepaliveSettings, type Outcome, PEER, type Peer, type Upstream } from "./peer.ts";
import { type Method, nominalWeight, Peers, scaleOf } from "./peers.ts";
import {
  claimSlots,
  columnAt,
  forgetWorker,
  lockZone,
  migrate,
  openColumn,
  ownZone,
  UPSTREAM_ZONE,
  zoneBytes,
} from "./zone.ts";

/** The most the weights may add up to: current weights range from minus to plus the total, in 32 bits. */
const MAX_TOTAL_WEIGHT = 0x3fffffff;

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
  const zone = (size: number) => cycle.zone({ kind: UPSTREAM_ZONE, name, size, migrate });
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
  const peers = resolvePeers(definition, hosts);
  if (!peers.some((peer) => !peer.backup)) {
    throw new ConfigError(`no servers in upstream "${definition.name}"`, definition);
  }
  const made = shared ?? ownZone(peers.length);
  const zone = typeof made === "function" ? made(zoneBytes(peers.length)) : made;
  const scale = scaleOf(peers);
  if (peers.reduce((sum, peer) => sum + nominalWeight(peer, scale), 0) > MAX_TOTAL_WEIGHT) {
    throw new ConfigError(`the weights in upstream "${definition.name}" are too large`, definition);
  }
  const seen = new Map<string, number>();
  const claims = peers.map((peer) => {
    // The same address twice is two servers, each with its own record.
    const repeat = seen.get(peer.name) ?? 0;
    seen.set(peer.name, repeat + 1);
    return { name: `${repeat} ${peer.name}`, weight: nominalWeight(peer, scale) };
  });
  const slots = claimSlots(zone, claims, options.generation);
  if (slots === undefined) {
    throw new ConfigError(`the zone of upstream "${definition.name}" is too small`, definition);
  }
  return new Group(definition, new Peers(peers, zone.words, slots), slots, zone, options);
}

/** What a status page shows of a peer. */
export interface PeerCounters {
  readonly conns: number;
  readonly fails: number;
  readonly failures: number;
  readonly requests: number;
  readonly effectiveWeight: number;
  readonly currentWeight: number;
  /** False while max_fails holds it out. */
  readonly available: boolean;
}

/** An upstream of one generation in one process; several generations and all workers share its state. */
export class Group implements Upstream {
  readonly name: string;
  readonly peers: readonly Peer[];
  readonly definition: UpstreamDefinition;
  readonly keepalive: KeepaliveSettings | undefined;
  readonly #peers: Peers;
  readonly #method: Method;
  readonly #slots: readonly number[];
  readonly #zone: Zone;
  readonly #clock: () => number;
  /** One main server and no backup: max_fails is ignored, as in nginx. */
  readonly #single: boolean;
  /** A pick reads nothing that other workers change, so it takes no lock; counters are added to atomically. */
  readonly #lockless: boolean;
  readonly #tries: number;
  readonly #spare: Attempt[] = [];
  #column: number;

  constructor(
    definition: UpstreamDefinition,
    peers: Peers,
    slots: readonly number[],
    zone: Zone,
    options: GroupOptions,
  ) {
    this.name = definition.name;
    this.definition = definition;
    this.keepalive = definition.keepalive;
    this.peers = peers.list;
    this.#peers = peers;
    this.#method = makeMethod(definition.method, peers);
    this.#slots = slots;
    this.#zone = zone;
    this.#clock = options.clock ?? sharedNow;
    this.#single = peers.list.length === 1;
    this.#lockless = this.#single && peers.list[0].maxConns === 0 && peers.list[0].slowStart === 0;
    this.#tries = peers.down.reduce((sum, down) => sum + (down === 0 ? 1 : 0), 0);
    this.#column = columnAt(peers.state, 0);
    peers.health = options.health;
    peers.panic = options.panic ?? 0;
  }

  /** Sets the number of this worker, which is that of its column in the zone. */
  enter(worker: number): void {
    this.#column = columnAt(this.#peers.state, worker);
    openColumn(this.#zone, worker);
  }

  /** Subtracts the connections of a worker that died. Call before another worker gets its number. */
  forget(worker: number): void {
    forgetWorker(this.#zone, worker);
  }

  /** Sets the view of the active checks. */
  watch(health: HealthView | undefined, panic = 0): void {
    this.#peers.health = health;
    this.#peers.panic = panic;
  }

  begin(input: BalanceInput, preferred = -1): Attempt {
    let attempt = this.#spare.pop();
    if (attempt === undefined) attempt = newAttempt(input, (this.peers.length + 31) >> 5);
    else resetAttempt(attempt, input);
    attempt.tries = this.#tries;
    if (preferred !== -1) {
      attempt.preferred = preferred;
      // One that drains is there for this request alone, and is not in the count.
      if (this.peers[preferred].drain) attempt.tries++;
    }
    if (!this.#single) this.#method.begin?.(attempt);
    return attempt;
  }

  end(attempt: Attempt): void {
    if (this.#spare.length < 256) this.#spare.push(attempt);
  }

  next(attempt: Attempt): Peer | undefined {
    const peer = this.#lockless ? this.#takeOnly(attempt) : this.#takeLocked(attempt);
    if (peer === -1) return undefined;
    attempt.selectedAt = now();
    attempt.headerTime = -1;
    attempt.disabled = false;
    return this.peers[peer];
  }

  #takeOnly(attempt: Attempt): number {
    const peers = this.#peers;
    if (peers.health !== undefined) peers.tick(this.#clock());
    if (!this.#onlyUsable(attempt)) return -1;
    this.#take(attempt, 0);
    return 0;
  }

  #takeLocked(attempt: Attempt): number {
    const peers = this.#peers;
    lockZone(this.#zone);
    try {
      peers.tick(this.#clock());
      const peer = this.#single ? (this.#onlyUsable(attempt) ? 0 : -1) : this.#pick(attempt);
      if (peer !== -1) this.#take(attempt, peer);
      return peer;
    } finally {
      this.#zone.unlock();
    }
  }

  #take(attempt: Attempt, peer: number): void {
    const peers = this.#peers;
    const { state } = peers;
    const record = peers.at[peer];
    attempt.peer = peer;
    Atomics.add(state, record + PEER.requests, 1);
    Atomics.add(state, record + PEER.conns, 1);
    state[this.#column + this.#slots[peer]]++;
    if (this.#single) return;
    attempt.tried[peer >> 5] |= 1 << (peer & 31);
    if (peers.checkedLongAgo(peer)) state[record + PEER.checked] = peers.seconds;
    this.#method.taken?.(attempt);
  }

  #onlyUsable(attempt: Attempt): boolean {
    return attempt.preferred === 0 ? this.#peers.usableBound(attempt, 0) : this.#peers.inService(0);
  }

  #pick(attempt: Attempt): number {
    const { preferred } = attempt;
    if (preferred !== -1) {
      attempt.preferred = -1;
      if (this.#peers.usableBound(attempt, preferred)) return preferred;
    }
    if (!attempt.backup) {
      const peer = this.#method.pick(attempt);
      if (peer !== -1 || this.#peers.backups.count === 0) return peer;
      attempt.backup = true;
    }
    return this.#method.pickBackup(attempt);
  }

  release(attempt: Attempt, outcome: Outcome): void {
    if (this.#lockless) {
      this.#giveBack(attempt, attempt.peer, outcome);
      return;
    }
    lockZone(this.#zone);
    try {
      this.#giveBack(attempt, attempt.peer, outcome);
    } finally {
      this.#zone.unlock();
    }
  }

  #giveBack(attempt: Attempt, peer: number, outcome: Outcome): void {
    const { state, at } = this.#peers;
    const record = at[peer];
    if (outcome === "failed") Atomics.add(state, record + PEER.failures, 1);
    Atomics.sub(state, record + PEER.conns, 1);
    state[this.#column + this.#slots[peer]]--;
    if (this.#single) {
      if (state[record + PEER.fails] !== 0) state[record + PEER.fails] = 0;
      attempt.tries = 0;
      return;
    }
    if (outcome === "failed" || this.#method.released !== undefined) {
      this.#peers.tick(this.#clock());
      this.#method.released?.(attempt, outcome === "ok", now() - attempt.selectedAt);
      if (outcome === "failed") attempt.disabled = this.#failed(peer);
    }
    if (outcome !== "failed") this.#passed(peer);
    if (attempt.tries > 0) attempt.tries--;
  }

  /** Counts a failure; true when the server is now held out. */
  #failed(peer: number): boolean {
    const { state, at, maxFails, weight, scale, seconds } = this.#peers;
    const record = at[peer];
    const fails = state[record + PEER.fails] + 1;
    state[record + PEER.fails] = fails;
    state[record + PEER.accessed] = seconds;
    state[record + PEER.checked] = seconds;
    const most = maxFails[peer];
    if (most === 0) return false;
    const effective = state[record + PEER.effectiveWeight] - Math.floor(weight[peer] / most) * scale;
    state[record + PEER.effectiveWeight] = Math.max(0, effective);
    return fails >= most;
  }

  /** Clears the failures of a server that answered after fail_timeout (`checked` is newer than its last failure). */
  #passed(peer: number): void {
    const { state, at, maxFails } = this.#peers;
    const record = at[peer];
    const fails = state[record + PEER.fails];
    if (fails === 0) return;
    if (state[record + PEER.accessed] >>> 0 >= state[record + PEER.checked] >>> 0) return;
    state[record + PEER.fails] = 0;
    if (maxFails[peer] !== 0 && fails >= maxFails[peer]) {
      this.#peers.tick(this.#clock());
      this.#peers.startSlowly(peer);
    }
  }

  tries(attempt: Attempt): number {
    return attempt.tries;
  }

  header(attempt: Attempt): void {
    if (this.#method.released === undefined || this.#single) return;
    attempt.headerTime = now() - attempt.selectedAt;
    if (this.#method.header === undefined) return;
    lockZone(this.#zone);
    try {
      this.#peers.tick(this.#clock());
      this.#method.header(attempt);
    } finally {
      this.#zone.unlock();
    }
  }

  /** Counters of a peer, for status pages. */
  counters(peer: number): PeerCounters {
    const { state } = this.#peers;
    const record = this.#peers.at[peer];
    this.#peers.tick(this.#clock());
    return {
      conns: Atomics.load(state, record + PEER.conns),
      fails: state[record + PEER.fails],
      failures: state[record + PEER.failures] >>> 0,
      requests: state[record + PEER.requests] >>> 0,
      effectiveWeight: Math.floor(state[record + PEER.effectiveWeight] / this.#peers.scale),
      currentWeight: Math.floor(state[record + PEER.currentWeight] / this.#peers.scale),
      available: this.#single || !this.#peers.failedLately(peer),
    };
  }
}
