import { randomInt32 } from "../sys/random.ts";
import { Slab } from "./slab.ts";
import type { Zone } from "./zone.ts";

/**
 * Entries by key in a zone, in the order of their use. An entry is named by the index of its first word. Keys are byte
 * strings of up to 65,535 bytes, compared whole; the hash is keyed with random words of the zone's own, so that nobody
 * can choose keys that fall into one bucket. Everything here but `lock` wants the lock held, and nothing but `key` and
 * repairs takes memory of JavaScript's heap.
 *
 *     head · the owner's words · a word for each bucket · slab, with the entries
 */
const FORMATTED = 0;
/** Two words. */
const SEED = 1;
const NEWEST = 4;
const OLDEST = 5;
/** Counts uses, so that repairs know the order; never 0. */
const CLOCK = 6;
const COUNT = 7;
const HEAD = 16;
/** Where the words begin that the hash's owner asked for. */
export const OWN_WORDS = HEAD;

/** Words of an entry before its value and its key. Links are 0 where there is none. */
const CHAIN = 0;
/** When it was used last; 0 while it is no entry. Set last and cleared first. */
const STAMP = 1;
const HASH = 2;
const NEWER = 3;
const OLDER = 4;
/** Bytes of the key, and words of the value above them. */
const LENGTHS = 5;
const ENTRY = 6;

const MAX_KEY = 0xffff;
/** Too small for an entry, so that repairs never take it for one. */
const INDEX_BYTES = 16;
const MAX_VALUE_WORDS = 0x7fff;
/** Bytes of the zone for each bucket. */
const BYTES_PER_BUCKET = 128;

export class LruHash {
  readonly zone: Zone;
  readonly #words: Int32Array;
  readonly #bytes: Buffer;
  readonly #buckets: number;
  readonly #mask: number;
  readonly #slab: Slab;

  /**
   * Takes the whole zone, which is formatted where nobody has done that yet. `ownWords` of it, zeros at first, are the owner's:
   * nothing here touches them.
   */
  constructor(zone: Zone, ownWords = 0) {
    this.zone = zone;
    this.#words = zone.words;
    this.#bytes = zone.bytes;
    let buckets = 1;
    while (buckets * BYTES_PER_BUCKET < zone.size) buckets *= 2;
    this.#mask = buckets - 1;
    this.#buckets = HEAD + ownWords;
    this.#slab = new Slab(zone, this.#buckets + buckets);
    this.lock();
    if (this.#words[FORMATTED] === 0) this.#format();
    this.unlock();
  }

  #format(): void {
    const words = this.#words;
    for (const at of [SEED, SEED + 1]) words[at] = randomInt32();
    this.#slab.format();
    words[FORMATTED] = 1;
  }

  /**
   * Takes the zone's lock. True when its holder died inside: no entry is lost but the one that was being made or removed,
   * and values may be half changed.
   */
  lock(): boolean {
    if (!this.zone.lock()) return false;
    if (this.#words[FORMATTED] !== 0) this.#repair();
    return true;
  }

  unlock(): void {
    this.zone.unlock();
  }

  get size(): number {
    return this.#words[COUNT];
  }

  find(key: string): number | undefined {
    const words = this.#words;
    const hash = this.#hash(key);
    for (let entry = words[this.#buckets + (hash & this.#mask)]; entry !== 0; entry = words[entry + CHAIN]) {
      if (words[entry + HASH] === hash && this.#hasKey(entry, key)) return entry;
    }
    return undefined;
  }

  #hasKey(entry: number, key: string): boolean {
    const lengths = this.#words[entry + LENGTHS];
    const { length } = key;
    if ((lengths & MAX_KEY) !== length) return false;
    const from = (entry + ENTRY + (lengths >>> 16)) << 2;
    const bytes = this.#bytes;
    for (let i = 0; i < length; i++) if (bytes[from + i] !== key.charCodeAt(i)) return false;
    return true;
  }

  /**
   * Adds an entry for a key that has none, as the one used last; its value, of that many bytes, is zeros. undefined where
   * there is no memory for it, and for a key or value that is too long.
   */
  insert(key: string, valueBytes: number): number | undefined {
    const valueWords = (valueBytes + 3) >> 2;
    if (key.length > MAX_KEY || valueWords > MAX_VALUE_WORDS) return undefined;
    const entry = this.#slab.alloc((ENTRY + valueWords) * 4 + key.length);
    if (entry === undefined) return undefined;
    const words = this.#words;
    const from = entry + ENTRY + valueWords;
    words[entry + HASH] = this.#hash(key);
    words[entry + LENGTHS] = key.length | (valueWords << 16);
    words.fill(0, entry + ENTRY, from);
    const bytes = this.#bytes;
    for (let i = 0; i < key.length; i++) bytes[from * 4 + i] = key.charCodeAt(i);
    words[entry + STAMP] = this.#tick();
    this.#link(entry);
    return entry;
  }

  /**
   * Moves an entry to where its value has room for that many bytes, what is new of them zeros. The new entry, or undefined
   * where there is no memory: then the old one stays.
   */
  grow(entry: number, valueBytes: number): number | undefined {
    const words = this.#words;
    // A repair that finds both keeps the older one, which is whole until it is removed.
    const grown = this.insert(this.key(entry), valueBytes);
    if (grown === undefined) return undefined;
    words.copyWithin(grown + ENTRY, entry + ENTRY, entry + ENTRY + (words[entry + LENGTHS] >>> 16));
    this.remove(entry);
    return grown;
  }

  remove(entry: number): void {
    const words = this.#words;
    words[entry + STAMP] = 0;
    this.#unchain(entry);
    this.#unlinkOrder(entry);
    words[COUNT]--;
    this.#slab.free(entry);
  }

  /** Makes it the one used last. */
  touch(entry: number): void {
    const words = this.#words;
    words[entry + STAMP] = this.#tick();
    if (words[NEWEST] === entry) return;
    this.#unlinkOrder(entry);
    this.#linkNewest(entry);
  }

  /** The entry longest out of use. */
  get oldest(): number | undefined {
    return this.#words[OLDEST] || undefined;
  }

  /** The entry used next after this one. */
  newer(entry: number): number | undefined {
    return this.#words[entry + NEWER] || undefined;
  }

  /** How many buckets there are. Which one an entry is in never changes: who looks through all of them meets every entry that stays. */
  get buckets(): number {
    return this.#mask + 1;
  }

  /** The first entry of a bucket. */
  inBucket(bucket: number): number | undefined {
    return this.#words[this.#buckets + bucket] || undefined;
  }

  /** The next entry of its bucket. */
  chained(entry: number): number | undefined {
    return this.#words[entry + CHAIN] || undefined;
  }

  /** The entry used last, and the one used before another. */
  get newest(): number | undefined {
    return this.#words[NEWEST] || undefined;
  }

  older(entry: number): number | undefined {
    return this.#words[entry + OLDER] || undefined;
  }

  /**
   * Four words for an index of the entries that the owner has, by the index of the first; undefined where there is no memory. They are
   * taken back when the entries are put in order after a death (`lock` was true): then the owner makes its index anew.
   */
  allocate(): number | undefined {
    return this.#slab.alloc(INDEX_BYTES);
  }

  free(at: number): void {
    this.#slab.free(at);
  }

  /** Where the bytes of its key begin in the zone, and how many there are. */
  keyAt(entry: number): number {
    return (entry + ENTRY + (this.#words[entry + LENGTHS] >>> 16)) * 4;
  }

  keyLength(entry: number): number {
    return this.#words[entry + LENGTHS] & MAX_KEY;
  }

  key(entry: number): string {
    const lengths = this.#words[entry + LENGTHS];
    const from = (entry + ENTRY + (lengths >>> 16)) * 4;
    return this.#bytes.latin1Slice(from, from + (lengths & MAX_KEY));
  }

  /** The index in the zone's words where its value begins, an even one. */
  value(entry: number): number {
    return entry + ENTRY;
  }

  /** Bytes of its value, a multiple of 4. */
  valueBytes(entry: number): number {
    return (this.#words[entry + LENGTHS] >>> 16) * 4;
  }

  #tick(): number {
    const words = this.#words;
    words[CLOCK] = words[CLOCK] + 1 || 1;
    return words[CLOCK];
  }

  #link(entry: number): void {
    const words = this.#words;
    const bucket = this.#buckets + (words[entry + HASH] & this.#mask);
    words[entry + CHAIN] = words[bucket];
    words[bucket] = entry;
    this.#linkNewest(entry);
    words[COUNT]++;
  }

  #unchain(entry: number): void {
    const words = this.#words;
    let link = this.#buckets + (words[entry + HASH] & this.#mask);
    while (words[link] !== entry && words[link] !== 0) link = words[link] + CHAIN;
    words[link] = words[entry + CHAIN];
  }

  #linkNewest(entry: number): void {
    const words = this.#words;
    const newest = words[NEWEST];
    words[entry + NEWER] = 0;
    words[entry + OLDER] = newest;
    if (newest === 0) words[OLDEST] = entry;
    else words[newest + NEWER] = entry;
    words[NEWEST] = entry;
  }

  #unlinkOrder(entry: number): void {
    const words = this.#words;
    const newer = words[entry + NEWER];
    const older = words[entry + OLDER];
    if (newer === 0) words[NEWEST] = older;
    else words[newer + OLDER] = older;
    if (older === 0) words[OLDEST] = newer;
    else words[older + NEWER] = newer;
  }

  /** Links anew all entries that are whole. Where two have one key (`grow`), the older one is. */
  #repair(): void {
    const words = this.#words;
    const entries: number[] = [];
    this.#slab.repair((slot, bytes) => this.#isEntry(slot, bytes) && entries.push(slot) > 0);
    const now = words[CLOCK];
    // The clock wraps.
    entries.sort((one, other) => ((words[one + STAMP] - now) | 0) - ((words[other + STAMP] - now) | 0));
    words.fill(0, this.#buckets, this.#buckets + this.#mask + 1);
    words[NEWEST] = 0;
    words[OLDEST] = 0;
    words[COUNT] = 0;
    for (const entry of entries) {
      if (this.find(this.key(entry)) === undefined) this.#link(entry);
      else {
        words[entry + STAMP] = 0;
        this.#slab.free(entry);
      }
    }
  }

  #isEntry(slot: number, bytes: number): boolean {
    const words = this.#words;
    if (bytes < ENTRY * 4 || words[slot + STAMP] === 0) return false;
    const lengths = words[slot + LENGTHS];
    if (ENTRY * 4 + (lengths >>> 16) * 4 + (lengths & MAX_KEY) > bytes) return false;
    return this.#hash(this.key(slot)) === words[slot + HASH];
  }

  /** HalfSipHash-1-3 (Aumasson and Bernstein) of a byte string. */
  #hash(key: string): number {
    const k0 = this.#words[SEED];
    const k1 = this.#words[SEED + 1];
    let v0 = k0;
    let v1 = k1;
    let v2 = 0x6c796765 ^ k0;
    let v3 = 0x74656462 ^ k1;
    const { length } = key;
    const whole = length >> 2;
    // The words of the key, the rest with the length, and three rounds to finish.
    for (let i = 0; i < whole + 4; i++) {
      let word = 0;
      if (i < whole) {
        const at = i * 4;
        word =
          key.charCodeAt(at) |
          (key.charCodeAt(at + 1) << 8) |
          (key.charCodeAt(at + 2) << 16) |
          (key.charCodeAt(at + 3) << 24);
      } else if (i === whole) {
        word = length << 24;
        for (let at = whole * 4; at < length; at++) word |= key.charCodeAt(at) << ((at & 3) * 8);
      } else if (i === whole + 1) {
        v2 ^= 0xff;
      }
      v3 ^= word;
      v0 = (v0 + v1) | 0;
      v1 = ((v1 << 5) | (v1 >>> 27)) ^ v0;
      v0 = (v0 << 16) | (v0 >>> 16);
      v2 = (v2 + v3) | 0;
      v3 = ((v3 << 8) | (v3 >>> 24)) ^ v2;
      v0 = (v0 + v3) | 0;
      v3 = ((v3 << 7) | (v3 >>> 25)) ^ v0;
      v2 = (v2 + v1) | 0;
      v1 = ((v1 << 13) | (v1 >>> 19)) ^ v2;
      v2 = (v2 << 16) | (v2 >>> 16);
      v0 ^= word;
    }
    return v1 ^ v3;
  }
}
