import type { Level } from "../../runtime/log/log.ts";
import { LruHash } from "../../shm/lru_hash.ts";
import { MarkedEntries } from "../../shm/marked_entries.ts";
import type { Zone, ZoneKind } from "../../shm/zone.ts";
import { crypto } from "../../sys/builtin.ts";
import { now, wallAt } from "../../sys/clock.ts";
import { randomInt32 } from "../../sys/random.ts";
import type { TableRecord } from "../../wire/table_records.ts";

/**
 * Which session belongs to which server: the zone of `sticky learn`, exact over all workers. Sessions are filed under the MD5
 * of their ids, in the order of their last use.
 *
 *     value: last use, and when it was given to its server (floats, ms since 1970) · length of the sid, and whether other nodes are
 *            to be told · sid
 *
 * Of two servers, the one counts that the session was given to later, on whatever node that was.
 */
export const LEARNED_ZONE: ZoneKind = { name: "sticky", version: 2 };

/**
 * Words that belong to the table as a whole: what earlier runs left was read; how often something has changed; how many sessions
 * other nodes are to be told of; what this node's times have behind the point.
 */
const RESTORED = 0;
const CHANGES = 1;
const UNTOLD = 2;
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

/** What was used so lately may have changed since a new table's contents were copied; ms. */
const RECENT_MS = 60_000;

/** How many sessions that have ended give way to a new one. */
const SWEPT = 2;

/** Sessions that are read at a time, and buckets that are looked through. */
const BATCH = 1000;
const BUCKETS_AT_ONCE = 512;
/** Bytes of a key. */
const KEY = 16;

/** A session as a snapshot has it. */
export interface LearnedSession {
  /** 16 bytes. */
  readonly key: string;
  readonly last: number;
  /** When it was given to that server; later than whatever it was given to before. */
  readonly given: number;
  readonly sid: string;
}

/** What a session is filed under. */
export function keyOf(id: string): string {
  return crypto().hash("md5", Buffer.from(id, "latin1"), "latin1");
}

export class LearnedSessions {
  readonly zone: Zone;
  readonly #timeout: number;
  readonly #entries: LruHash;
  readonly #log: (level: Level, message: string) => void;
  readonly #untoldEntries: MarkedEntries;
  /** Whether other nodes are to be told. */
  shared = false;
  /** The table of another size that has taken the place of this one. */
  #successor: LearnedSessions | undefined;

  constructor(zone: Zone, timeout: number, log: (level: Level, message: string) => void) {
    this.zone = zone;
    this.#timeout = timeout;
    this.#log = log;
    this.#entries = new LruHash(zone, OWN_WORDS);
    this.#untoldEntries = new MarkedEntries(this.#entries, (entry) => this.#isUntold(entry));
  }

  /** ms without use after which a session ends. */
  get timeout(): number {
    return this.#timeout;
  }

  /** Called in each process, before it serves: other nodes are to be told. */
  share(): void {
    this.shared = true;
    Atomics.compareExchange(this.zone.words, OWN + FRACTION, 0, 1 + (randomInt32() & 1022));
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

  /** A server has begun the session. */
  learn(key: string, sid: string): void {
    this.#learn(key, sid, undefined);
    this.#successor?.learn(key, sid);
  }

  /**
   * The session was served by the server of that sid. `was`: whose it was when it was looked for. If it is somebody else's by now, a
   * later request, of this node or another one, knows better.
   */
  use(key: string, sid: string, was: string): void {
    this.#learn(key, sid, was);
    this.#successor?.use(key, sid, was);
  }

  /** From now on another table has in this process what this one has, also of requests that still know this one alone. */
  succeed(next: LearnedSessions): void {
    this.#successor = next;
    const since = wallAt(now()) - RECENT_MS;
    for (const batch of allSessions(this, since)) next.merge(batch);
  }

  #learn(key: string, sid: string, was: string | undefined): void {
    this.#lock();
    try {
      const time = wallAt(now());
      const known = this.#entries.find(key);
      const entry = known ?? (was === undefined ? this.#insert(key, time) : undefined);
      if (entry === undefined) return;
      if (known !== undefined) {
        // Others may not revive what has ended.
        if (was !== undefined && this.#ended(entry, time)) {
          this.#remove(entry);
          return;
        }
        if (was !== undefined && this.#sid(entry) !== was) return;
        this.#entries.touch(entry);
      }
      if (known === undefined || this.#sid(entry) !== sid || this.#ended(entry, time)) this.#give(entry, sid, time);
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
      for (const { key, sid, given, last } of sessions) {
        // The clock may have been set back since.
        const used = Math.min(last, time);
        if (used + this.#timeout > time && !this.#put(key, sid, given, used)) break;
      }
      this.zone.words[OWN + RESTORED] = 1;
      this.#changed();
    } finally {
      entries.unlock();
    }
  }

  /** What other nodes have told. Returns how many found no room. */
  take(records: readonly TableRecord[]): number {
    let full = 0;
    this.#lock();
    try {
      const time = wallAt(now());
      for (const { key, value: sid = "", stamp, ends } of records) {
        const used = Math.min(ends - this.#timeout, time);
        const isSound = key.length === KEY && sid.length > 0 && sid.length <= MAX_SID;
        if (isSound && used + this.#timeout > time && !this.#put(key, sid, stamp, used)) full++;
      }
      this.#changed();
    } finally {
      this.#entries.unlock();
    }
    return full;
  }

  /** Sessions that other nodes are to be told of; some if there are any. */
  untoldOnes(most: number): readonly TableRecord[] {
    for (let calls = this.#untoldEntries.calls; calls > 0 && this.#own(UNTOLD) > 0; calls--) {
      this.#lock();
      try {
        const found = this.#untoldEntries.some(most);
        if (found.length > 0) return found.map((entry) => this.#record(entry));
      } finally {
        this.#entries.unlock();
      }
    }
    return [];
  }

  /** Other nodes know these. */
  told(records: readonly TableRecord[]): void {
    this.#eachOf(records, (entry) => this.#setUntold(entry, false));
  }

  /** Other nodes do not know these. */
  untell(records: readonly TableRecord[]): void {
    this.#eachOf(records, (entry) => this.#setUntold(entry, true));
  }

  #eachOf(records: readonly TableRecord[], work: (entry: number) => void): void {
    this.#lock();
    try {
      for (const { key, stamp } of records) {
        const entry = this.#entries.find(key);
        if (entry !== undefined && this.#given(entry) === stamp) work(entry);
      }
    } finally {
      this.#entries.unlock();
    }
  }

  /** Has other nodes told of all that were used since then. */
  untellUsedSince(time: number): void {
    for (const _ of this.#buckets((entry) => {
      if (this.#last(entry) >= time) this.#setUntold(entry, true);
    }));
  }

  /** All sessions, in no order. */
  *everything(): Generator<readonly TableRecord[]> {
    let found: TableRecord[] = [];
    for (const _ of this.#buckets((entry) => found.push(this.#record(entry)))) {
      yield found;
      found = [];
    }
  }

  /** Calls `work` for each entry, a batch of buckets at a time. */
  *#buckets(work: (entry: number) => void): Generator<void> {
    const entries = this.#entries;
    for (let bucket = 0; bucket < entries.buckets; ) {
      this.#lock();
      try {
        const end = Math.min(bucket + BUCKETS_AT_ONCE, entries.buckets);
        for (; bucket < end; bucket++) {
          for (let entry = entries.inBucket(bucket); entry !== undefined; entry = entries.chained(entry)) {
            if (this.#sid(entry) !== "") work(entry);
          }
        }
      } finally {
        entries.unlock();
      }
      yield;
    }
  }

  #record(entry: number): TableRecord {
    return {
      key: this.#entries.key(entry),
      value: this.#sid(entry),
      stamp: this.#given(entry),
      ends: this.#last(entry) + this.#timeout,
    };
  }

  /** Adds a session, or what is later than what is known of it. False where there is no room. */
  #put(key: string, sid: string, given: number, used: number): boolean {
    const entries = this.#entries;
    const known = entries.find(key);
    if (known !== undefined) {
      const before = this.#given(known);
      if (before > given || (before === given && this.#last(known) >= used)) return true;
    }
    const entry = known ?? entries.insert(key, VALUE_BYTES) ?? this.#insertForOldest(key);
    if (entry === undefined) return false;
    if (known !== undefined) entries.touch(entry);
    if (known === undefined || this.#given(entry) !== given) {
      this.#setSid(entry, sid);
      this.#setGiven(entry, given);
    }
    if (used > this.#last(entry)) this.#setLast(entry, used);
    return true;
  }

  /** The session is that server's from now on, whatever clock the node has that gave it to another. */
  #give(entry: number, sid: string, time: number): void {
    const given = Math.max(time + this.#own(FRACTION) / 1024, this.#given(entry) + 1);
    this.#setSid(entry, sid);
    this.#setGiven(entry, given);
    this.#setUntold(entry, this.shared);
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
        if (sid !== "") {
          found.push({ key: entries.key(entry), last: this.#last(entry), given: this.#given(entry), sid });
        }
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
    if (oldest !== undefined) this.#remove(oldest);
    return this.#entries.insert(key, VALUE_BYTES);
  }

  #expire(most: number, time: number): boolean {
    for (let left = most; left > 0; left--) {
      const { oldest } = this.#entries;
      if (oldest === undefined || !this.#ended(oldest, time)) return false;
      this.#remove(oldest);
      this.#changed();
    }
    return true;
  }

  /** True for one, too, whose writer has died before it had a sid. */
  #ended(entry: number, time: number): boolean {
    return this.#last(entry) + this.#timeout <= time || this.#length(entry) === 0;
  }

  #remove(entry: number): void {
    this.#setUntold(entry, false);
    this.#entries.remove(entry);
  }

  #lock(): void {
    if (!this.#entries.lock()) return;
    let untold = 0;
    for (let entry = this.#entries.oldest; entry !== undefined; entry = this.#entries.newer(entry)) {
      if (this.#isUntold(entry)) untold++;
    }
    this.zone.words[OWN + UNTOLD] = untold;
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

  #given(entry: number): number {
    return this.zone.floats[(this.#entries.value(entry) >> 1) + 1];
  }

  #setGiven(entry: number, time: number): void {
    this.zone.floats[(this.#entries.value(entry) >> 1) + 1] = time;
  }

  #sid(entry: number): string {
    const from = this.#at(entry) + SID;
    return this.zone.bytes.latin1Slice(from, from + this.#length(entry));
  }

  #length(entry: number): number {
    return Math.min(this.zone.bytes[this.#at(entry) + LENGTH] & ~UNTOLD_FLAG, MAX_SID);
  }

  #isUntold(entry: number): boolean {
    return (this.zone.bytes[this.#at(entry) + LENGTH] & UNTOLD_FLAG) !== 0;
  }

  #setUntold(entry: number, untold: boolean): void {
    if (this.#isUntold(entry) === untold) return;
    this.zone.bytes[this.#at(entry) + LENGTH] ^= UNTOLD_FLAG;
    this.zone.words[OWN + UNTOLD] += untold ? 1 : -1;
  }

  /** The length is 0 meanwhile: who dies here leaves no sid that is none. */
  #setSid(entry: number, sid: string): void {
    this.#setUntold(entry, false);
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
