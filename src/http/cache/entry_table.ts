import { MAX_WORKERS } from "../../runtime/application.ts";
import { LruHash, OWN_WORDS } from "../../shm/lru_hash.ts";
import type { Zone } from "../../shm/zone.ts";
import { sharedNow } from "../../sys/clock.ts";

/**
 * The entries of a cache in its zone, and their totals. An entry is named by the index in `words` of its value, as long as the
 * lock is held: everything here but the totals wants that.
 */

// The zone's words besides its entries.

/** The files of earlier runs have all been found. */
const LOADED = OWN_WORDS;
/** Numbers the contents of entries; never 0. */
const GENERATIONS = OWN_WORDS + 1;
/** Disk blocks of all files, a float of two words. */
const BLOCKS_IN_ALL = (OWN_WORDS + 2) / 2;
/** How many entries are too many, since there was no memory for more; 0 as long as there was. */
const WATERMARK = OWN_WORDS + 4;
/** How many entries had to give way to others. */
const EVICTIONS = OWN_WORDS + 5;
/** When somebody logged last what went wrong with files, or with the zone: seconds of the shared monotonic clock. */
const SAID = OWN_WORDS + 6;
/** For each worker's slot, how many workers have had it: an update of an earlier one is nobody's. */
const EPOCHS = OWN_WORDS + 64;
/** For each worker's slot, the digest of the entry whose file it is just putting in; zeros for none. */
const PUTTING_IN = EPOCHS + MAX_WORKERS;
const DIGEST_BYTES = 16;
const OWN = 64 + MAX_WORKERS + (MAX_WORKERS * DIGEST_BYTES) / 4;

// The words of an entry's value.

/** EXISTS; above it how often it was asked for, up to MOST_USES. */
export const STATE = 0;
/** The status that is answered in place of a response, or 0; VALID says until when. */
export const ERROR = 1;
/** Of its present contents; 0 while there are none. */
export const GENERATION = 2;
/** Who updates it, 0 for nobody: the owner's token, and the epoch of its slot. */
const OWNER = 3;
const OWNER_EPOCH = 4;
/** When others need not wait for that any more: ms of the monotonic clock that all processes share, modulo 2^32. */
const LOCKED_UNTIL = 5;
/** When it is removed if it is not used before: seconds of that clock. */
const EXPIRES = 6;
/** Until when the error is answered: seconds of that clock, which nobody sets. */
const VALID = 7;
/** No error is answered for longer, seconds. */
const MOST_VALID = 2 ** 30;
/** Of its file: bytes of the head, blocks on the disk, and what tells it from an altered one (0: nobody knows). */
export const HEAD_BYTES = 8;
const BLOCKS = 9;
export const IDENTITY = 10;
/** An error has no file, but the number of the last purge before it, in two words. */
const PURGE_HIGH = HEAD_BYTES;
const PURGE_LOW = IDENTITY;
const VALUE_BYTES = 11 * 4;

export const EXISTS = 1;
export const USE = 2;
export const MOST_USES = 0x3fff_ffff;

/** A file, as the index knows it. */
export interface IndexedFile {
  readonly headBytes: number;
  readonly blocks: number;
  readonly identity: number;
}

/** A status that is answered in place of a response. */
export interface StoredError {
  readonly status: number;
  /** For how long. */
  readonly seconds: number;
  /** The number of the last purge before it. */
  readonly purge: number;
}

/** Bytes of a block in which the sizes of files are counted. */
export const BLOCK = 4096;

/** What is logged once a minute. */
export const DISK_TROUBLE = 0;
export const ZONE_TROUBLE = 1;
const MINUTE = 60;

export class EntryTable {
  readonly words: Int32Array;
  readonly #zone: Zone;
  readonly #hash: LruHash;
  /** Seconds after which an entry that is not used is removed. */
  readonly #inactive: number;

  constructor(zone: Zone, inactive: number) {
    this.#zone = zone;
    this.#hash = new LruHash(zone, OWN);
    this.words = zone.words;
    this.#inactive = inactive;
  }

  // ---- totals

  get loaded(): boolean {
    return Atomics.load(this.words, LOADED) !== 0;
  }

  setLoaded(): void {
    Atomics.store(this.words, LOADED, 1);
  }

  get blocks(): number {
    return this.#zone.floats[BLOCKS_IN_ALL];
  }

  get size(): number {
    return this.#hash.size;
  }

  get evictions(): number {
    return Atomics.load(this.words, EVICTIONS) >>> 0;
  }

  /** There was no memory for more than these entries, or nearly as many. */
  get crowded(): boolean {
    const watermark = Atomics.load(this.words, WATERMARK);
    return watermark !== 0 && this.size >= watermark;
  }

  /** True for one caller of all processes within a minute. */
  saysTrouble(kind: number): boolean {
    const at = SAID + kind;
    const last = Atomics.load(this.words, at);
    const time = uptime();
    if (last !== 0 && time - last < MINUTE) return false;
    return Atomics.compareExchange(this.words, at, last, time) === last;
  }

  /** Whether both have the same memory. */
  same(other: EntryTable): boolean {
    return this.#zone.same(other.#zone);
  }

  // ---- with the lock held

  /** Takes the lock; repairs what a process has left half done that died within. */
  lock(): void {
    if (!this.#hash.lock()) return;
    let blocks = 0;
    for (let entry = this.#hash.oldest; entry !== undefined; entry = this.#hash.newer(entry)) {
      blocks += this.words[this.#hash.value(entry) + BLOCKS];
    }
    this.#zone.floats[BLOCKS_IN_ALL] = blocks;
  }

  unlock(): void {
    this.#hash.unlock();
  }

  find(digest: string): number | undefined {
    const entry = this.#hash.find(digest);
    return entry === undefined ? undefined : this.#hash.value(entry);
  }

  /** undefined: there is no memory for it. The manager makes room from then on, as nginx's does. */
  insert(digest: string): number | undefined {
    const entry = this.#hash.insert(digest, VALUE_BYTES);
    if (entry === undefined) {
      const { size } = this.#hash;
      this.words[WATERMARK] = size - (size >> 3);
      return undefined;
    }
    const at = this.#hash.value(entry);
    this.words[at + EXPIRES] = uptime() + this.#inactive;
    return at;
  }

  remove(at: number): void {
    this.clear(at);
    this.#hash.remove(this.#entry(at));
  }

  /** Makes it the one used last. */
  used(at: number): void {
    this.words[at + EXPIRES] = uptime() + this.#inactive;
    this.#hash.touch(this.#entry(at));
  }

  /** The one longest out of use. */
  get oldest(): number | undefined {
    const entry = this.#hash.oldest;
    return entry === undefined ? undefined : this.#hash.value(entry);
  }

  digestOf(at: number): string {
    return this.#hash.key(this.#entry(at));
  }

  #entry(at: number): number {
    return at - this.#hash.value(0);
  }

  /** Seconds until it has been out of use for too long; not above 0: it has. */
  timeLeft(at: number): number {
    return this.words[at + EXPIRES] - uptime();
  }

  /** It has a new file, or an unknown one has been found. */
  put(at: number, { headBytes, blocks, identity }: IndexedFile): number {
    const { words } = this;
    this.noteFile(at, { headBytes, blocks, identity });
    words[at + ERROR] = 0;
    words[GENERATIONS] = words[GENERATIONS] + 1 || 1;
    words[at + GENERATION] = words[GENERATIONS];
    words[at + STATE] |= EXISTS;
    return words[at + GENERATION];
  }

  /** What is known of its file; the contents are the same. */
  noteFile(at: number, { headBytes, blocks, identity }: IndexedFile): void {
    const { words } = this;
    this.#zone.floats[BLOCKS_IN_ALL] += blocks - words[at + BLOCKS];
    words[at + HEAD_BYTES] = headBytes;
    words[at + BLOCKS] = blocks;
    words[at + IDENTITY] = identity;
  }

  /** What its file is, nobody knows, but how much of the disk it takes. */
  forgetFile(at: number): void {
    this.words[at + HEAD_BYTES] = 0;
    this.words[at + IDENTITY] = 0;
  }

  /** It has no file, but an error that is answered in its place. */
  putError(at: number, { status, seconds, purge }: StoredError): void {
    const { words } = this;
    this.clear(at);
    words[at + ERROR] = status;
    words[at + VALID] = uptime() + Math.min(Math.floor(seconds), MOST_VALID);
    words[at + PURGE_HIGH] = Math.floor(purge / 2 ** 32);
    words[at + PURGE_LOW] = purge | 0;
  }

  /** There is an error that is not to be answered any more. */
  isErrorOver(at: number): boolean {
    return this.words[at + ERROR] !== 0 && this.words[at + VALID] < uptime();
  }

  /** The number of the last purge before the error was noted. */
  errorPurge(at: number): number {
    const { words } = this;
    return words[at + ERROR] === 0 ? 0 : words[at + PURGE_HIGH] * 2 ** 32 + (words[at + PURGE_LOW] >>> 0);
  }

  /** It has no contents any more. */
  clear(at: number): void {
    const { words } = this;
    this.noteFile(at, NO_FILE);
    words[at + STATE] &= ~EXISTS;
    words[at + ERROR] = 0;
    words[at + GENERATION] = 0;
    words[at + VALID] = 0;
  }

  countEviction(): void {
    this.words[EVICTIONS]++;
  }

  // ---- updates

  own(at: number, owner: number, age: number): void {
    const { words } = this;
    words[at + OWNER] = owner;
    words[at + OWNER_EPOCH] = words[EPOCHS + slotOf(owner)];
    words[at + LOCKED_UNTIL] = (clock() + age) | 0;
  }

  disown(at: number, owner: number): void {
    if (this.words[at + OWNER] === owner) this.words[at + OWNER] = 0;
  }

  /** Somebody alive updates it. */
  isOwned(at: number): boolean {
    const { words } = this;
    const owner = words[at + OWNER];
    return owner !== 0 && words[at + OWNER_EPOCH] === words[EPOCHS + slotOf(owner)];
  }

  /** Others need not wait for its owner any more. */
  isLate(at: number): boolean {
    return ((this.words[at + LOCKED_UNTIL] - clock()) | 0) <= 0;
  }

  /** What a worker with that slot updated, it updates no more. */
  disownAll(slot: number): void {
    Atomics.add(this.words, EPOCHS + slot, 1);
  }

  /** The worker with that slot gives an entry's file its name; "" when the index knows that file. No lock is needed. */
  notePuttingIn(slot: number, digest: string): void {
    const from = (PUTTING_IN << 2) + slot * DIGEST_BYTES;
    if (digest === "") this.#zone.bytes.fill(0, from, from + DIGEST_BYTES);
    else this.#zone.bytes.write(digest, from, DIGEST_BYTES, "latin1");
  }

  /** The entry that a worker was putting in when it died; "" for none. */
  leftBy(slot: number): string {
    const from = (PUTTING_IN << 2) + slot * DIGEST_BYTES;
    const digest = this.#zone.bytes.latin1Slice(from, from + DIGEST_BYTES);
    return digest === NO_DIGEST ? "" : digest;
  }
}

const NO_FILE: IndexedFile = { headBytes: 0, blocks: 0, identity: 0 };
const NO_DIGEST = "\0".repeat(DIGEST_BYTES);

/** A token of an update: the worker's slot, and what tells it from its others. Never 0. */
export function ownerToken(slot: number, number: number): number {
  return (slot << 22) | (number % 0x3f_ffff) | 0 || 1;
}

function slotOf(owner: number): number {
  return (owner >>> 22) % MAX_WORKERS;
}

function clock(): number {
  return sharedNow() | 0;
}

/** Seconds; never 0. */
function uptime(): number {
  return Math.floor(sharedNow() / 1000) || 1;
}
