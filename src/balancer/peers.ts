import type { Attempt } from "./attempt.ts";
import { ADMIN, type HealthView, PEER, type Peer } from "./peer.ts";
import { recordAt } from "./zone.ts";

/** The main servers of an upstream, or its backup ones: a range of peer indexes. */
export interface PeerSet {
  readonly first: number;
  /** One past the last. */
  readonly last: number;
  readonly members: Int32Array;
  readonly count: number;
  readonly totalWeight: number;
}

/** Effective weights are multiplied by this where a server has slow_start, so that a weight of 1 can grow gradually. */
const SLOW_START_SCALE = 128;
/** Times are kept modulo 2^31 ms (24.8 days): a longer slow_start would never end. */
const LONGEST_SLOW_START = 2 ** 30;

/**
 * The servers of an upstream laid out for the balancing methods: what the configuration says in typed arrays by peer
 * index, what changes in the shared zone. Methods run with the zone's lock held, after `tick`.
 */
export class Peers {
  readonly list: readonly Peer[];
  readonly state: Int32Array;
  readonly main: PeerSet;
  readonly backups: PeerSet;
  /** Index of each peer's record in `state`. */
  readonly at: Int32Array;
  readonly weight: Int32Array;
  /** weight × scale: what effectiveWeight is while nothing has failed. */
  readonly nominal: Int32Array;
  readonly scale: number;
  readonly maxConns: Int32Array;
  readonly maxFails: Int32Array;
  /** Seconds, as nginx counts. */
  readonly failTimeout: Float64Array;
  /** slow_start in ms; 0 for none. */
  readonly slow: Float64Array;
  /** 1 for servers that are down or drained by configuration. */
  readonly down: Uint8Array;
  /** 1 for servers that neither `down`, max_conns nor slow_start concerns. */
  readonly plain: Uint8Array;
  health: HealthView | undefined;
  /** check_panic: percent of servers that must be up for `health` to count; 0: always. */
  panic: number;
  /**
   * The time of the pick in seconds, and in ms modulo 2^31, on the monotonic clock that all processes share. With the wall
   * clock, setting the time would shorten or lengthen fail_timeout.
   */
  seconds = 0;
  ms = 0;
  /** `health`, or undefined while check_panic overrides it. Set by `tick`. */
  heeded: HealthView | undefined = undefined;

  constructor(list: readonly Peer[], state: Int32Array, slots: readonly number[]) {
    const mains = list.filter((peer) => !peer.backup).length;
    this.list = list;
    this.state = state;
    this.main = setOf(list, 0, mains);
    this.backups = setOf(list, mains, list.length);
    this.scale = scaleOf(list);
    this.at = Int32Array.from(slots, recordAt);
    this.weight = Int32Array.from(list, (peer) => peer.weight);
    this.nominal = Int32Array.from(list, (peer) => nominalWeight(peer, this.scale));
    this.maxConns = Int32Array.from(list, (peer) => peer.maxConns);
    this.maxFails = Int32Array.from(list, (peer) => peer.maxFails);
    this.failTimeout = Float64Array.from(list, (peer) => Math.floor(peer.failTimeout / 1000));
    this.slow = Float64Array.from(list, (peer) => Math.min(peer.slowStart, LONGEST_SLOW_START));
    this.down = Uint8Array.from(list, (peer) => (peer.down || peer.drain ? 1 : 0));
    this.plain = Uint8Array.from(list, ({ down, drain, maxConns, slowStart }) =>
      down || drain || maxConns > 0 || slowStart > 0 ? 0 : 1,
    );
    this.health = undefined;
    this.panic = 0;
  }

  /** Sets the time of the picks that follow, and whether `health` counts (check_panic). */
  tick(now: number): void {
    this.seconds = Math.floor(now / 1000);
    this.ms = (now % 0x80000000) | 0;
    this.heeded = this.health !== undefined && this.panic > 0 && this.inPanic(this.health) ? undefined : this.health;
  }

  /** True when fewer than `panic` percent of the servers in service are up. */
  private inPanic(health: HealthView): boolean {
    let up = 0;
    let all = 0;
    for (let peer = 0; peer < this.down.length; peer++) {
      if (this.down[peer] !== 0) continue;
      all++;
      if (health.up(peer)) up++;
    }
    return up * 100 < this.panic * all;
  }

  /** True when the attempt may go to the peer: not tried, in service, not failed lately, healthy, with room. */
  usable(attempt: Attempt, peer: number): boolean {
    if ((attempt.tried[peer >> 5] & (1 << (peer & 31))) !== 0) return false;
    // Fast path: with a thousand servers, these few lines are what a pick costs.
    const record = this.at[peer];
    if (this.plain[peer] !== 0 && this.state[record + PEER.fails] === 0 && this.state[record + PEER.admin] === 0) {
      return this.heeded === undefined || this.heeded.up(peer);
    }
    return this.inService(peer) && !this.failedLately(peer);
  }

  /** What applies to a single server too: `down`, admin state, max_conns, active checks. */
  inService(peer: number): boolean {
    if (this.down[peer] !== 0) return false;
    if (this.state[this.at[peer] + PEER.admin] !== 0) return false;
    return this.ready(peer);
  }

  /** The same as `usable` for a request that is bound to the peer (sticky): one that drains takes it too. */
  usableBound(attempt: Attempt, peer: number): boolean {
    if ((attempt.tried[peer >> 5] & (1 << (peer & 31))) !== 0 || this.list[peer].down) return false;
    if (this.state[this.at[peer] + PEER.admin] === ADMIN.down) return false;
    return this.ready(peer) && !this.failedLately(peer);
  }

  /** Below max_conns and, where checks are heeded, up. */
  private ready(peer: number): boolean {
    const most = this.maxConns[peer];
    if (most !== 0 && this.state[this.at[peer] + PEER.conns] >= most) return false;
    return this.heeded === undefined ? true : this.healthy(this.heeded, peer);
  }

  private healthy(health: HealthView, peer: number): boolean {
    const up = health.up(peer);
    if (this.slow[peer] !== 0) {
      const record = this.at[peer];
      const seenDown = this.state[record + PEER.seenDown] !== 0;
      if (up && seenDown) this.startSlowly(peer);
      if (up === seenDown) this.state[record + PEER.seenDown] = up ? 0 : 1;
    }
    return up;
  }

  /** True while max_fails was reached less than fail_timeout ago. */
  failedLately(peer: number): boolean {
    const most = this.maxFails[peer];
    if (most === 0) return false;
    const record = this.at[peer];
    return this.state[record + PEER.fails] >= most && !this.checkedLongAgo(peer);
  }

  /** True when the last failure or trial is more than fail_timeout ago. */
  checkedLongAgo(peer: number): boolean {
    return (this.seconds - this.state[this.at[peer] + PEER.checked]) >>> 0 > this.failTimeout[peer];
  }

  /** Begins the peer's slow_start now. */
  startSlowly(peer: number): void {
    if (this.slow[peer] === 0) return;
    const record = this.at[peer];
    this.state[record + PEER.slowStart] = this.ms === 0 ? 1 : this.ms;
    this.state[record + PEER.currentWeight] = 0;
  }

  /** The weight a peer balances with, scaled: the nominal one, less while slow_start lasts. */
  rampedWeight(peer: number): number {
    return this.plain[peer] !== 0 ? this.nominal[peer] : this.rampedSlowly(peer);
  }

  private rampedSlowly(peer: number): number {
    const slow = this.slow[peer];
    if (slow === 0) return this.nominal[peer];
    const record = this.at[peer];
    const started = this.state[record + PEER.slowStart];
    if (started === 0) return this.nominal[peer];
    const elapsed = (this.ms - started) & 0x7fffffff;
    if (elapsed < slow) return Math.floor((this.nominal[peer] * elapsed) / slow);
    this.state[record + PEER.slowStart] = 0;
    return this.nominal[peer];
  }
}

function setOf(list: readonly Peer[], first: number, last: number): PeerSet {
  let totalWeight = 0;
  for (let peer = first; peer < last; peer++) totalWeight += list[peer].weight;
  const members = Int32Array.from({ length: last - first }, (_, i) => first + i);
  return { first, last, members, count: members.length, totalWeight };
}

export function scaleOf(list: readonly { readonly slowStart: number }[]): number {
  return list.some((peer) => peer.slowStart > 0) ? SLOW_START_SCALE : 1;
}

export function nominalWeight(peer: { readonly weight: number }, scale: number): number {
  return peer.weight * scale;
}

/** A balancing method: picks a usable peer of the set, or -1. `begin` prepares an attempt. The zone's lock is held. */
export interface Method {
  readonly begin?: (attempt: Attempt) => void;
  readonly pick: (attempt: Attempt) => number;
  /** Among the backup servers, once no main one is left. */
  readonly pickBackup: (attempt: Attempt) => number;
  /** Called for a peer that was taken because the request is bound to it, where that counts among the turns of the others. */
  readonly bound?: (attempt: Attempt, peer: number, set: PeerSet) => void;
  /** Called for a peer taken, and when its header has come or its connection is given back: least_time. */
  readonly taken?: (attempt: Attempt) => void;
  readonly header?: (attempt: Attempt) => void;
  readonly released?: (attempt: Attempt, ok: boolean, responseTime: number) => void;
}
