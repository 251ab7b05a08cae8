import { LruHash, OWN_WORDS } from "../../shm/lru_hash.ts";
import { MarkedEntries } from "../../shm/marked_entries.ts";
import type { Zone } from "../../shm/zone.ts";
import { wallNow } from "../../sys/clock.ts";
import { randomInt32 } from "../../sys/random.ts";
import { BitTree } from "./bit_tree.ts";
import { IP_HEAD, isIpv6Key, keyBits, type PairType } from "./pair_key.ts";

/**
 * The pairs of a keyval zone as entries of its hash, and the index of those that are found by the first bits of a key.
 *
 *     value of an entry: when the pair ends, ms since 1970 (a float; Infinity: never; 0: it is none) · its stamp (a float)
 *                        · length (32 bits) · flags (32 bits) · the pair's value
 *
 * A stamp is the time of a change, later than that of the change before: of two changes of one key, made anywhere, the later one
 * counts. A pair that was removed leaves a mark where others are to hear of it. Everything here but `lock` wants the lock held.
 */

export interface Pair {
  readonly key: string;
  /** undefined: it was removed. */
  readonly value: string | undefined;
  /** ms since 1970, or Infinity. */
  readonly ends: number;
  readonly stamp: number;
}

/** Words that belong to the table as a whole. */
export const WORD = {
  loaded: 0,
  changes: 1,
  /** What this node's stamps have behind the point: others' have something else. */
  fraction: 2,
  /** Pairs to be told to others. */
  untold: 3,
  /** What is left of pairs that were removed. */
  marks: 4,
  /** Something ends at some time. */
  mortal: 5,
  /** The trees of `ip` and `prefix`. */
  tree: 6,
  tree6: 7,
  /** The bucket where room was last looked for. */
  cursor: 8,
} as const;
const WORDS = 9;

const ENDS = 0;
const STAMP = 1;
const LENGTH = 4;
const FLAGS = 5;
const HEAD_BYTES = 24;

export const UNTOLD_FLAG = 1;
const MARK_FLAG = 2;

/** The most bytes of a value: an entry has 131,068 for it and what stands before it. */
export const MOST_VALUE = 65_536 * 2 - 4 - HEAD_BYTES;
/** Buckets looked through by who needs room. */
const BUCKETS_FOR_ROOM = 4096;

export class PairEntries {
  readonly zone: Zone;
  readonly hash: LruHash;
  readonly untold: MarkedEntries;
  readonly #type: PairType;
  readonly #tree: BitTree;
  readonly #tree6: BitTree;
  readonly #log: (sentence: string) => void;
  readonly #counts = (entry: number): boolean => this.isLiving(entry, this.#now);
  #now = 0;

  /** `log` gets an [alert]. */
  constructor(zone: Zone, type: PairType, log: (sentence: string) => void) {
    this.zone = zone;
    this.#type = type;
    this.#log = log;
    this.hash = new LruHash(zone, WORDS);
    this.untold = new MarkedEntries(this.hash, (entry) => (this.flags(entry) & UNTOLD_FLAG) !== 0);
    const skip = type === "ip" ? IP_HEAD : 0;
    this.#tree = new BitTree(this.hash, OWN_WORDS + WORD.tree, skip);
    this.#tree6 = new BitTree(this.hash, OWN_WORDS + WORD.tree6, skip);
    this.lock();
    if (this.word(WORD.fraction) === 0) this.setWord(WORD.fraction, 1 + (randomInt32() & 1022));
    this.unlock();
  }

  word(word: number): number {
    return this.zone.words[OWN_WORDS + word];
  }

  setWord(word: number, value: number): void {
    this.zone.words[OWN_WORDS + word] = value;
  }

  /** The same without the lock. */
  glance(word: number): number {
    return Atomics.load(this.zone.words, OWN_WORDS + word);
  }

  unlock(): void {
    this.hash.unlock();
  }

  /** The living entry that a request's key finds. */
  find(key: string): number | undefined {
    this.#now = wallNow();
    if (this.#type !== "string") return this.#treeOf(key).find(key, this.#bits(key), this.#counts);
    const entry = this.hash.find(key);
    return entry !== undefined && this.isLiving(entry, this.#now) ? entry : undefined;
  }

  /** Later than any that the key has had here. */
  stampFor(entry: number | undefined): number {
    const stamp = wallNow() + this.word(WORD.fraction) / 1024;
    return entry === undefined ? stamp : Math.max(stamp, this.stamp(entry) + 1);
  }

  /** Whether what is there is older. */
  gives(entry: number, pair: Pair): boolean {
    const stamp = this.stamp(entry);
    if (this.#ends(entry) === 0 || stamp < pair.stamp) return true;
    return stamp === pair.stamp && (this.#isMarked(entry) ? "" : this.value(entry)) < (pair.value ?? "");
  }

  write(pair: Pair, flags: number): "done" | "full" {
    const { key, value = "" } = pair;
    const entries = this.hash;
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
    if (known !== undefined) this.drop(known);
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
    this.hash.touch(entry);
    return true;
  }

  /** Another entry of the same key. */
  #other(entry: number, key: string): number | undefined {
    const entries = this.hash;
    for (let at = entries.chained(entry); at !== undefined; at = entries.chained(at)) {
      if (entries.keyLength(at) === key.length && entries.key(at) === key) return at;
    }
    return undefined;
  }

  #fill(entry: number, { value, ends, stamp }: Pair, flags: number): void {
    const { floats, words, bytes } = this.zone;
    const at = this.hash.value(entry);
    // Who dies here leaves nothing that is half of one value and half of another.
    floats[(at >> 1) + ENDS] = 0;
    if (value !== undefined) bytes.latin1Write(value, at * 4 + HEAD_BYTES, value.length);
    words[at + LENGTH] = value?.length ?? 0;
    floats[(at >> 1) + STAMP] = stamp;
    this.setFlags(entry, flags | (value === undefined ? MARK_FLAG : 0));
    floats[(at >> 1) + ENDS] = ends;
    if (ends !== Number.POSITIVE_INFINITY) this.setWord(WORD.mortal, 1);
  }

  #index(key: string, entry: number): boolean {
    return this.#type === "string" || this.#treeOf(key).add(key, this.#bits(key), entry);
  }

  #unindex(key: string, entry: number): void {
    if (this.#type !== "string") this.#treeOf(key).remove(key, this.#bits(key), entry);
  }

  drop(entry: number): void {
    if (!this.#isMarked(entry)) this.#unindex(this.hash.key(entry), entry);
    this.setFlags(entry, 0);
    this.hash.remove(entry);
  }

  /** Removes marks that others know of, all at once, or else some of what has ended: the checker removes the rest. */
  #makeRoom(): void {
    const { words } = this.zone;
    if (this.word(WORD.marks) > 0) {
      this.sweepSome(0, this.hash.buckets, true);
      return;
    }
    const end = this.sweepSome(words[OWN_WORDS + WORD.cursor], BUCKETS_FOR_ROOM, false);
    words[OWN_WORDS + WORD.cursor] = end === this.hash.buckets ? 0 : end;
  }

  /** Returns the bucket to go on with. */
  sweepSome(from: number, most: number, marks: boolean): number {
    const entries = this.hash;
    const time = wallNow();
    const end = Math.min(from + most, entries.buckets);
    if (this.word(WORD.mortal) === 0) return end;
    for (let bucket = from; bucket < end; bucket++) {
      for (let entry = entries.inBucket(bucket); entry !== undefined; ) {
        const next = entries.chained(entry);
        const flags = this.flags(entry);
        // What is being made has no end yet, and no stamp.
        const ended = this.#ends(entry) <= time && this.stamp(entry) !== 0;
        if (ended || (marks && flags === MARK_FLAG)) this.drop(entry);
        entry = next;
      }
    }
    return end;
  }

  lock(): void {
    if (!this.hash.lock()) return;
    // The trees' memory was taken back.
    this.#tree.reset();
    this.#tree6.reset();
    const { words } = this.zone;
    words[OWN_WORDS + WORD.untold] = 0;
    words[OWN_WORDS + WORD.marks] = 0;
    let lost = 0;
    for (let bucket = 0; bucket < this.hash.buckets; bucket++) {
      for (let entry = this.hash.inBucket(bucket); entry !== undefined; ) {
        const next = this.hash.chained(entry);
        if (!this.#putInOrder(entry)) {
          this.hash.remove(entry);
          lost++;
        }
        entry = next;
      }
    }
    const what = `a process died with keyval zone "${this.zone.name}" locked, ${this.hash.size} pairs were put in order`;
    this.#log(lost === 0 ? what : `${what}, ${lost} were lost`);
  }

  #putInOrder(entry: number): boolean {
    if (this.#ends(entry) === 0) return false;
    const { words } = this.zone;
    const flags = this.flags(entry);
    if ((flags & UNTOLD_FLAG) !== 0) words[OWN_WORDS + WORD.untold]++;
    if ((flags & MARK_FLAG) !== 0) words[OWN_WORDS + WORD.marks]++;
    return (flags & MARK_FLAG) !== 0 || this.#index(this.hash.key(entry), entry);
  }

  #treeOf(key: string): BitTree {
    return this.#type === "ip" && isIpv6Key(key) ? this.#tree6 : this.#tree;
  }

  #bits(key: string): number {
    return keyBits(this.#type, key);
  }

  changed(): void {
    this.setWord(WORD.changes, this.word(WORD.changes) + 1);
  }

  isLiving(entry: number, time: number): boolean {
    return this.#ends(entry) > time && !this.#isMarked(entry);
  }

  isMark(entry: number, time: number): boolean {
    return this.#ends(entry) > time && this.#isMarked(entry);
  }

  #isMarked(entry: number): boolean {
    return (this.flags(entry) & MARK_FLAG) !== 0;
  }

  pair(entry: number): Pair {
    return {
      key: this.hash.key(entry),
      value: this.#isMarked(entry) ? undefined : this.value(entry),
      ends: this.#ends(entry),
      stamp: this.stamp(entry),
    };
  }

  value(entry: number): string {
    const at = this.hash.value(entry);
    const from = at * 4 + HEAD_BYTES;
    const length = Math.min(this.zone.words[at + LENGTH], this.hash.valueBytes(entry) - HEAD_BYTES);
    return this.zone.bytes.latin1Slice(from, from + length);
  }

  #ends(entry: number): number {
    return this.zone.floats[(this.hash.value(entry) >> 1) + ENDS];
  }

  stamp(entry: number): number {
    return this.zone.floats[(this.hash.value(entry) >> 1) + STAMP];
  }

  flags(entry: number): number {
    return this.zone.words[this.hash.value(entry) + FLAGS];
  }

  setFlags(entry: number, flags: number): void {
    const { words } = this.zone;
    const at = this.hash.value(entry) + FLAGS;
    const before = words[at];
    words[at] = flags;
    words[OWN_WORDS + WORD.untold] += (flags & UNTOLD_FLAG) - (before & UNTOLD_FLAG);
    words[OWN_WORDS + WORD.marks] += ((flags & MARK_FLAG) - (before & MARK_FLAG)) / MARK_FLAG;
  }
}
