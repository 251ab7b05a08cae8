import { LruHash, OWN_WORDS } from "../../shm/lru_hash.ts";
import { MarkedEntries } from "../../shm/marked_entries.ts";
import type { Zone, ZoneKind } from "../../shm/zone.ts";
import { wallNow } from "../../sys/clock.ts";
import { randomInt32 } from "../../sys/random.ts";
import { BitTree } from "./bit_tree.ts";
import { IP_HEAD, isIpv6Key, keyBits, type PairType } from "./pair_key.ts";

/**
 * The pairs of a keyval zone, by what their keys are filed under.
 *
 *     value of an entry: when the pair ends, ms since 1970 (a float; Infinity: never; 0: it is none) · its stamp (a float)
 *                        · length (32 bits) · flags (32 bits) · the pair's value
 *
 * A stamp is the time of a change, later than that of the change before: of two changes of one key, made anywhere, the later one
 * counts. A pair that was removed leaves a mark where others are to hear of it.
 */
export const KEYVAL_ZONE: ZoneKind = { name: "keyval", version: 1 };

/** Words that belong to the table as a whole. */
const LOADED = 0;
const CHANGES = 1;
/** What this node's stamps have behind the point: others' have something else. */
const FRACTION = 2;
/** Pairs to be told to others, and marks. */
const UNTOLD = 3;
const MARKS = 4;
/** Something ends at some time. */
const MORTAL = 5;
/** The trees of `ip` and `prefix`. */
const TREE = 6;
const TREE6 = 7;
/** The bucket where room was last looked for. */
const CURSOR = 8;
const WORDS = 9;
const OWN = OWN_WORDS;

const ENDS = 0;
const STAMP = 1;
const LENGTH = 4;
const FLAGS = 5;
const HEAD_BYTES = 24;

const UNTOLD_FLAG = 1;
const MARK_FLAG = 2;

/** The most bytes of a value: an entry has 131,068 for it and what stands before it. */
export const MOST_VALUE = 65_536 * 2 - 4 - HEAD_BYTES;
/** Buckets looked through while the lock is held: in turn, and by who needs room. */
const BUCKETS_AT_ONCE = 512;
const BUCKETS_FOR_ROOM = 4096;

/** What `load` has come to. */
export const LOADING = { blank: 0, done: 1, failed: 2 } as const;

export interface Pair {
  readonly key: string;
  /** undefined: it was removed. */
  readonly value: string | undefined;
  /** ms since 1970, or Infinity. */
  readonly ends: number;
  readonly stamp: number;
}

/** "older": what is there was changed later. */
export type Written = "done" | "full" | "older";

export class PairTable {
  readonly zone: Zone;
  readonly #type: PairType;
  readonly #entries: LruHash;
  readonly #tree: BitTree;
  readonly #tree6: BitTree;
  readonly #untoldEntries: MarkedEntries;
  readonly #log: (sentence: string) => void;
  readonly #counts = (entry: number): boolean => this.#isLiving(entry, this.#now);
  #now = 0;
  /** Whether others are to hear of changes. */
  shared = false;

  /** `log` gets an [alert]. */
  constructor(zone: Zone, type: PairType, log: (sentence: string) => void) {
    this.zone = zone;
    this.#type = type;
    this.#log = log;
    this.#entries = new LruHash(zone, WORDS);
    this.#untoldEntries = new MarkedEntries(this.#entries, (entry) => (this.#flags(entry) & UNTOLD_FLAG) !== 0);
    const skip = type === "ip" ? IP_HEAD : 0;
    this.#tree = new BitTree(this.#entries, OWN + TREE, skip);
    this.#tree6 = new BitTree(this.#entries, OWN + TREE6, skip);
    this.#lock();
    if (zone.words[OWN + FRACTION] === 0) zone.words[OWN + FRACTION] = 1 + (randomInt32() & 1022);
    this.#entries.unlock();
  }

  /** The value that a request's key finds; undefined for none. */
  find(key: string): string | undefined {
    this.#lock();
    try {
      this.#now = wallNow();
      const entry =
        this.#type === "string" ? this.#entries.find(key) : this.#treeOf(key).find(key, this.#bits(key), this.#counts);
      return entry !== undefined && this.#isLiving(entry, this.#now) ? this.#value(entry) : undefined;
    } finally {
      this.#entries.unlock();
    }
  }

  /** The pair of that very key. */
  get(key: string): Pair | undefined {
    this.#lock();
    try {
      const entry = this.#entries.find(key);
      return entry !== undefined && this.#isLiving(entry, wallNow()) ? this.#pair(entry) : undefined;
    } finally {
      this.#entries.unlock();
    }
  }

  /** Sets a pair that ends then. */
  set(key: string, value: string, ends: number): Written {
    return this.#change(key, value, ends);
  }

  /** Removes a pair; false if there is none. `ends`: until when others may have it. */
  remove(key: string, ends: number): boolean {
    this.#lock();
    try {
      const entry = this.#entries.find(key);
      if (entry === undefined || !this.#isLiving(entry, wallNow())) return false;
      if (this.shared) this.#write({ key, value: undefined, ends, stamp: this.#stampFor(entry) }, UNTOLD_FLAG);
      else this.#drop(entry);
      this.#changed();
      return true;
    } finally {
      this.#entries.unlock();
    }
  }

  /** What somebody else has changed, or an earlier run: it counts if it is later than what is there. `untold`: others do not know it. */
  merge(pairs: readonly Pair[], untold: boolean): { readonly full: number; readonly merged: number } {
    let full = 0;
    let merged = 0;
    this.#lock();
    try {
      const time = wallNow();
      for (const pair of pairs) {
        if (pair.ends <= time) continue;
        const known = this.#entries.find(pair.key);
        if (known !== undefined && !this.#gives(known, pair)) continue;
        const written = this.#write(pair, untold ? UNTOLD_FLAG : 0);
        if (written === "full") full++;
        else merged++;
      }
      if (merged > 0) this.#changed();
    } finally {
      this.#entries.unlock();
    }
    return { full, merged };
  }

  /** Calls `load` if nobody has yet; none else sees the table meanwhile. `load` answers whether it has worked. */
  loadOnce(load: () => readonly Pair[] | undefined): { readonly loaded: number; readonly full: number } | undefined {
    if (this.loading !== LOADING.blank) return undefined;
    const pairs = load();
    this.#lock();
    try {
      if (this.loading !== LOADING.blank) return undefined;
      this.zone.words[OWN + LOADED] = pairs === undefined ? LOADING.failed : LOADING.done;
      let full = 0;
      const time = wallNow();
      let loaded = 0;
      for (const pair of pairs ?? []) {
        if (pair.ends <= time || this.#entries.find(pair.key) !== undefined) continue;
        if (this.#write(pair, this.shared ? UNTOLD_FLAG : 0) === "full") full++;
        else loaded++;
      }
      return { loaded, full };
    } finally {
      this.#entries.unlock();
    }
  }

  /** Takes over the lock if a process that has exited held it. */
  recover(): void {
    this.#lock();
    this.#entries.unlock();
  }

  get loading(): number {
    return Atomics.load(this.zone.words, OWN + LOADED);
  }

  /** Changes so far; wraps. */
  get changes(): number {
    return Atomics.load(this.zone.words, OWN + CHANGES);
  }

  /** Whether there may be something that has ended. */
  get mortal(): boolean {
    return Atomics.load(this.zone.words, OWN + MORTAL) !== 0;
  }

  get untold(): number {
    return Atomics.load(this.zone.words, OWN + UNTOLD);
  }

  /** Pairs and marks. */
  get size(): number {
    return this.#entries.size;
  }

  get marks(): number {
    return Atomics.load(this.zone.words, OWN + MARKS);
  }

  /**
   * All there is, batch by batch: what stays is met once. `marks`: what was removed, too. What has ended is left out.
   */
  *all(marks: boolean): Generator<readonly Pair[]> {
    const entries = this.#entries;
    for (let bucket = 0; bucket < entries.buckets; ) {
      const found: Pair[] = [];
      this.#lock();
      try {
        const time = wallNow();
        for (let left = BUCKETS_AT_ONCE; left > 0 && bucket < entries.buckets; left--, bucket++) {
          for (let entry = entries.inBucket(bucket); entry !== undefined; entry = entries.chained(entry)) {
            if (this.#isLiving(entry, time) || (marks && this.#isMark(entry, time))) found.push(this.#pair(entry));
          }
        }
      } finally {
        entries.unlock();
      }
      yield found;
    }
  }

  /** Removes what has ended, bucket by bucket. */
  *sweep(): Generator<void> {
    const entries = this.#entries;
    for (let bucket = 0; bucket < entries.buckets; ) {
      this.#lock();
      try {
        bucket = this.#sweepSome(bucket, BUCKETS_AT_ONCE, false);
      } finally {
        entries.unlock();
      }
      yield;
    }
  }

  /** Pairs that others are to be told, about so many, the newest first; some if there are any. */
  untoldOnes(most: number): readonly Pair[] {
    for (let calls = this.#untoldEntries.calls; calls > 0 && this.untold > 0; calls--) {
      this.#lock();
      try {
        const found = this.#untoldEntries.some(most);
        if (found.length > 0) return found.map((entry) => this.#pair(entry));
      } finally {
        this.#entries.unlock();
      }
    }
    return [];
  }

  /** Others know these changes. */
  told(pairs: readonly Pair[]): void {
    this.#lock();
    try {
      for (const { key, stamp } of pairs) {
        const entry = this.#entries.find(key);
        if (entry !== undefined && this.#stamp(entry) === stamp)
          this.#setFlags(entry, this.#flags(entry) & ~UNTOLD_FLAG);
      }
    } finally {
      this.#entries.unlock();
    }
  }

  /** Others do not know these. */
  untell(pairs: readonly Pair[]): void {
    this.#lock();
    try {
      for (const { key, stamp } of pairs) {
        const entry = this.#entries.find(key);
        if (entry === undefined || this.#stamp(entry) !== stamp) continue;
        this.#setFlags(entry, this.#flags(entry) | UNTOLD_FLAG);
        this.#entries.touch(entry);
      }
    } finally {
      this.#entries.unlock();
    }
  }

  #change(key: string, value: string, ends: number): Written {
    this.#lock();
    try {
      const stamp = this.#stampFor(this.#entries.find(key));
      const written = this.#write({ key, value, ends, stamp }, this.shared ? UNTOLD_FLAG : 0);
      if (written === "done") this.#changed();
      return written;
    } finally {
      this.#entries.unlock();
    }
  }

  /** Later than any that the key has had here. */
  #stampFor(entry: number | undefined): number {
    const stamp = wallNow() + this.zone.words[OWN + FRACTION] / 1024;
    return entry === undefined ? stamp : Math.max(stamp, this.#stamp(entry) + 1);
  }

  /** Whether what is there is older. */
  #gives(entry: number, pair: Pair): boolean {
    const stamp = this.#stamp(entry);
    if (this.#ends(entry) === 0 || stamp < pair.stamp) return true;
    return stamp === pair.stamp && (this.#isMarked(entry) ? "" : this.#value(entry)) < (pair.value ?? "");
  }

  #write(pair: Pair, flags: number): "done" | "full" {
    const { key, value = "" } = pair;
    const entries = this.#entries;
    const bytes = HEAD_BYTES + value.length;
    const there = entries.find(key);
    const room = there === undefined ? 0 : entries.valueBytes(there);
    if (there !== undefined && room >= bytes && room < 2 * bytes && this.#refill(there, pair, flags)) return "done";
    let fresh = entries.insert(key, bytes);
    if (fresh === undefined) {
      this.#makeRoom();
      fresh = entries.insert(key, bytes);
      if (fresh === undefined) {
        const known = entries.find(key);
        const fits = known !== undefined && entries.valueBytes(known) >= bytes;
        return fits && this.#refill(known, pair, flags) ? "done" : "full";
      }
    }
    // The one before is the second of that key in its bucket now.
    const known = this.#other(fresh, key);
    if (known !== undefined) this.#drop(known);
    if (pair.value !== undefined && !this.#index(key, fresh)) {
      this.#makeRoom();
      if (!this.#index(key, fresh)) {
        entries.remove(fresh);
        return "full";
      }
    }
    this.#fill(fresh, pair, flags);
    return "done";
  }

  /** Puts a pair where one of its key is; false where there is no memory for its index. */
  #refill(entry: number, pair: Pair, flags: number): boolean {
    const marked = this.#isMarked(entry);
    if (marked && pair.value !== undefined && !this.#index(pair.key, entry)) return false;
    if (!marked && pair.value === undefined) this.#unindex(pair.key, entry);
    this.#fill(entry, pair, flags);
    this.#entries.touch(entry);
    return true;
  }

  /** Another entry of the same key. */
  #other(entry: number, key: string): number | undefined {
    const entries = this.#entries;
    for (let at = entries.chained(entry); at !== undefined; at = entries.chained(at)) {
      if (entries.keyLength(at) === key.length && entries.key(at) === key) return at;
    }
    return undefined;
  }

  #fill(entry: number, { value, ends, stamp }: Pair, flags: number): void {
    const { floats, words, bytes } = this.zone;
    const at = this.#entries.value(entry);
    // Who dies here leaves nothing that is half of one value and half of another.
    floats[(at >> 1) + ENDS] = 0;
    if (value !== undefined) bytes.latin1Write(value, at * 4 + HEAD_BYTES, value.length);
    words[at + LENGTH] = value?.length ?? 0;
    floats[(at >> 1) + STAMP] = stamp;
    this.#setFlags(entry, flags | (value === undefined ? MARK_FLAG : 0));
    floats[(at >> 1) + ENDS] = ends;
    if (ends !== Number.POSITIVE_INFINITY) words[OWN + MORTAL] = 1;
  }

  #index(key: string, entry: number): boolean {
    return this.#type === "string" || this.#treeOf(key).add(key, this.#bits(key), entry);
  }

  #unindex(key: string, entry: number): void {
    if (this.#type !== "string") this.#treeOf(key).remove(key, this.#bits(key), entry);
  }

  #drop(entry: number): void {
    if (!this.#isMarked(entry)) this.#unindex(this.#entries.key(entry), entry);
    this.#setFlags(entry, 0);
    this.#entries.remove(entry);
  }

  /** Removes marks that others know of, all at once, or else some of what has ended: the checker removes the rest. */
  #makeRoom(): void {
    const { words } = this.zone;
    if (this.marks > 0) {
      this.#sweepSome(0, this.#entries.buckets, true);
      return;
    }
    const end = this.#sweepSome(words[OWN + CURSOR], BUCKETS_FOR_ROOM, false);
    words[OWN + CURSOR] = end === this.#entries.buckets ? 0 : end;
  }

  /** Returns the bucket to go on with. */
  #sweepSome(from: number, most: number, marks: boolean): number {
    const entries = this.#entries;
    const time = wallNow();
    const end = Math.min(from + most, entries.buckets);
    if (!this.mortal) return end;
    for (let bucket = from; bucket < end; bucket++) {
      for (let entry = entries.inBucket(bucket); entry !== undefined; ) {
        const next = entries.chained(entry);
        const flags = this.#flags(entry);
        // What is being made has no end yet, and no stamp.
        const ended = this.#ends(entry) <= time && this.#stamp(entry) !== 0;
        if (ended || (marks && flags === MARK_FLAG)) this.#drop(entry);
        entry = next;
      }
    }
    return end;
  }

  #lock(): void {
    if (!this.#entries.lock()) return;
    // The trees' memory was taken back.
    this.#tree.reset();
    this.#tree6.reset();
    const { words } = this.zone;
    words[OWN + UNTOLD] = 0;
    words[OWN + MARKS] = 0;
    let lost = 0;
    for (let bucket = 0; bucket < this.#entries.buckets; bucket++) {
      for (let entry = this.#entries.inBucket(bucket); entry !== undefined; ) {
        const next = this.#entries.chained(entry);
        if (!this.#putInOrder(entry)) {
          this.#entries.remove(entry);
          lost++;
        }
        entry = next;
      }
    }
    const what = `a process died with keyval zone "${this.zone.name}" locked, ${this.#entries.size} pairs were put in order`;
    this.#log(lost === 0 ? what : `${what}, ${lost} were lost`);
  }

  #putInOrder(entry: number): boolean {
    if (this.#ends(entry) === 0) return false;
    const { words } = this.zone;
    const flags = this.#flags(entry);
    if ((flags & UNTOLD_FLAG) !== 0) words[OWN + UNTOLD]++;
    if ((flags & MARK_FLAG) !== 0) words[OWN + MARKS]++;
    return (flags & MARK_FLAG) !== 0 || this.#index(this.#entries.key(entry), entry);
  }

  #treeOf(key: string): BitTree {
    return this.#type === "ip" && isIpv6Key(key) ? this.#tree6 : this.#tree;
  }

  #bits(key: string): number {
    return keyBits(this.#type, key);
  }

  #changed(): void {
    this.zone.words[OWN + CHANGES]++;
  }

  #isLiving(entry: number, time: number): boolean {
    return this.#ends(entry) > time && !this.#isMarked(entry);
  }

  #isMark(entry: number, time: number): boolean {
    return this.#ends(entry) > time && this.#isMarked(entry);
  }

  #isMarked(entry: number): boolean {
    return (this.#flags(entry) & MARK_FLAG) !== 0;
  }

  #pair(entry: number): Pair {
    return {
      key: this.#entries.key(entry),
      value: this.#isMarked(entry) ? undefined : this.#value(entry),
      ends: this.#ends(entry),
      stamp: this.#stamp(entry),
    };
  }

  #value(entry: number): string {
    const at = this.#entries.value(entry);
    const from = at * 4 + HEAD_BYTES;
    const length = Math.min(this.zone.words[at + LENGTH], this.#entries.valueBytes(entry) - HEAD_BYTES);
    return this.zone.bytes.latin1Slice(from, from + length);
  }

  #ends(entry: number): number {
    return this.zone.floats[(this.#entries.value(entry) >> 1) + ENDS];
  }

  #stamp(entry: number): number {
    return this.zone.floats[(this.#entries.value(entry) >> 1) + STAMP];
  }

  #flags(entry: number): number {
    return this.zone.words[this.#entries.value(entry) + FLAGS];
  }

  #setFlags(entry: number, flags: number): void {
    const { words } = this.zone;
    const at = this.#entries.value(entry) + FLAGS;
    const before = words[at];
    words[at] = flags;
    words[OWN + UNTOLD] += (flags & UNTOLD_FLAG) - (before & UNTOLD_FLAG);
    words[OWN + MARKS] += ((flags & MARK_FLAG) - (before & MARK_FLAG)) / MARK_FLAG;
  }
}
