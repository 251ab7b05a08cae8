import { type Environment, statsOf, type Table } from "./environment.ts";

/** What a record is: a session under its id, or an item of memcached's under its key (at most 500 bytes). */
export type Kind = "session" | "item";

/** Who knows what records are. */
export interface RecordsOwner {
  /** When a record ends, by what it has in it; undefined where nobody can tell. */
  endOf(kind: Kind, bytes: Buffer): number | undefined;
  /** There was no room for so many, which would have ended first. */
  onEvicted(count: number): void;
}

/** What became of entries of the table of ends. */
export interface Looked {
  readonly looked: number;
  /** Of them, whose records were removed. */
  readonly removed: number;
}

const NONE: Looked = { looked: 0, removed: 0 };
const TAGS: Readonly<Record<Kind, number>> = { session: 1, item: 2 };
const NOTHING = Buffer.alloc(0);
/** In the key of an end: bytes of its time, big-endian, before the record's kind and key. */
const TIME = 6;
/** How many records give way at a time, and how many entries of the table of ends are looked at in one transaction. */
const EVICTED_AT_ONCE = 32;
const LOOKED_AT_ONCE = 128;
/** The room that is taken is measured when so much of all was written since (by this process). */
const MEASURED_AFTER = 1 / 64;

/**
 * Records on LMDB, by kind and key, each with the time at which it ends (wall-clock ms). When they take more than their room,
 * those that end first give way. Writing goes on within `write` alone: one transaction, after which a death loses nothing of it.
 *
 * A record has an entry in the table of ends at a time before which it does not end. It stays where it is while the record's end
 * moves on: otherwise each use of a session would cost as much there as in the record itself. Whoever comes to an entry whose record
 * ends later moves it.
 */
export class Records {
  readonly #environment: Environment;
  readonly #size: number;
  readonly #owner: RecordsOwner;
  #written = 0;
  #crowded = true;
  /** What `get` sees is as of this commit, or of a later one. */
  #readAt = -1;
  /** The last commit that `epoch` knows of. */
  #seen = -1;
  #epoch = 0;
  /** Within `write`. */
  writing = false;
  /** Of the last `write`: how much was put, and whether records gave way. */
  #puts = 0;
  #evicted = false;
  /** Transactions beside the event loop begin after that, in their order. */
  #held: Promise<void> | undefined = undefined;

  /** `size`: bytes that records may take, with what LMDB needs for them. */
  constructor(environment: Environment, size: number, owner: RecordsOwner) {
    this.#environment = environment;
    this.#size = size;
    this.#owner = owner;
  }

  /** A record's bytes. Outside of `write` as of the last `refresh`, or of some time later. */
  get(kind: Kind, key: Buffer): Buffer | undefined {
    return this.#table(kind).getBinary(key);
  }

  /** Some of a kind in the order of their keys, beginning behind one; as of now. */
  some(kind: Kind, most: number, after: Buffer | undefined): (readonly [key: Buffer, bytes: Buffer])[] {
    this.refresh();
    const range = after === undefined ? {} : { start: after, exclusiveStart: true };
    const found = this.#table(kind).getRange({ limit: most, ...range });
    return [...found].map(({ key, value }) => [Buffer.from(key), value]);
  }

  /**
   * What any process has written by now is seen by what follows in this event. By itself the library looks again only in the next
   * turn of libuv's loop, which may be many of ours; it starts a timer each time.
   */
  refresh(): void {
    const { commits, root } = this.#environment;
    const { last } = commits;
    if (last === this.#readAt) return;
    this.#readAt = last;
    root.resetReadTxn();
  }

  /**
   * The same number as before where nothing was written since but by `write` here, of which whoever calls it knows. Within `write`: since
   * before it.
   */
  get epoch(): number {
    this.#look();
    return this.#epoch;
  }

  #look(): void {
    const { last } = this.#environment.commits;
    if (last === this.#seen) return;
    this.#seen = last;
    this.#epoch++;
  }

  /**
   * One transaction: all of it is written, or nothing where this throws. Other processes wait meanwhile, so `work` must be short. What it
   * returns is what this returns.
   */
  write<T>(work: () => T): T {
    const { commits } = this.#environment;
    try {
      const result = this.#environment.write(() => {
        this.#begin();
        const made = work();
        this.#makeRoom();
        return made;
      });
      // It is ours, if something was written, and if nobody has written since.
      if (this.#puts > 0 && !this.#evicted && commits.last === this.#seen + 1) this.#seen++;
      return result;
    } catch (error) {
      this.#epoch++;
      throw error;
    } finally {
      this.writing = false;
    }
  }

  /** Nobody else commits from here on. */
  #begin(): void {
    this.writing = true;
    this.#look();
    this.#puts = 0;
    this.#evicted = false;
  }

  /** The same, beside the event loop. The promise is kept when the disk has it all. */
  async writeThrough<T>(work: () => T): Promise<T> {
    const { root, lock } = this.#environment;
    if (lock.awaited) this.#held ??= this.#untilNoneIsAwaited();
    if (this.#held !== undefined) await this.#held;
    let result: T;
    lock.hold();
    try {
      result = await root.transaction(() => {
        const made = work();
        this.#makeRoom();
        return made;
      });
    } finally {
      lock.release();
    }
    await root.flushed;
    return result;
  }

  async #untilNoneIsAwaited(): Promise<void> {
    while (this.#environment.lock.awaited) await new Promise((resolve) => setImmediate(resolve));
    this.#held = undefined;
  }

  /** Writes in one transaction, and calls one of these after it: now, or with `sync` when the disk has it all. */
  commit(sync: boolean, work: () => void, written: () => void, failed: (error: unknown) => void): void {
    if (sync) {
      this.writeThrough(work).then(written, failed);
      return;
    }
    try {
      this.write(work);
    } catch (error) {
      failed(error);
      return;
    }
    written();
  }

  /** Within `write`. `before`: when the record ended that it replaces; undefined where there was none. */
  put(kind: Kind, key: Buffer, bytes: Buffer, ends: number, before: number | undefined): void {
    this.#table(kind).putSync(key, bytes);
    this.#puts++;
    this.#written += key.length + bytes.length;
    if (before === undefined || ends < before) this.#environment.ends.putSync(endKey(kind, key, ends), NOTHING);
  }

  /** Within `write`. `ends`: when it would have ended. */
  remove(kind: Kind, key: Buffer, ends: number): void {
    this.#table(kind).removeSync(key);
    // Where its end has moved on, the entry is left for `sweep`.
    this.#environment.ends.removeSync(endKey(kind, key, ends));
  }

  /** Removes some of those that have ended. It has looked at none when no such record is left. */
  sweep(now: number): Looked {
    const { ends } = this.#environment;
    ends.resetReadTxn();
    const [first] = ends.getKeys({ end: timeKey(now), limit: 1 });
    if (first === undefined) return NONE;
    return this.#environment.write(() => this.#removeFirst(LOOKED_AT_ONCE, now));
  }

  /** Gives back what readers that died hold. To be called now and then in one process: else the file grows. */
  checkReaders(): void {
    this.#environment.root.readerCheck();
  }

  /** Writes all that there is into a database in another directory, beside the event loop. */
  copyTo(directory: string): Promise<void> {
    return this.#environment.root.backup(directory, true);
  }

  /** Grows with each transaction of any process. */
  get transaction(): number {
    return this.#environment.commits.last;
  }

  /** Bytes that records take, and how many there are. */
  usage(): { readonly bytes: number; readonly sessions: number; readonly items: number } {
    const { sessions, items, ends } = this.#environment;
    const stats = [sessions, items, ends].map(statsOf);
    const bytes = stats.reduce((sum, { pages, pageSize }) => sum + pages * pageSize, 0);
    return { bytes, sessions: stats[0].entries, items: stats[1].entries };
  }

  #table(kind: Kind): Table {
    return kind === "session" ? this.#environment.sessions : this.#environment.items;
  }

  #makeRoom(): void {
    if (this.#written > this.#size * MEASURED_AFTER) {
      this.#written = 0;
      this.#crowded = true;
    }
    if (!this.#crowded) return;
    this.#crowded = this.usage().bytes > this.#size;
    if (!this.#crowded) return;
    const { looked, removed } = this.#removeFirst(EVICTED_AT_ONCE);
    if (looked === 0) this.#crowded = false;
    if (removed === 0) return;
    this.#evicted = true;
    this.#owner.onEvicted(removed);
  }

  /** Removes up to `most` of those that end first, or that have ended by `now`, and moves the entries of others. */
  #removeFirst(most: number, now?: number): Looked {
    const { ends } = this.#environment;
    const until = now === undefined ? {} : { end: timeKey(now) };
    let removed = 0;
    let looked = 0;
    while (removed < most && looked < LOOKED_AT_ONCE) {
      const limit = Math.min(most - removed, LOOKED_AT_ONCE - looked);
      const first = [...ends.getKeys({ limit, ...until })];
      if (first.length === 0) break;
      looked += first.length;
      for (const entry of first) if (this.#settle(entry, now)) removed++;
    }
    return { looked, removed };
  }

  /** Does away with an entry of the table of ends: true where its record went too. */
  #settle(entry: Buffer, now: number | undefined): boolean {
    const { ends } = this.#environment;
    const kind = entry[TIME] === TAGS.session ? "session" : "item";
    const key = Buffer.from(entry.subarray(TIME + 1));
    const table = this.#table(kind);
    const bytes = table.getBinary(key);
    ends.removeSync(entry);
    if (bytes === undefined) return false;
    const time = entry.readUIntBE(0, TIME);
    const end = this.#owner.endOf(kind, bytes) ?? time;
    if (end > (now ?? time)) {
      ends.putSync(endKey(kind, key, end), NOTHING);
      return false;
    }
    table.removeSync(key);
    return true;
  }
}

function timeKey(time: number): Buffer {
  const key = Buffer.alloc(TIME);
  key.writeUIntBE(time, 0, TIME);
  return key;
}

function endKey(kind: Kind, key: Buffer, ends: number): Buffer {
  const end = Buffer.alloc(TIME + 1 + key.length);
  end.writeUIntBE(ends, 0, TIME);
  end[TIME] = TAGS[kind];
  key.copy(end, TIME + 1);
  return end;
}
