import type { Level } from "../../runtime/log/log.ts";
import type { Zone, ZoneKind } from "../../shm/zone.ts";
import { crypto } from "../../sys/builtin.ts";
import { now, wallAt } from "../../sys/clock.ts";
import type { TableRecord } from "../../wire/table_records.ts";
import { CHANGES, LearnedEntries, MAX_SID, RESTORED, UNTOLD } from "./learned_entries.ts";

/** Which session belongs to which server: the zone of `sticky learn`, exact over all workers. */
export const LEARNED_ZONE: ZoneKind = { name: "sticky", version: 2 };

/** What was used so lately may have changed since a new table's contents were copied; ms. */
const RECENT_MS = 60_000;

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
  readonly #entries: LearnedEntries;
  /** The table of another size that has taken the place of this one. */
  #successor: LearnedSessions | undefined;

  constructor(zone: Zone, timeout: number, log: (level: Level, message: string) => void) {
    this.zone = zone;
    this.#timeout = timeout;
    this.#entries = new LearnedEntries(zone, timeout, log);
  }

  /** ms without use after which a session ends. */
  get timeout(): number {
    return this.#timeout;
  }

  /** Called in each process, before it serves: other nodes are to be told. */
  share(): void {
    this.#entries.share();
  }

  /** The sid of the session's server; "" where there is no such session. */
  find(key: string): string {
    this.#entries.lock();
    try {
      const entry = this.#entries.hash.find(key);
      return entry === undefined || this.#entries.ended(entry, wallAt(now())) ? "" : this.#entries.sid(entry);
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
    this.#entries.lock();
    try {
      const time = wallAt(now());
      const known = this.#entries.hash.find(key);
      const entry = known ?? (was === undefined ? this.#entries.insert(key, time) : undefined);
      if (entry === undefined) return;
      if (known !== undefined) {
        // Others may not revive what has ended.
        if (was !== undefined && this.#entries.ended(entry, time)) {
          this.#entries.remove(entry);
          return;
        }
        if (was !== undefined && this.#entries.sid(entry) !== was) return;
        this.#entries.hash.touch(entry);
      }
      if (known === undefined || this.#entries.sid(entry) !== sid || this.#entries.ended(entry, time))
        this.#entries.give(entry, sid, time);
      this.#entries.setLast(entry, time);
      this.#entries.changed();
    } finally {
      this.#entries.unlock();
    }
  }

  /** Removes up to so many sessions that have ended; false once there are none left. */
  expire(most: number): boolean {
    this.#entries.lock();
    try {
      return this.#entries.expire(most, wallAt(now()));
    } finally {
      this.#entries.unlock();
    }
  }

  /** Changes so far; wraps. */
  get changes(): number {
    return this.#entries.own(CHANGES);
  }

  /** Whether this process is to read what earlier runs left: nobody has done it yet. */
  get blank(): boolean {
    return this.#entries.own(RESTORED) === 0;
  }

  /** Adds sessions, in the order of their last use: what is known and was used later stays. Then the table is not blank. */
  merge(sessions: readonly LearnedSession[]): void {
    const entries = this.#entries.hash;
    this.#entries.lock();
    try {
      const time = wallAt(now());
      for (const { key, sid, given, last } of sessions) {
        // The clock may have been set back since.
        const used = Math.min(last, time);
        if (used + this.#timeout > time && !this.#entries.put(key, sid, given, used)) break;
      }
      this.#entries.setOwn(RESTORED, 1);
      this.#entries.changed();
    } finally {
      entries.unlock();
    }
  }

  /** What other nodes have told. Returns how many found no room. */
  take(records: readonly TableRecord[]): number {
    let full = 0;
    this.#entries.lock();
    try {
      const time = wallAt(now());
      for (const { key, value: sid = "", stamp, ends } of records) {
        const used = Math.min(ends - this.#timeout, time);
        const isSound = key.length === KEY && sid.length > 0 && sid.length <= MAX_SID;
        if (isSound && used + this.#timeout > time && !this.#entries.put(key, sid, stamp, used)) full++;
      }
      this.#entries.changed();
    } finally {
      this.#entries.unlock();
    }
    return full;
  }

  /** Sessions that other nodes are to be told of; some if there are any. */
  untoldOnes(most: number): readonly TableRecord[] {
    const entries = this.#entries;
    const count = (): number => entries.own(UNTOLD);
    return entries.untold.collect(most, entries, count, (entry) => entries.record(entry));
  }

  /** Other nodes know these. */
  told(records: readonly TableRecord[]): void {
    this.#eachOf(records, (entry) => this.#entries.setUntold(entry, false));
  }

  /** Other nodes do not know these. */
  untell(records: readonly TableRecord[]): void {
    this.#eachOf(records, (entry) => this.#entries.setUntold(entry, true));
  }

  #eachOf(records: readonly TableRecord[], work: (entry: number) => void): void {
    this.#entries.lock();
    try {
      for (const { key, stamp } of records) {
        const entry = this.#entries.hash.find(key);
        if (entry !== undefined && this.#entries.given(entry) === stamp) work(entry);
      }
    } finally {
      this.#entries.unlock();
    }
  }

  /** Has other nodes told of all that were used since then. */
  untellUsedSince(time: number): void {
    for (const _ of this.#buckets((entry) => {
      if (this.#entries.last(entry) >= time) this.#entries.setUntold(entry, true);
    }));
  }

  /** All sessions, in no order. */
  *everything(): Generator<readonly TableRecord[]> {
    let found: TableRecord[] = [];
    for (const _ of this.#buckets((entry) => found.push(this.#entries.record(entry)))) {
      yield found;
      found = [];
    }
  }

  /** Calls `work` for each entry, a batch of buckets at a time. */
  *#buckets(work: (entry: number) => void): Generator<void> {
    const entries = this.#entries.hash;
    for (let bucket = 0; bucket < entries.buckets; ) {
      this.#entries.lock();
      try {
        const end = Math.min(bucket + BUCKETS_AT_ONCE, entries.buckets);
        for (; bucket < end; bucket++) {
          for (let entry = entries.inBucket(bucket); entry !== undefined; entry = entries.chained(entry)) {
            if (this.#entries.sid(entry) !== "") work(entry);
          }
        }
      } finally {
        entries.unlock();
      }
      yield;
    }
  }

  /** Up to so many sessions used last at or after `from` (of several of that time, those behind `key`), the oldest first. */
  some(from: number, key: string | undefined, most: number): LearnedSession[] {
    const entries = this.#entries.hash;
    const found: LearnedSession[] = [];
    this.#entries.lock();
    try {
      for (
        let entry = this.#place(from, key);
        entry !== undefined && found.length < most;
        entry = entries.newer(entry)
      ) {
        const sid = this.#entries.sid(entry);
        if (sid !== "") {
          found.push({
            key: entries.key(entry),
            last: this.#entries.last(entry),
            given: this.#entries.given(entry),
            sid,
          });
        }
      }
      return found;
    } finally {
      entries.unlock();
    }
  }

  /** The entry behind that of `key` where that was not used since, else the first one used at or after `from`. */
  #place(from: number, key: string | undefined): number | undefined {
    const entries = this.#entries.hash;
    const known = key === undefined ? undefined : entries.find(key);
    if (known !== undefined && this.#entries.last(known) === from) return entries.newer(known);
    let entry = entries.oldest;
    while (entry !== undefined && this.#entries.last(entry) < from) entry = entries.newer(entry);
    return entry;
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
