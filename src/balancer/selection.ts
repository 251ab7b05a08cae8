import type { Zone } from "../shm/zone.ts";
import { now } from "../sys/clock.ts";
import { type Attempt, type Binding, wordsFor } from "./attempt.ts";
import { ADMIN, type HealthView, type Outcome, PEER, type Peer } from "./peer.ts";
import type { Method, PeerSet, Peers } from "./peers.ts";
import { lockZone } from "./zone.ts";

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

/** The servers that there are between two changes of an upstream's list, and the choice among them. */
export class Selection {
  readonly list: readonly Peer[];
  /** How many servers a request may try: those that are not down. */
  readonly tries: number;
  readonly #peers: Peers;
  readonly #method: Method;
  readonly #slots: readonly number[];
  readonly #zone: Zone;
  readonly #clock: () => number;
  /** One main server and no backup: max_fails is ignored, as in nginx. */
  readonly #single: boolean;
  /** A pick reads nothing that other workers change, so it takes no lock; counters are added to atomically. */
  readonly #lockless: boolean;
  /** The servers by their sids: the first of several with one, as in nginx. */
  readonly #mains: ReadonlyMap<string, number>;
  readonly #backups: ReadonlyMap<string, number>;
  /** Some serve only requests that are bound to them. */
  readonly #drains: boolean;
  /** Where this worker's own counts begin in the zone. */
  #column: number;

  /** `slots`: the place of each server in the zone. `clock`: ms, the same in all processes. */
  constructor(
    peers: Peers,
    method: Method,
    slots: readonly number[],
    place: { readonly zone: Zone; readonly clock: () => number; readonly column: number },
  ) {
    const { list } = peers;
    this.list = list;
    this.#peers = peers;
    this.#method = method;
    this.#slots = slots;
    this.#zone = place.zone;
    this.#clock = place.clock;
    this.#column = place.column;
    this.#single = list.length === 1;
    this.#lockless = this.#single && list[0].maxConns === 0 && list[0].slowStart === 0;
    this.#drains = list.some(({ drain }) => drain);
    this.#mains = bySid(list, peers.main);
    this.#backups = bySid(list, peers.backups);
    this.tries = peers.down.reduce((sum, down) => sum + (down === 0 ? 1 : 0), 0);
  }

  set column(column: number) {
    this.#column = column;
  }

  /** Sets what active checks say of these servers. */
  watch(health: HealthView | undefined, panic: number): void {
    this.#peers.health = health;
    this.#peers.panic = panic;
  }

  /** Clears the failures of the servers of that name. */
  forgive(name: string): void {
    const { state, at, maxFails } = this.#peers;
    for (const { name: own, index } of this.list) {
      const record = at[index];
      if (own !== name || state[record + PEER.fails] === 0) continue;
      lockZone(this.#zone);
      const fails = state[record + PEER.fails];
      state[record + PEER.fails] = 0;
      if (maxFails[index] !== 0 && fails >= maxFails[index]) {
        this.#peers.tick(this.#clock());
        this.#peers.startSlowly(index);
      }
      this.#zone.unlock();
    }
  }

  /** Sets the servers' states, by ADMIN. One that is back after it was out starts slowly. */
  administer(stateOf: (peer: Peer) => number): void {
    const { state, at } = this.#peers;
    for (const peer of this.list) {
      const word = at[peer.index] + PEER.admin;
      const before = Atomics.load(state, word);
      const now = stateOf(peer);
      if (now === before) continue;
      lockZone(this.#zone);
      Atomics.store(state, word, now);
      if (before === ADMIN.down) {
        this.#peers.tick(this.#clock());
        this.#peers.startSlowly(peer.index);
      }
      this.#zone.unlock();
    }
  }

  begin(attempt: Attempt, preferred: number): void {
    attempt.tries = this.tries;
    if (preferred !== -1) {
      attempt.preferred = preferred;
      // One that drains is there for this request alone, and is not in the count.
      if (this.list[preferred].drain) attempt.tries++;
    }
    if (attempt.binding !== undefined && this.#drains) this.#countDraining(attempt, attempt.binding);
    if (!this.#single) this.#method.begin?.(attempt);
  }

  /** Goes on with an attempt that began among the servers of `before`. */
  adopt(attempt: Attempt, before: Selection): void {
    const tried = new Uint32Array(wordsFor(this.list.length));
    for (const [peer, slot] of this.#slots.entries()) {
      const old = before.#slots.indexOf(slot);
      if (old === -1) continue;
      if (old === attempt.peer || (attempt.tried[old >> 5] & (1 << (old & 31))) !== 0)
        tried[peer >> 5] |= 1 << (peer & 31);
    }
    attempt.tried = tried;
    attempt.selection = this;
    attempt.peer = -1;
    if (attempt.preferred !== -1) attempt.preferred = this.#slots.indexOf(before.#slots[attempt.preferred]);
    attempt.backup = false;
    attempt.misses = 0;
    if (!this.#single) this.#method.begin?.(attempt);
  }

  /** Forgets what an attempt has tried in vain, so that the method begins again. No server was taken yet. */
  restart(attempt: Attempt): void {
    attempt.backup = false;
    attempt.hash = 0;
    attempt.rehash = 0;
    attempt.misses = 0;
    if (!this.#single) this.#method.begin?.(attempt);
  }

  #countDraining(attempt: Attempt, binding: Binding): void {
    const sid = binding.wanted();
    const bound = this.#mains.get(sid) ?? this.#backups.get(sid);
    if (bound !== undefined && this.list[bound].drain) attempt.tries++;
  }

  next(attempt: Attempt): Peer | undefined {
    const { binding } = attempt;
    if (binding !== undefined) attempt.sid = binding.wanted();
    const peer = this.#lockless ? this.#takeOnly(attempt) : this.#takeLocked(attempt);
    if (peer === -1) return undefined;
    attempt.selectedAt = now();
    attempt.headerTime = -1;
    attempt.disabled = false;
    const chosen = this.list[peer];
    if (binding !== undefined) binding.chosen(chosen);
    return chosen;
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
    if (attempt.preferred === 0) return this.#peers.usableBound(attempt, 0);
    if (attempt.sid !== "") {
      if (attempt.sid === this.list[0].sid && this.#peers.usableBound(attempt, 0)) return true;
      if (attempt.binding?.only === true) return false;
    }
    return this.#peers.inService(0);
  }

  #pick(attempt: Attempt): number {
    const { preferred } = attempt;
    if (preferred !== -1) {
      attempt.preferred = -1;
      if (this.#peers.usableBound(attempt, preferred)) return preferred;
    }
    return attempt.sid === "" ? this.#pickFree(attempt) : this.#pickBound(attempt);
  }

  /** As the method has it. */
  #pickFree(attempt: Attempt): number {
    if (!attempt.backup) {
      const peer = this.#method.pick(attempt);
      if (peer !== -1 || this.#peers.backups.count === 0) return peer;
      attempt.backup = true;
    }
    return this.#method.pickBackup(attempt);
  }

  /** The server that the request is bound to, if it can be had: a backup one, as in nginx, once no main one can. */
  #pickBound(attempt: Attempt): number {
    const peers = this.#peers;
    const { sid } = attempt;
    const main = this.#mains.get(sid);
    const backup = this.#backups.get(sid);
    if (attempt.binding?.only === true) {
      const bound = this.#ifUsable(attempt, main, peers.main);
      return bound === -1 ? this.#ifUsable(attempt, backup, peers.backups) : bound;
    }
    const home = main ?? backup;
    if (home !== undefined && this.#failsInPanic(home)) {
      const refuge = this.#pickUp(attempt);
      if (refuge !== -1) return refuge;
    }
    if (!attempt.backup) {
      const bound = this.#ifUsable(attempt, main, peers.main);
      const peer = bound === -1 ? this.#method.pick(attempt) : bound;
      if (peer !== -1 || peers.backups.count === 0) return peer;
      attempt.backup = true;
    }
    const bound = this.#ifUsable(attempt, backup, peers.backups);
    return bound === -1 ? this.#method.pickBackup(attempt) : bound;
  }

  #ifUsable(attempt: Attempt, peer: number | undefined, set: PeerSet): number {
    if (peer === undefined || !this.#peers.usableBound(attempt, peer)) return -1;
    this.#method.bound?.(attempt, peer, set);
    return peer;
  }

  /** The checks hold the server down, but are not heeded (check_panic). */
  #failsInPanic(peer: number): boolean {
    const { health, heeded } = this.#peers;
    return health !== undefined && heeded === undefined && !health.up(peer);
  }

  /**
   * In a panic requests go to servers whose checks fail, but a session that can move to one that is up does not go on to such
   * a server. Only where none can be had it stays where it is.
   */
  #pickUp(attempt: Attempt): number {
    const peers = this.#peers;
    peers.heeded = peers.health;
    const peer = this.#pickFree(attempt);
    peers.heeded = undefined;
    if (peer === -1) this.restart(attempt);
    return peer;
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

function bySid(list: readonly Peer[], { first, last }: PeerSet): ReadonlyMap<string, number> {
  const found = new Map<string, number>();
  for (let peer = first; peer < last; peer++) {
    const { sid } = list[peer];
    if (sid !== "" && !found.has(sid)) found.set(sid, peer);
  }
  return found;
}
