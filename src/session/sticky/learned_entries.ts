import type { Level } from "../../runtime/log/log.ts";
import { LruHash } from "../../shm/lru_hash.ts";
import { MarkedEntries } from "../../shm/marked_entries.ts";
import type { Zone } from "../../shm/zone.ts";
import { randomInt32 } from "../../sys/random.ts";
import type { TableRecord } from "../../wire/table_records.ts";

/**
 * Learned sessions as entries of their zone's hash, under the MD5 of their ids, in the order of their last use.
 *
 *     value: last use, and when it was given to its server (floats, ms since 1970) · length of the sid, and whether other nodes are
 *            to be told · sid
 *
 * Of two servers, the one counts that the session was given to later, on whatever node that was. Everything here but `lock` wants
 * the lock held.
 */

/**
 * Words that belong to the table as a whole: what earlier runs left was read; how often something has changed; how many sessions
 * other nodes are to be told of; what this node's times have behind the point.
 */
export const RESTORED = 0;
export const CHANGES = 1;
export const UNTOLD = 2;
const FRACTION = 3;
const OWN_WORDS = 4;
/** Index of the first of them. */
const OWN = 16;

/** Bytes behind the beginning of a value. */
const LENGTH = 16;
const SID = 17;
/** The longest route, and an MD5 in hexadecimal. */
export const MAX_SID = 32;
/** Beside the length. */
const UNTOLD_FLAG = 0x80;
const VALUE_BYTES = SID + MAX_SID;

/** How many sessions that have ended give way to a new one. */
const SWEPT = 2;

export class LearnedEntries {
  readonly zone: Zone;
  readonly hash: LruHash;
  readonly untold: MarkedEntries;
  readonly #timeout: number;
  readonly #log: (level: Level, message: string) => void;
  /** Whether other nodes are to be told. */
  #shared = false;

  constructor(zone: Zone, timeout: number, log: (level: Level, message: string) => void) {
    this.zone = zone;
    this.#timeout = timeout;
    this.#log = log;
    this.hash = new LruHash(zone, OWN_WORDS);
    this.untold = new MarkedEntries(this.hash, (entry) => this.isUntold(entry));
  }

  share(): void {
    this.#shared = true;
    Atomics.compareExchange(this.zone.words, OWN + FRACTION, 0, 1 + (randomInt32() & 1022));
  }

  unlock(): void {
    this.hash.unlock();
  }

  setOwn(word: number, value: number): void {
    this.zone.words[OWN + word] = value;
  }

  record(entry: number): TableRecord {
    return {
      key: this.hash.key(entry),
      value: this.sid(entry),
      stamp: this.given(entry),
      ends: this.last(entry) + this.#timeout,
    };
  }

  /** Adds a session, or what is later than what is known of it. False where there is no room. */
  put(key: string, sid: string, given: number, used: number): boolean {
    const { hash: entries } = this;
    const known = entries.find(key);
    if (known !== undefined) {
      const before = this.given(known);
      if (before > given || (before === given && this.last(known) >= used)) return true;
    }
    const entry = known ?? entries.insert(key, VALUE_BYTES) ?? this.#insertForOldest(key);
    if (entry === undefined) return false;
    if (known !== undefined) entries.touch(entry);
    if (known === undefined || this.given(entry) !== given) {
      this.#setSid(entry, sid);
      this.#setGiven(entry, given);
    }
    if (used > this.last(entry)) this.setLast(entry, used);
    return true;
  }

  /** The session is that server's from now on, whatever clock the node has that gave it to another. */
  give(entry: number, sid: string, time: number): void {
    const given = Math.max(time + this.own(FRACTION) / 1024, this.given(entry) + 1);
    this.#setSid(entry, sid);
    this.#setGiven(entry, given);
    this.setUntold(entry, this.#shared);
  }

  insert(key: string, time: number): number | undefined {
    const { hash: entries } = this;
    this.expire(SWEPT, time);
    let entry = entries.insert(key, VALUE_BYTES);
    if (entry !== undefined) return entry;
    const where = `in sticky session zone "${this.zone.name}"`;
    this.#log("warn", `could not allocate node ${where}, expiring least recently used session`);
    entry = this.#insertForOldest(key);
    if (entry === undefined) this.#log("alert", `could not allocate node ${where}`);
    return entry;
  }

  #insertForOldest(key: string): number | undefined {
    const { oldest } = this.hash;
    if (oldest !== undefined) this.remove(oldest);
    return this.hash.insert(key, VALUE_BYTES);
  }

  expire(most: number, time: number): boolean {
    for (let left = most; left > 0; left--) {
      const { oldest } = this.hash;
      if (oldest === undefined || !this.ended(oldest, time)) return false;
      this.remove(oldest);
      this.changed();
    }
    return true;
  }

  /** True for one, too, whose writer has died before it had a sid. */
  ended(entry: number, time: number): boolean {
    return this.last(entry) + this.#timeout <= time || this.#length(entry) === 0;
  }

  remove(entry: number): void {
    this.setUntold(entry, false);
    this.hash.remove(entry);
  }

  lock(): void {
    if (!this.hash.lock()) return;
    let untold = 0;
    for (let entry = this.hash.oldest; entry !== undefined; entry = this.hash.newer(entry)) {
      if (this.isUntold(entry)) untold++;
    }
    this.zone.words[OWN + UNTOLD] = untold;
    const what = `a process died with sticky session zone "${this.zone.name}" locked`;
    this.#log("alert", `${what}, ${this.hash.size} sessions were put in order`);
  }

  own(word: number): number {
    return Atomics.load(this.zone.words, OWN + word);
  }

  changed(): void {
    this.zone.words[OWN + CHANGES]++;
  }

  #at(entry: number): number {
    return this.hash.value(entry) * 4;
  }

  last(entry: number): number {
    return this.zone.floats[this.hash.value(entry) >> 1];
  }

  setLast(entry: number, time: number): void {
    this.zone.floats[this.hash.value(entry) >> 1] = time;
  }

  given(entry: number): number {
    return this.zone.floats[(this.hash.value(entry) >> 1) + 1];
  }

  #setGiven(entry: number, time: number): void {
    this.zone.floats[(this.hash.value(entry) >> 1) + 1] = time;
  }

  sid(entry: number): string {
    const from = this.#at(entry) + SID;
    return this.zone.bytes.latin1Slice(from, from + this.#length(entry));
  }

  #length(entry: number): number {
    return Math.min(this.zone.bytes[this.#at(entry) + LENGTH] & ~UNTOLD_FLAG, MAX_SID);
  }

  isUntold(entry: number): boolean {
    return (this.zone.bytes[this.#at(entry) + LENGTH] & UNTOLD_FLAG) !== 0;
  }

  setUntold(entry: number, untold: boolean): void {
    if (this.isUntold(entry) === untold) return;
    this.zone.bytes[this.#at(entry) + LENGTH] ^= UNTOLD_FLAG;
    this.zone.words[OWN + UNTOLD] += untold ? 1 : -1;
  }

  /** The length is 0 meanwhile: who dies here leaves no sid that is none. */
  #setSid(entry: number, sid: string): void {
    this.setUntold(entry, false);
    const { bytes } = this.zone;
    const at = this.#at(entry);
    const length = Math.min(sid.length, MAX_SID);
    bytes[at + LENGTH] = 0;
    for (let i = 0; i < length; i++) bytes[at + SID + i] = sid.charCodeAt(i);
    bytes[at + LENGTH] = length;
  }
}
