import { MAX_WORKERS } from "../../runtime/application.ts";
import { LruHash, OWN_WORDS } from "../../shm/lru_hash.ts";
import type { Zone, ZoneKind } from "../../shm/zone.ts";
import { sharedNow } from "../../sys/clock.ts";

/**
 * The index of a cache: an entry for each key's digest, in one zone that all processes share. Nobody holds an entry: each
 * operation finds it anew, so that a process that dies leaves nothing behind but the lock of an update, which is void as soon as
 * the master has noted the death.
 */
export function indexKind(prefix: string): ZoneKind {
  return { name: `http_${prefix} cache`, version: 1 };
}

// The zone's words besides its entries.

/** The files of earlier runs have all been found. */
const LOADED = OWN_WORDS;
/** Numbers the contents of entries; never 0. */
const GENERATIONS = OWN_WORDS + 1;
/** Disk blocks of all files. */
const BLOCKS_IN_ALL = OWN_WORDS + 2;
/** For each worker's slot, how many workers have had it: an update of an earlier one is nobody's. */
const EPOCHS = OWN_WORDS + 64;
const OWN = 64 + MAX_WORKERS;

// The words of an entry's value.

/** EXISTS; above it how often it was asked for, up to MOST_USES. */
const STATE = 0;
/** The status that is answered in place of a response, or 0; VALID says until when. */
const ERROR = 1;
/** Of its present contents; 0 while there are none. */
const GENERATION = 2;
/** Who updates it, 0 for nobody: the owner's token, and the epoch of its slot. */
const OWNER = 3;
const OWNER_EPOCH = 4;
/** When others need not wait for that any more: ms of the monotonic clock that all processes share, modulo 2^32. */
const LOCKED_UNTIL = 5;
/** When it is removed if it is not used before: seconds of that clock. */
const EXPIRES = 6;
/** Until when the error is answered, seconds since 1970. */
const VALID = 7;
/** Of its file: bytes of the head, blocks on the disk, and what tells it from an altered one. */
const HEAD_BYTES = 8;
const BLOCKS = 9;
const IDENTITY = 10;
const VALUE_BYTES = 11 * 4;

const EXISTS = 1;
const USE = 2;
const MOST_USES = 0x3fff_ffff;

/** What `open` says of a key. */
export const FOUND = 0;
/** It was not known before. */
const NEW = 1;
/** It has not been asked for often enough to be kept. */
export const SCARCE = 2;
/** There is no memory for it. */
export const FULL = 3;

/** A file, as the index knows it. */
export interface IndexedFile {
  readonly headBytes: number;
  readonly blocks: number;
  readonly identity: number;
}

/** Bytes of a block in which the sizes of files are counted. */
export const BLOCK = 4096;

export class CacheIndex {
  readonly #hash: LruHash;
  readonly #words: Int32Array;
  /** Seconds after which an entry that is not used is removed. */
  readonly #inactive: number;

  // What `open` found.
  exists = false;
  error = 0;
  generation = 0;
  headBytes = 0;
  identity = 0;

  constructor(zone: Zone, inactive: number) {
    this.#hash = new LruHash(zone, OWN);
    this.#words = zone.words;
    this.#inactive = inactive;
  }

  get loaded(): boolean {
    return Atomics.load(this.#words, LOADED) !== 0;
  }

  /** A worker with that slot has exited, or one begins: what it updated, it updates no more. */
  forget(slot: number): void {
    Atomics.add(this.#words, EPOCHS + slot, 1);
  }

  /** Asks for a key by its digest, 16 bytes, and counts that. The fields of this object have what is known of it. */
  open(digest: string, minUses: number): number {
    this.#lock();
    const code = this.#open(digest, minUses);
    this.#hash.unlock();
    return code;
  }

  #open(digest: string, minUses: number): number {
    const words = this.#words;
    let at = this.#find(digest);
    if (at === undefined) {
      at = this.#insert(digest);
      if (at === undefined) return FULL;
      words[at + STATE] = USE;
      this.#used(at);
      this.#read(at);
      return NEW;
    }
    if (words[at + STATE] >> 1 < MOST_USES) words[at + STATE] += USE;
    this.#used(at);
    if (words[at + ERROR] !== 0 && words[at + VALID] < seconds()) {
      this.#clear(at);
      this.#read(at);
      return NEW;
    }
    this.#read(at);
    return this.error !== 0 || this.exists || words[at + STATE] >> 1 >= minUses ? FOUND : SCARCE;
  }

  #read(at: number): void {
    const words = this.#words;
    this.exists = (words[at + STATE] & EXISTS) !== 0;
    this.error = words[at + ERROR];
    this.generation = words[at + GENERATION];
    this.headBytes = words[at + HEAD_BYTES];
    this.identity = words[at + IDENTITY];
  }

  /**
   * Takes the update of an entry for `owner`. With an `age` (ms) whoever took it longer ago loses it; without, only somebody who
   * died does. False: it is another's.
   */
  claim(digest: string, owner: number, age: number): boolean {
    this.#lock();
    const words = this.#words;
    const at = this.#find(digest) ?? this.#insert(digest);
    let mine = false;
    if (at !== undefined && (!this.#isOwned(at) || (age > 0 && ((words[at + LOCKED_UNTIL] - clock()) | 0) <= 0))) {
      words[at + OWNER] = owner;
      words[at + OWNER_EPOCH] = words[EPOCHS + slotOf(owner)];
      words[at + LOCKED_UNTIL] = (clock() + age) | 0;
      mine = true;
    }
    this.#hash.unlock();
    return mine;
  }

  /** Whether somebody updates it, so that others may wait. */
  isClaimed(digest: string): boolean {
    this.#lock();
    const at = this.#find(digest);
    const claimed = at !== undefined && this.#isOwned(at) && ((this.#words[at + LOCKED_UNTIL] - clock()) | 0) > 0;
    this.#hash.unlock();
    return claimed;
  }

  #isOwned(at: number): boolean {
    const words = this.#words;
    const owner = words[at + OWNER];
    return owner !== 0 && words[at + OWNER_EPOCH] === words[EPOCHS + slotOf(owner)];
  }

  /** Gives an update up. */
  release(digest: string, owner: number): void {
    this.#lock();
    const at = this.#find(digest);
    if (at !== undefined) this.#disown(at, owner);
    this.#hash.unlock();
  }

  #disown(at: number, owner: number): void {
    if (this.#words[at + OWNER] === owner) this.#words[at + OWNER] = 0;
  }

  /** The entry has a new file. Its generation, or 0 where there is no memory for it: then the file is not in the cache. */
  commit(digest: string, owner: number, file: IndexedFile): number {
    this.#lock();
    const at = this.#find(digest) ?? this.#insert(digest);
    const generation = at === undefined ? 0 : this.#take(at, file);
    if (at !== undefined) this.#disown(at, owner);
    this.#hash.unlock();
    return generation;
  }

  #take(at: number, { headBytes, blocks, identity }: IndexedFile): number {
    const words = this.#words;
    words[BLOCKS_IN_ALL] += blocks - words[at + BLOCKS];
    words[at + ERROR] = 0;
    words[at + HEAD_BYTES] = headBytes;
    words[at + BLOCKS] = blocks;
    words[at + IDENTITY] = identity;
    words[at + GENERATION] = this.#nextGeneration();
    words[at + STATE] |= EXISTS;
    return words[at + GENERATION];
  }

  /** The file of an entry's present contents was altered. The new generation; 0 where the entry has others by now. */
  renew(digest: string, generation: number, file: IndexedFile): number {
    this.#lock();
    const at = this.#find(digest);
    const same = at !== undefined && generation !== 0 && this.#words[at + GENERATION] === generation;
    const renewed = same ? this.#take(at, file) : 0;
    this.#hash.unlock();
    return renewed;
  }

  #nextGeneration(): number {
    const words = this.#words;
    words[GENERATIONS] = words[GENERATIONS] + 1 || 1;
    return words[GENERATIONS];
  }

  /** Notes that the status is answered in place of a response, until a time in seconds since 1970. */
  fail(digest: string, owner: number, status: number, until: number): void {
    this.#lock();
    const at = this.#find(digest);
    if (at !== undefined) {
      this.#words[at + ERROR] = status;
      this.#words[at + VALID] = until;
      this.#disown(at, owner);
    }
    this.#hash.unlock();
  }

  /** Forgets the contents of an entry, if they are those of that generation: the file is gone, or is not what it should be. */
  drop(digest: string, generation: number): void {
    this.#lock();
    const at = this.#find(digest);
    if (at !== undefined && this.#words[at + GENERATION] === generation) this.#clear(at);
    this.#hash.unlock();
  }

  /** How often a key was asked for; responses in a worker's memory are counted once a second. */
  uses(digest: string): number {
    this.#lock();
    const at = this.#find(digest);
    this.#hash.unlock();
    return at === undefined ? 0 : this.#words[at + STATE] >> 1;
  }

  /** Forgets the contents of an entry, whatever they are. False where it had none. */
  purge(digest: string): boolean {
    this.#lock();
    const at = this.#find(digest);
    const known = at !== undefined && ((this.#words[at + STATE] & EXISTS) !== 0 || this.#words[at + ERROR] !== 0);
    if (at !== undefined) this.#clear(at);
    this.#hash.unlock();
    return known;
  }

  #clear(at: number): void {
    const words = this.#words;
    words[BLOCKS_IN_ALL] -= words[at + BLOCKS];
    words[at + STATE] &= ~EXISTS;
    for (const word of [ERROR, GENERATION, VALID, HEAD_BYTES, BLOCKS, IDENTITY]) words[at + word] = 0;
  }

  /**
   * Where the generation of an entry is, for `generationAt`: which wants no lock, since a word that was an entry's holds none
   * but generations, and no two entries have the same.
   */
  place(digest: string): number {
    this.#lock();
    const at = this.#find(digest);
    this.#hash.unlock();
    return at === undefined ? 0 : at + GENERATION;
  }

  generationAt(place: number): number {
    return this.#words[place];
  }

  /** Takes the lock; repairs what a process has left half done that died within. */
  #lock(): void {
    if (!this.#hash.lock()) return;
    const words = this.#words;
    let blocks = 0;
    for (let entry = this.#hash.oldest; entry !== undefined; entry = this.#hash.newer(entry)) {
      blocks += words[this.#hash.value(entry) + BLOCKS];
    }
    words[BLOCKS_IN_ALL] = blocks;
  }

  /** The index in `words` of an entry's value. */
  #find(digest: string): number | undefined {
    const entry = this.#hash.find(digest);
    return entry === undefined ? undefined : this.#hash.value(entry);
  }

  #insert(digest: string): number | undefined {
    const entry = this.#hash.insert(digest, VALUE_BYTES);
    if (entry === undefined) return undefined;
    this.#words[this.#hash.value(entry) + EXPIRES] = uptime() + this.#inactive;
    return this.#hash.value(entry);
  }

  #used(at: number): void {
    this.#words[at + EXPIRES] = uptime() + this.#inactive;
    this.#hash.touch(at - this.#hash.value(0));
  }
}

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

function uptime(): number {
  return Math.floor(sharedNow() / 1000);
}

/** The time of day, seconds since 1970. */
function seconds(): number {
  return Math.floor(Date.now() / 1000);
}
