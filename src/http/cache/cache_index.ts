import type { Zone, ZoneKind } from "../../shm/zone.ts";
import {
  EntryTable,
  ERROR,
  EXISTS,
  GENERATION,
  HEAD_BYTES,
  IDENTITY,
  type IndexedFile,
  MOST_USES,
  STATE,
  type StoredError,
  USE,
} from "./entry_table.ts";

/**
 * The index of a cache: an entry for each key's digest, in one zone that all processes share. Nobody holds an entry: each
 * operation finds it anew, so that a process that dies leaves nothing behind but the lock of an update, which is void as soon as
 * the master has noted the death.
 */
export function indexKind(prefix: string): ZoneKind {
  return { name: `http_${prefix} cache`, version: 2 };
}

/** What `open` says of a key. */
export const FOUND = 0;
/** It was not known before. */
const NEW = 1;
/** It has not been asked for often enough to be kept. */
export const SCARCE = 2;
/** There is no memory for it. */
export const FULL = 3;

/** An entry that is to give way to others, and of which contents. */
export interface Victim {
  readonly digest: string;
  readonly generation: number;
}

/** So many entries that are being updated are passed over in the search for one that can give way, as in nginx. */
const TRIES = 20;

export class CacheIndex {
  readonly #table: EntryTable;
  readonly #words: Int32Array;

  // What `open` found.
  exists = false;
  /** How often it was asked for, this time included. */
  askedFor = 0;
  error = 0;
  /** Where there is an error: the number of the last purge before it. */
  errorPurge = 0;
  generation = 0;
  headBytes = 0;
  identity = 0;

  /** `inactive`: seconds after which an entry that is not used is removed. */
  constructor(zone: Zone, inactive: number) {
    this.#table = new EntryTable(zone, inactive);
    this.#words = zone.words;
  }

  /** The totals. */
  get table(): Pick<EntryTable, "loaded" | "blocks" | "size" | "evictions" | "crowded" | "saysTrouble"> {
    return this.#table;
  }

  /** Whether both are one index. */
  same(other: CacheIndex): boolean {
    return this.#table.same(other.#table);
  }

  get loaded(): boolean {
    return this.#table.loaded;
  }

  /** Asks for a key by its digest, 16 bytes, and counts that. The fields of this object have what is known of it. */
  open(digest: string, minUses: number): number {
    this.#table.lock();
    const code = this.#open(digest, minUses);
    this.#table.unlock();
    return code;
  }

  #open(digest: string, minUses: number): number {
    const words = this.#words;
    const table = this.#table;
    let at = table.find(digest);
    if (at === undefined) {
      at = table.insert(digest);
      if (at === undefined) return FULL;
      words[at + STATE] = USE;
      this.#read(at);
      return NEW;
    }
    if (words[at + STATE] >> 1 < MOST_USES) words[at + STATE] += USE;
    table.used(at);
    if (table.isErrorOver(at)) {
      table.clear(at);
      this.#read(at);
      return NEW;
    }
    this.#read(at);
    return this.error !== 0 || this.exists || words[at + STATE] >> 1 >= minUses ? FOUND : SCARCE;
  }

  #read(at: number): void {
    const words = this.#words;
    this.exists = (words[at + STATE] & EXISTS) !== 0;
    this.askedFor = words[at + STATE] >> 1;
    this.error = words[at + ERROR];
    this.errorPurge = this.#table.errorPurge(at);
    this.generation = words[at + GENERATION];
    this.headBytes = words[at + HEAD_BYTES];
    this.identity = words[at + IDENTITY];
  }

  // ---- updates

  /**
   * Takes the update of an entry for `owner`. With an `age` (ms) whoever took it longer ago loses it; without, only somebody who
   * died does. False: it is another's.
   */
  claim(digest: string, owner: number, age: number): boolean {
    const table = this.#table;
    table.lock();
    const at = table.find(digest) ?? table.insert(digest);
    const free = at !== undefined && (!table.isOwned(at) || (age > 0 && table.isLate(at)));
    if (free) table.own(at, owner, age);
    table.unlock();
    return free;
  }

  /** Whether somebody updates it, so that others may wait. */
  isClaimed(digest: string): boolean {
    this.#table.lock();
    const at = this.#table.find(digest);
    const claimed = at !== undefined && this.#table.isOwned(at) && !this.#table.isLate(at);
    this.#table.unlock();
    return claimed;
  }

  /** Gives an update up. */
  release(digest: string, owner: number): void {
    this.#table.lock();
    const at = this.#table.find(digest);
    if (at !== undefined) this.#table.disown(at, owner);
    this.#table.unlock();
  }

  /** The worker with that slot is about to give an entry's file its name: if it dies in between, the file is found. "": it is done. */
  putIn(digest: string, slot: number): void {
    this.#table.notePuttingIn(slot, digest);
  }

  /** The entry has a new file. Its generation, or 0 where there is no memory for it: then the file is not in the cache. */
  commit(digest: string, owner: number, file: IndexedFile): number {
    const table = this.#table;
    table.lock();
    const at = table.find(digest) ?? table.insert(digest);
    const generation = at === undefined ? 0 : table.put(at, file);
    if (at !== undefined) table.disown(at, owner);
    table.unlock();
    return generation;
  }

  /** The file of an entry's present contents was altered. The new generation; 0 where the entry has others by now. */
  renew(digest: string, generation: number, file: IndexedFile): number {
    const table = this.#table;
    table.lock();
    const at = table.find(digest);
    const same = at !== undefined && generation !== 0 && this.#words[at + GENERATION] === generation;
    const renewed = same ? table.put(at, file) : 0;
    table.unlock();
    return renewed;
  }

  /** Notes an error in place of the contents of that generation, whose file has been removed; not where there are others by now. */
  fail(digest: string, generation: number, owner: number, error: StoredError): void {
    this.#table.lock();
    const at = this.#table.find(digest);
    if (at !== undefined) {
      if (this.#words[at + GENERATION] === generation) this.#table.putError(at, error);
      this.#table.disown(at, owner);
    }
    this.#table.unlock();
  }

  /**
   * Forgets the contents of an entry, if they are those of that generation (0: an error), whose file has been removed: whoever
   * dies in between leaves no file that nobody knows. False where there were none.
   */
  drop(digest: string, generation: number): boolean {
    this.#table.lock();
    const at = this.#table.find(digest);
    const same = at !== undefined && this.#words[at + GENERATION] === generation;
    const known = same && (generation !== 0 || this.#words[at + ERROR] !== 0);
    if (same) this.#table.clear(at);
    this.#table.unlock();
    return known;
  }

  /** Of an entry's present contents; 0 while there are none. */
  generationOf(digest: string): number {
    this.#table.lock();
    const at = this.#table.find(digest);
    this.#table.unlock();
    return at === undefined ? 0 : this.#words[at + GENERATION];
  }

  /** How often a key was asked for; responses in a worker's memory are counted once a second. */
  uses(digest: string): number {
    this.#table.lock();
    const at = this.#table.find(digest);
    this.#table.unlock();
    return at === undefined ? 0 : this.#words[at + STATE] >> 1;
  }

  /** A worker with that slot has exited, or one begins: what it updated, it updates no more. */
  forget(slot: number): void {
    const left = this.#table.leftBy(slot);
    if (left !== "") {
      this.doubt(left);
      this.#table.notePuttingIn(slot, "");
    }
    this.#table.disownAll(slot);
  }

  /** There may be a file that nobody knows, such as one that was purged before it was noted: whoever reads it looks. */
  doubt(digest: string): void {
    const table = this.#table;
    table.lock();
    const at = table.find(digest);
    if (at !== undefined && (this.#words[at + STATE] & EXISTS) !== 0) table.forgetFile(at);
    table.unlock();
    this.add(digest, { headBytes: 0, blocks: 1, identity: 0 });
  }

  // ---- files that were there

  /** The loader has found a file. False: there is no memory for it. */
  add(digest: string, file: IndexedFile): boolean {
    const table = this.#table;
    table.lock();
    const at = table.find(digest) ?? table.insert(digest);
    if (at !== undefined && (this.#words[at + STATE] & EXISTS) === 0) table.put(at, file);
    table.unlock();
    return at !== undefined;
  }

  /**
   * A file, of that generation, or of an unknown one (0), was read and is what it should be. Its generation, or 0 where another
   * file has taken its place, or there is no memory.
   */
  adopt(digest: string, generation: number, file: IndexedFile): number {
    const table = this.#table;
    table.lock();
    const at = table.find(digest) ?? table.insert(digest);
    let adopted = 0;
    if (at !== undefined) {
      if ((this.#words[at + STATE] & EXISTS) === 0) {
        adopted = table.put(at, file);
      } else if (this.#isSame(at, generation, file)) {
        table.noteFile(at, file);
        adopted = this.#words[at + GENERATION];
      }
    }
    table.unlock();
    return adopted;
  }

  #isSame(at: number, generation: number, { identity }: IndexedFile): boolean {
    const words = this.#words;
    if (generation !== 0) return words[at + GENERATION] === generation;
    return words[at + IDENTITY] === 0 || words[at + IDENTITY] === identity;
  }

  setLoaded(): void {
    this.#table.setLoaded();
  }

  // ---- entries that give way

  /** The entry longest out of use, which is then to be passed to `evict`; undefined: all are being updated, or there is none. */
  oldest(): Victim | undefined {
    const table = this.#table;
    table.lock();
    let victim: Victim | undefined;
    for (let tries = 0; tries < TRIES && victim === undefined; tries++) {
      const at = table.oldest;
      if (at === undefined) break;
      if (table.isOwned(at)) table.used(at);
      else victim = this.#victim(at);
    }
    table.unlock();
    return victim;
  }

  /** The entry longest out of use, if it has been for too long; else after how many seconds one may be (Infinity: there is none). */
  idle(): Victim | number {
    const table = this.#table;
    table.lock();
    let found: Victim | number = Number.POSITIVE_INFINITY;
    for (let at = table.oldest; at !== undefined; at = table.oldest) {
      const left = table.timeLeft(at);
      if (left > 0) found = left;
      else if (table.isOwned(at)) {
        table.used(at);
        continue;
      } else found = this.#victim(at);
      break;
    }
    table.unlock();
    return found;
  }

  #victim(at: number): Victim {
    return { digest: this.#table.digestOf(at), generation: this.#words[at + GENERATION] };
  }

  /** Its file is gone: removes the entry, unless it has other contents by now, or somebody updates it. `forced`: before its time. */
  evict({ digest, generation }: Victim, forced: boolean): void {
    const table = this.#table;
    table.lock();
    const at = table.find(digest);
    if (at !== undefined && this.#words[at + GENERATION] === generation) {
      if (table.isOwned(at)) table.clear(at);
      else table.remove(at);
      if (forced) table.countEviction();
    }
    table.unlock();
  }

  // ---- without the lock

  /**
   * Where the generation of an entry is, for `generationAt`: which wants no lock, since a word that was an entry's holds none
   * but generations, and no two entries have the same.
   */
  place(digest: string): number {
    this.#table.lock();
    const at = this.#table.find(digest);
    this.#table.unlock();
    return at === undefined ? 0 : at + GENERATION;
  }

  generationAt(place: number): number {
    return this.#words[place];
  }
}
