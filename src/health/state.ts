import type { HealthView } from "../balancer/peer.ts";
import { digest } from "../shm/digest.ts";
import type { Zone, ZoneKind } from "../shm/zone.ts";

/*
 * Health states in shared memory: the checker writes, workers read with one atomic load. Two kinds of record, both found
 * by a key and kept over reloads by it: a check's (upstream, server address, check definition), which holds everything
 * the status page shows, and a server's (upstream, server address), whose word `usable` is what balancing reads.
 *
 * Records are claimed by whoever is the first to bind a plan, the others find them by the same keys: the master and its
 * children when a generation is built, the checker before it lets anybody know of an address that a name has got. A
 * record that no generation names any more is reused last, so that requests which end under an older generation still
 * read their own servers' states.
 */
/** What the status page and the log show of one check. */
export interface CheckState {
  readonly up: boolean;
  /** False until `rise` passes or `fall` failures in a row were seen for the first time. */
  readonly verdict: boolean;
  /** Passes and failures in a row; one of them is 0. */
  readonly rise: number;
  readonly fall: number;
  /** Checks done since the record was made; wraps at 2^32. */
  readonly checks: number;
  /** Wall-clock ms when `up` last changed (or the record was made), and of the last check; 0 before it. */
  readonly since: number;
  readonly checked: number;
  /** Wall-clock ms of the last failed check; 0 when none has failed yet. */
  readonly failed: number;
  /** Why it failed; "" when none has. A byte string. */
  readonly reason: string;
}

export const HEALTH_ZONE: ZoneKind = { name: "health", version: 2 };

/** Words of a record (Int32). */
const GENERATION = 0;
const KEY = 1;
/** A server's record: may be used. A check's record: is up. */
const UP = 5;
const VERDICT = 6;
/** The same word of a server's record. */
const HEALTHY = VERDICT;
const RISE = 7;
/** The same word of a server's record. */
const DECIDED = RISE;
const FALL = 8;
const CHECKS = 9;
const DECIDED_UP = 1;
const DECIDED_DOWN = 2;
/** Odd while the words from here on are being written. */
const SEQUENCE = 10;
const REASON_LENGTH = 11;
/** Three Float64. */
const SINCE = 12;
const CHECKED = 14;
const FAILED = 16;
const REASON = 18;
const WORDS = 64;
const REASON_BYTES = (WORDS - REASON) * 4;
/** The zone has this many times the records a generation needs, so that several generations fit. */
const ROOM = 4;

/**
 * Bytes of the zone for a generation that needs that many records, and at least `least` bytes: rounded up, so that
 * small changes keep the size.
 */
export function healthBytes(records: number, least = 0): number {
  let slots = 64;
  while (slots < records * ROOM || slots * WORDS * 4 < least) slots *= 2;
  return slots * WORDS * 4;
}

/** Access to the zone. Reads every record's key once when made. */
export class HealthStates {
  readonly zone: Zone;
  readonly words: Int32Array;
  private readonly times: Float64Array;
  private readonly bytes: Buffer;
  private readonly slots: number;
  /** Key text → word index of the record. */
  private readonly directory = new Map<string, number>();
  private readonly free: number[] = [];
  /** Records that the plan being bound has: never reassigned to another key. */
  private readonly claimed = new Set<number>();

  constructor(zone: Zone) {
    this.zone = zone;
    this.words = zone.words;
    this.times = zone.floats;
    this.bytes = zone.bytes;
    this.slots = Math.floor(this.words.length / WORDS);
    this.index();
  }

  private index(): void {
    this.directory.clear();
    this.claimed.clear();
    this.free.length = 0;
    for (let slot = this.slots - 1; slot >= 0; slot--) {
      const at = slot * WORDS;
      if (this.words[at + GENERATION] === 0) this.free.push(at);
      else this.directory.set(this.keyAt(at), at);
    }
  }

  /** Claims records in `work` while no other process does. */
  claiming<T>(work: () => T): T {
    this.zone.lock();
    try {
      this.index();
      return work();
    } finally {
      this.zone.unlock();
    }
  }

  /** `find`, for a plan that goes on with the record. */
  keep(key: string, generation: number): number {
    const known = this.find(key, generation);
    if (known !== -1) {
      // A process that builds an older generation late must not make the record look unused.
      this.words[known + GENERATION] = Math.max(this.words[known + GENERATION], generation);
      this.claimed.add(known);
    }
    return known;
  }

  private keyAt(at: number): string {
    return this.bytes.latin1Slice((at + KEY) * 4, (at + KEY + 4) * 4);
  }

  /** The record that a key has in generation `generation` or had in the one before it, or -1. */
  find(key: string, generation: number): number {
    const known = this.directory.get(keyOf(key));
    return known !== undefined && this.words[known + GENERATION] >= generation - 1 ? known : -1;
  }

  /**
   * The record of a key for generation `generation` (1 and up): the one that `find` answers, or a new one that starts
   * `up` or not, without a verdict. The state of a key that was absent from a generation in between is not used.
   * Throws RangeError when the zone is too small for the generation (see healthBytes).
   */
  claim(key: string, generation: number, up: boolean, now: number): number {
    const known = this.keep(key, generation);
    if (known !== -1) return known;
    const text = keyOf(key);
    const at = this.directory.get(text) ?? this.free.pop() ?? this.evict();
    this.claimed.add(at);
    this.words.fill(0, at, at + WORDS);
    this.bytes.write(text, (at + KEY) * 4, 16, "latin1");
    this.words[at + UP] = up ? 1 : 0;
    this.times[(at + SINCE) >> 1] = now;
    this.words[at + GENERATION] = generation;
    this.directory.set(text, at);
    return at;
  }

  /** Takes the record unused for longest. */
  private evict(): number {
    let oldest = -1;
    let least = Number.POSITIVE_INFINITY;
    for (let slot = 0; slot < this.slots; slot++) {
      const stamp = this.words[slot * WORDS + GENERATION];
      if (stamp >= least || this.claimed.has(slot * WORDS)) continue;
      least = stamp;
      oldest = slot * WORDS;
    }
    if (oldest === -1) throw new RangeError("no room for another health state");
    this.directory.delete(this.keyAt(oldest));
    return oldest;
  }

  up(at: number): boolean {
    return Atomics.load(this.words, at + UP) === 1;
  }

  /** Sets a server's `usable`. */
  setUp(at: number, up: boolean): void {
    Atomics.store(this.words, at + UP, up ? 1 : 0);
  }

  /** A server's checks are all up, whatever check_panic makes of it. */
  healthy(at: number): boolean {
    return Atomics.load(this.words, at + HEALTHY) === 1;
  }

  setHealthy(at: number, healthy: boolean): void {
    Atomics.store(this.words, at + HEALTHY, healthy ? 1 : 0);
  }

  /** What a group of nodes has decided of a server; undefined: nothing, so that this node's own finding counts. */
  decided(at: number): boolean | undefined {
    const word = Atomics.load(this.words, at + DECIDED);
    return word === 0 ? undefined : word === DECIDED_UP;
  }

  setDecided(at: number, up: boolean | undefined): void {
    Atomics.store(this.words, at + DECIDED, up === undefined ? 0 : up ? DECIDED_UP : DECIDED_DOWN);
  }

  verdict(at: number): boolean {
    return this.words[at + VERDICT] === 1;
  }

  setVerdict(at: number, reached: boolean): void {
    this.words[at + VERDICT] = reached ? 1 : 0;
  }

  /** Another node checks it from now on: what was counted here says nothing any more. */
  setAside(at: number): void {
    this.setVerdict(at, false);
    this.words[at + RISE] = 0;
    this.words[at + FALL] = 0;
  }

  /** Failures in a row. */
  failures(at: number): number {
    return this.words[at + FALL] >>> 0;
  }

  since(at: number): number {
    return this.times[(at + SINCE) >> 1];
  }

  checked(at: number): number {
    return this.times[(at + CHECKED) >> 1];
  }

  /** Counts a passed check; returns the passes in a row. */
  pass(at: number, now: number): number {
    const words = this.words;
    words[at + FALL] = 0;
    words[at + CHECKS]++;
    this.times[(at + CHECKED) >> 1] = now;
    return ++words[at + RISE] >>> 0;
  }

  /** Counts a failed check and keeps its reason (cut to 184 bytes) and time; returns the failures in a row. */
  fail(at: number, now: number, reason: string): number {
    const words = this.words;
    words[at + RISE] = 0;
    words[at + CHECKS]++;
    this.times[(at + CHECKED) >> 1] = now;
    // Already odd if a checker died in here.
    const writing = words[at + SEQUENCE] | 1;
    Atomics.store(words, at + SEQUENCE, writing);
    this.times[(at + FAILED) >> 1] = now;
    words[at + REASON_LENGTH] = this.bytes.write(reason, (at + REASON) * 4, REASON_BYTES, "latin1");
    Atomics.store(words, at + SEQUENCE, writing + 1);
    return ++words[at + FALL] >>> 0;
  }

  /** Changes a check's state. */
  change(at: number, up: boolean, now: number): void {
    this.times[(at + SINCE) >> 1] = now;
    Atomics.store(this.words, at + UP, up ? 1 : 0);
  }

  /** A consistent copy of a check's record, readable from every process. */
  read(at: number): CheckState {
    const words = this.words;
    let reason = "";
    for (let tries = 0; tries < 8; tries++) {
      const sequence = Atomics.load(words, at + SEQUENCE);
      const length = Math.min(Math.max(words[at + REASON_LENGTH], 0), REASON_BYTES);
      reason = this.bytes.latin1Slice((at + REASON) * 4, (at + REASON) * 4 + length);
      if ((sequence & 1) === 0 && Atomics.load(words, at + SEQUENCE) === sequence) break;
    }
    return {
      up: this.up(at),
      verdict: this.verdict(at),
      rise: words[at + RISE] >>> 0,
      fall: words[at + FALL] >>> 0,
      checks: words[at + CHECKS] >>> 0,
      since: this.since(at),
      checked: this.checked(at),
      failed: this.times[(at + FAILED) >> 1],
      reason,
    };
  }

  /** Copies what a record holds (not its key) from another zone or place. */
  copy(at: number, from: HealthStates, source: number): void {
    for (let word = UP; word < WORDS; word++) this.words[at + word] = from.words[source + word];
  }
}

/** Fills a fresh zone of another size from the previous one, the records used last first. */
export function migrateHealth({ words: from }: Zone, { words: to }: Zone): void {
  const used: number[] = [];
  for (let at = 0; at + WORDS <= from.length; at += WORDS) if (from[at + GENERATION] !== 0) used.push(at);
  used.sort((a, b) => from[b + GENERATION] - from[a + GENERATION]);
  const room = Math.floor(to.length / WORDS);
  for (let i = 0; i < used.length && i < room; i++) to.set(from.subarray(used[i], used[i] + WORDS), i * WORDS);
}

/** A key as its 16 bytes in the record, as a byte string. */
function keyOf(text: string): string {
  return digest(text).latin1Slice();
}

/** The view of one upstream: `records[peer]` is the word index of the server's record. */
export function healthView(states: HealthStates, records: readonly number[]): HealthView {
  const { words } = states;
  const at = Int32Array.from(records, (record) => record + UP);
  return { up: (peer) => Atomics.load(words, at[peer]) === 1 };
}
