import type { Level } from "../../runtime/log/log.ts";
import { LruHash } from "../../shm/lru_hash.ts";
import type { Zone, ZoneKind } from "../../shm/zone.ts";
import { crypto } from "../../sys/builtin.ts";
import { now, wallAt } from "../../sys/clock.ts";

/**
 * Which session belongs to which server: the zone of `sticky learn`, exact over all workers. Sessions are filed under the MD5
 * of their ids, in the order of their last use.
 *
 *     value: last use (a float, ms since 1970) · length of the sid · sid
 */
export const LEARNED_ZONE: ZoneKind = { name: "sticky", version: 1 };

/** Words that belong to the table as a whole: what earlier runs left was read; how often something has changed. */
const RESTORED = 0;
const CHANGES = 1;
const OWN_WORDS = 2;
/** Index of the first of them. */
const OWN = 16;

/** Bytes behind the beginning of a value. */
const LENGTH = 8;
const SID = 9;
/** The longest route, and an MD5 in hexadecimal. */
export const MAX_SID = 32;
const VALUE_BYTES = SID + MAX_SID;

/** What was used so lately may have changed since a new table's contents were copied; ms. */
const RECENT_MS = 60_000;

/** How many sessions that have ended give way to a new one. */
const SWEPT = 2;

/** Sessions that are read at a time. */
const BATCH = 1000;

/** A session as a snapshot has it. */
export interface LearnedSession {
  /** 16 bytes. */
  readonly key: string;
  readonly last: number;
  readonly sid: string;
}

/** What a session is filed under. */
export function keyOf(id: string): string {
  return crypto().hash("md5", Buffer.from(id, "latin1"), "latin1");
}

export class LearnedSessions {
  readonly zone: Zone;
  /** ms without use after which a session ends. */
  readonly #timeout: number;
  readonly #entries: LruHash;
  readonly #log: (level: Level, message: string) => void;
  /** The table of another size that has taken the place of this one. */
  #successor: LearnedSessions | undefined;

  constructor(zone: Zone, timeout: number, log: (level: Level, message: string) => void) {
    this.zone = zone;
    this.#timeout = timeout;
    this.#log = log;
    this.#entries = new LruHash(zone, OWN_WORDS);
  }

  /** The sid of the session's server; "" where there is no such session. */
  find(key: string): string {
    this.#lock();
    try {
      const entry = this.#entries.find(key);
      return entry === undefined || this.#ended(entry, wallAt(now())) ? "" : this.#sid(entry);
    } finally {
      this.#entries.unlock();
    }
  }

  /** The session was served by the server of that sid. One that is not known is added where `create` says so. */
  learn(key: string, sid: string, create: boolean): void {
    this.#learn(key, sid, create);
    this.#successor?.learn(key, sid, create);
  }

  /** From now on another table has in this process what this one has, also of requests that still know this one alone. */
  succeed(next: LearnedSessions): void {
    this.#successor = next;
    const since = wallAt(now()) - RECENT_MS;
    for (const batch of allSessions(this, since)) next.merge(batch);
  }

  #learn(key: string, sid: string, create: boolean): void {
    this.#lock();
    try {
      const time = wallAt(now());
      const known = this.#entries.find(key);
      const entry = known === undefined ? (create ? this.#insert(key, time) : undefined) : known;
      if (entry === undefined) return;
      if (known !== undefined) {
        // Others may not revive what has ended.
        if (!create && this.#ended(entry, time)) {
          this.#entries.remove(entry);
          return;
        }
        this.#entries.touch(entry);
      }
      if (known === undefined || this.#sid(entry) !== sid) this.#setSid(entry, sid);
      this.#setLast(entry, time);
      this.#changed();
    } finally {
      this.#entries.unlock();
    }
  }

  /** Removes up to so many sessions that have ended; false once there are none left. */
  expire(most: number): boolean {
    this.#lock();
    try {
      return this.#expire(most, wallAt(now()));
    } finally {
      this.#entries.unlock();
    }
  }

  /** Changes so far; wraps. */
  get changes(): number {
    return this.#own(CHANGES);
  }

  /** Whether this process is to read what earlier runs left: nobody has done it yet. */
  get blank(): boolean {
    return this.#own(RESTORED) === 0;
  }

  /** Adds sessions, in the order of their last use: what is known and was used later stays. Then the table is not blank. */
  merge(sessions: readonly LearnedSession[]): void {
    const entries = this.#entries;
    this.#lock();
    try {
      const time = wallAt(now());
      for (const { key, sid, last } of sessions) {
        // The clock may have been set back since.
        const used = Math.min(last, time);
        if (used + this.#timeout <= time) continue;
        const known = entries.find(key);
        if (known !== undefined && this.#last(known) >= used) continue;
        const entry = known ?? entries.insert(key, VALUE_BYTES) ?? this.#insertForOldest(key);
        if (entry === undefined) break;
        if (known !== undefined) entries.touch(entry);
        this.#setSid(entry, sid);
        this.#setLast(entry, used);
      }
      this.zone.words[OWN + RESTORED] = 1;
      this.#changed();
    } finally {
      entries.unlock();
    }
  }

  /** Up to so many sessions used last at or after `from` (of several of that time, those behind `key`), the oldest first. */
  some(from: number, key: string | undefined, most: number): LearnedSession[] {
    const entries = this.#entries;
    const found: LearnedSession[] = [];
    this.#lock();
    try {
      for (
        let entry = this.#place(from, key);
        entry !== undefined && found.length < most;
        entry = entries.newer(entry)
      ) {
        const sid = this.#sid(entry);
        if (sid !== "") found.push({ key: entries.key(entry), last: this.#last(entry), sid });
      }
      return found;
    } finally {
      entries.unlock();
    }
  }

  /** The entry behind that of `key` where that was not used since, else the first one used at or after `from`. */
  #place(from: number, key: string | undefined): number | undefined {
    const entries = this.#entries;
    const known = key === undefined ? undefined : entries.find(key);
    if (known !== undefined && this.#last(known) === from) return entries.newer(known);
    let entry = entries.oldest;
    while (entry !== undefined && this.#last(entry) < from) entry = entries.newer(entry);
    return entry;
  }

  #insert(key: string, time: number): number | undefined {
    const entries = this.#entries;
    this.#expire(SWEPT, time);
    let entry = entries.insert(key, VALUE_BYTES);
    if (entry !== undefined) return entry;
    const where = `in sticky session zone "${this.zone.name}"`;
    this.#log("warn", `could not allocate node ${where}, expiring least recently used session`);
    entry = this.#insertForOldest(key);
    if (entry === undefined) this.#log("alert", `could not allocate node ${where}`);
    return entry;
  }

  #insertForOldest(key: string): number | undefined {
    const { oldest } = this.#entries;
    if (oldest !== undefined) this.#entries.remove(oldest);
    return this.#entries.insert(key, VALUE_BYTES);
  }

  #expire(most: number, time: number): boolean {
    for (let left = most; left > 0; left--) {
      const { oldest } = this.#entries;
      if (oldest === undefined || !this.#ended(oldest, time)) return false;
      this.#entries.remove(oldest);
      this.#changed();
    }
    return true;
  }

  /** True for one, too, whose writer has died before it had a sid. */
  #ended(entry: number, time: number): boolean {
    return this.#last(entry) + this.#timeout <= time || this.zone.bytes[this.#at(entry) + LENGTH] === 0;
  }

  #lock(): void {
    if (!this.#entries.lock()) return;
    const what = `a process died with sticky session zone "${this.zone.name}" locked`;
    this.#log("alert", `${what}, ${this.#entries.size} sessions were put in order`);
  }

  #own(word: number): number {
    return Atomics.load(this.zone.words, OWN + word);
  }

  #changed(): void {
    this.zone.words[OWN + CHANGES]++;
  }

  #at(entry: number): number {
    return this.#entries.value(entry) * 4;
  }

  #last(entry: number): number {
    return this.zone.floats[this.#entries.value(entry) >> 1];
  }

  #setLast(entry: number, time: number): void {
    this.zone.floats[this.#entries.value(entry) >> 1] = time;
  }

  #sid(entry: number): string {
    const from = this.#at(entry) + SID;
    const length = Math.min(this.zone.bytes[from - SID + LENGTH], MAX_SID);
    return this.zone.bytes.latin1Slice(from, from + length);
  }

  /** The length is 0 meanwhile: who dies here leaves no sid that is none. */
  #setSid(entry: number, sid: string): void {
    const { bytes } = this.zone;
    const at = this.#at(entry);
    const length = Math.min(sid.length, MAX_SID);
    bytes[at + LENGTH] = 0;
    for (let i = 0; i < length; i++) bytes[at + SID + i] = sid.charCodeAt(i);
    bytes[at + LENGTH] = length;
  }
}

/** The sessions of a table used since then, batch by batch in the order of their last use; used meanwhile, one may come twice. */
export function* allSessions(sessions: LearnedSessions, since = 0): Generator<readonly LearnedSession[]> {
  const begun = wallAt(now());
  let last = since;
  let key: string | undefined;
  // Under load there always are some that were used meanwhile.
  while (last <= begun) {
    const batch = sessions.some(last, key, BATCH);
    const end = batch.at(-1);
    if (end === undefined) return;
    ({ last, key } = end);
    yield batch;
  }
}
