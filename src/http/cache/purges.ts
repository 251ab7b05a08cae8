import type { ZoneWanted } from "../../shm/registry.ts";
import type { Zone } from "../../shm/zone.ts";
import { sharedNow } from "../../sys/clock.ts";
import type { StoredHead } from "./entry_file.ts";
import {
  type PurgeKind,
  type PurgeRecord,
  readPurges,
  type SavedPurges,
  syncPurges,
  writePurges,
} from "./purge_file.ts";

/**
 * What was purged of a cache, in a zone that all processes share. Purges are numbered, and an answer keeps the number of the
 * last purge before its fetch began. A purge of many keys is a *record*, pending until no file is left that it may concern:
 * an entry with a lower number that it matches is a miss. A purge of one key removes its entry at once, and is remembered
 * only for those whose fetch had begun.
 *
 *      0  floats: LAST, NEWEST, FLOOR
 *     24  words: VERSION, LOADED, TURN
 *     64  purges of one key, in a ring: number, digest of the key
 *   6208  the numbers of records, 0 where there is none
 *   8256  what they are: since when one is pending, kind, length, text
 */
const LAST = 0;
/** The number of the newest record; 0 while none is pending, which is all that a hit looks at. */
const NEWEST = 1;
/** What was fetched before that purge may have been purged: records are gone, or the ring has gone round. */
const FLOOR = 2;
/** Changes with the records. */
const VERSION = 6;
/** The records of the run before have been read. */
const LOADED = 7;
/** Where the ring goes on. */
const TURN = 8;

const RING = 64;
const RING_SIZE = 256;
const RING_BYTES = 24;
const NUMBERS = (RING + RING_SIZE * RING_BYTES) / 8;
/** How many purges of many keys can be pending. */
const MOST_RECORDS = 256;
const RECORDS = (NUMBERS + MOST_RECORDS) * 8;
const RECORD_BYTES = 2048;
const KIND = 8;
const LENGTH = 12;
const TEXT = 16;
/** The longest text of a record, bytes. */
export const MOST_TEXT = RECORD_BYTES - TEXT;

const KINDS: readonly PurgeKind[] = ["prefix", "tags"];

/** The zone beside a cache's index, of that kind and name. */
export function purgesZone(index: Pick<ZoneWanted, "kind" | "name">): ZoneWanted {
  const { name } = index;
  const kind = { name: `${index.kind.name} purges`, version: 1 };
  return { kind, name, size: RECORDS + MOST_RECORDS * RECORD_BYTES };
}

/** Why a purge was refused. */
export type PurgeRefusal = "full" | "too long";

/** What of an entry purges are compared with. `tags`: each between spaces. */
export type Purgeable = Pick<StoredHead, "key" | "tags" | "purge">;

export class Purges {
  readonly #zone: Zone;
  readonly #floats: Float64Array;
  readonly #words: Int32Array;
  readonly #bytes: Buffer;
  readonly #path: string;
  readonly #report: (sentence: string) => void;
  /** The records as they were in that version. */
  #known: readonly PurgeRecord[] = [];
  #version = -1;

  /** `path`: of the file that keeps the records over a restart. `report` is told what is wrong with it. */
  constructor(zone: Zone, path: string, report: (sentence: string) => void) {
    this.#zone = zone;
    this.#floats = zone.floats;
    this.#words = zone.words;
    this.#bytes = zone.bytes;
    this.#path = path;
    this.#report = report;
  }

  /** Before anything is served: takes over what was pending when the run before ended. */
  load(): void {
    this.#locked(() => {
      if (this.#words[LOADED] !== 0) return;
      const saved = readPurges(this.#path, this.#report);
      this.#floats[LAST] = saved.last;
      // More than there is room for cannot have been written here.
      for (const [slot, record] of saved.records.slice(0, MOST_RECORDS).entries()) {
        this.#put(slot, { ...record, since: uptime() });
      }
      this.#changed();
      this.#words[LOADED] = 1;
    });
  }

  /** The number for an answer whose fetch begins now. */
  get last(): number {
    return this.#floats[LAST];
  }

  get pending(): boolean {
    return this.#floats[NEWEST] !== 0;
  }

  /** Whether a record concerns that entry. */
  covers({ key, tags, purge }: Purgeable): boolean {
    if (this.#floats[NEWEST] === 0) return false;
    // A number from the future is of a run whose file of records was lost, and whose clock was ahead.
    const number = purge > this.#floats[LAST] ? 0 : purge;
    for (const record of this.records()) if (number < record.number && matches(record, key, tags)) return true;
    return false;
  }

  /** Whether an answer was purged while it came. `digest`: the key's. */
  overtook(entry: Purgeable, digest: string): boolean {
    const floats = this.#floats;
    if (entry.purge >= floats[LAST]) return false;
    return entry.purge < floats[FLOOR] || this.tookOne(digest, entry.purge) || this.covers(entry);
  }

  /** Whether one of the last purges of one key was after that number, and of that key, by its digest. */
  tookOne(digest: string, after: number): boolean {
    for (let i = 0; i < RING_SIZE; i++) {
      const at = RING + i * RING_BYTES;
      if (this.#floats[at / 8] > after && this.#bytes.latin1Slice(at + 8, at + RING_BYTES) === digest) return true;
    }
    return false;
  }

  /** Notes that one key was purged, by its digest; before its entry is removed. */
  one(digest: string): void {
    this.#locked(() => {
      const floats = this.#floats;
      const turn = this.#words[TURN];
      const at = RING + turn * RING_BYTES;
      floats[FLOOR] = Math.max(floats[FLOOR], floats[at / 8]);
      floats[at / 8] = 0;
      this.#bytes.write(digest, at + 8, "latin1");
      floats[at / 8] = this.#next();
      this.#words[TURN] = (turn + 1) % RING_SIZE;
    });
  }

  /**
   * Purges all keys with a prefix, or all entries with one of the tags, which the text has between spaces. It is in force when
   * this returns.
   */
  many(kind: PurgeKind, text: string): PurgeRefusal | undefined {
    if (text.length > MOST_TEXT) return "too long";
    const refused = this.#locked(() => {
      const records = this.#read();
      const included = [...records].flatMap(([slot, record]) => (includes(kind, text, record) ? [slot] : []));
      const slot = firstFree(records) ?? included[0];
      if (slot === undefined) return "full";
      this.#put(slot, { kind, text, number: this.#next(), since: uptime() });
      for (const other of included) if (other !== slot) this.#free(other);
      this.#changed();
      this.#save();
      return undefined;
    });
    // Whoever purged is told so, and a loss of power must not undo it. Others need not wait for the disk.
    if (refused === undefined) syncPurges(this.#path, this.#report);
    return refused;
  }

  /** Those pending. */
  records(): readonly PurgeRecord[] {
    if (Atomics.load(this.#words, VERSION) !== this.#version) {
      this.#locked(() => {
        this.#known = [...this.#read().values()];
        this.#version = this.#words[VERSION];
      });
    }
    return this.#known;
  }

  /** No file is left that these records may concern. */
  forget(done: (record: PurgeRecord) => boolean): void {
    this.#locked(() => {
      for (const [slot, record] of this.#read()) {
        if (!done(record)) continue;
        this.#floats[FLOOR] = Math.max(this.#floats[FLOOR], record.number);
        this.#free(slot);
      }
      this.#changed();
      this.#save();
    });
  }

  /** Runs `work` with the zone's lock; after a death within, NEWEST and VERSION are made right first. */
  #locked<T>(work: () => T): T {
    if (this.#zone.lock()) this.#changed();
    try {
      return work();
    } finally {
      this.#zone.unlock();
    }
  }

  /** A new number: greater than all before, also than those of earlier runs unless clock and file are lost both. */
  #next(): number {
    this.#floats[LAST] = Math.max(this.#floats[LAST] + 1, Date.now());
    return this.#floats[LAST];
  }

  #read(): Map<number, PurgeRecord> {
    const records = new Map<number, PurgeRecord>();
    for (let slot = 0; slot < MOST_RECORDS; slot++) {
      const number = this.#floats[NUMBERS + slot];
      if (number === 0) continue;
      const at = RECORDS + slot * RECORD_BYTES;
      const length = Math.min(this.#words[(at + LENGTH) / 4], MOST_TEXT);
      const text = this.#bytes.latin1Slice(at + TEXT, at + TEXT + length);
      const kind = KINDS[this.#words[(at + KIND) / 4]];
      records.set(slot, { kind, text, number, since: this.#floats[at / 8] });
    }
    return records;
  }

  /** The number is cleared first and written last: a record that a death leaves half written is none. */
  #put(slot: number, { kind, text, number, since }: PurgeRecord): void {
    const at = RECORDS + slot * RECORD_BYTES;
    this.#free(slot);
    this.#floats[at / 8] = since;
    this.#words[(at + KIND) / 4] = KINDS.indexOf(kind);
    this.#words[(at + LENGTH) / 4] = this.#bytes.write(text, at + TEXT, MOST_TEXT, "latin1");
    this.#floats[NUMBERS + slot] = number;
  }

  #free(slot: number): void {
    this.#floats[NUMBERS + slot] = 0;
  }

  #changed(): void {
    const floats = this.#floats;
    let newest = 0;
    for (const { number } of this.#read().values()) newest = Math.max(newest, number);
    floats[LAST] = Math.max(floats[LAST], newest);
    floats[NEWEST] = newest;
    Atomics.add(this.#words, VERSION, 1);
  }

  #save(): void {
    const saved: SavedPurges = { last: this.#floats[LAST], records: [...this.#read().values()] };
    writePurges(this.#path, saved, this.#report);
  }
}

function firstFree(records: ReadonlyMap<number, PurgeRecord>): number | undefined {
  for (let slot = 0; slot < MOST_RECORDS; slot++) if (!records.has(slot)) return slot;
  return undefined;
}

function matches({ kind, text }: PurgeRecord, key: string, tags: string): boolean {
  return kind === "prefix" ? key.startsWith(text) : tags !== "" && sharesTag(text, tags);
}

function sharesTag(text: string, tags: string): boolean {
  for (let from = 0; ; ) {
    const end = text.indexOf(" ", from + 1);
    if (end < 0) return false;
    if (tags.includes(text.slice(from, end + 1))) return true;
    from = end;
  }
}

/** Whether a purge does all that an earlier one did. */
function includes(kind: PurgeKind, text: string, earlier: PurgeRecord): boolean {
  return kind === earlier.kind && (kind === "prefix" ? earlier.text.startsWith(text) : earlier.text === text);
}

/** Seconds of the clock that all processes share. */
function uptime(): number {
  return Math.floor(sharedNow() / 1000);
}
