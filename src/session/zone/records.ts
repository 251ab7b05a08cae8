import type { Environment, Table } from "./environment.ts";

/** What a record is: a session under its id, or an item of memcached's under its key (at most 500 bytes). */
export type Kind = "session" | "item";

/** What happened to records that nobody asked to be removed. */
export interface RecordsOwner {
  /** There was no room for so many, which would have ended first. */
  onEvicted(count: number): void;
}

const TAGS: Readonly<Record<Kind, number>> = { session: 1, item: 2 };
const NOTHING = Buffer.alloc(0);
/** In the key of an end: bytes of its time, big-endian, before the record's kind and key. */
const TIME = 6;
/** How many records give way at a time, and how many that have ended are removed in one transaction. */
const EVICTED_AT_ONCE = 32;
const SWEPT_AT_ONCE = 128;
/** The room that is taken is measured when so much of all was written since (by this process). */
const MEASURED_AFTER = 1 / 64;

/**
 * Records on LMDB, by kind and key, each with the time at which it ends (wall-clock ms). When they take more than their room,
 * those that end first give way. Writing goes on within `write` alone: one transaction, after which a death loses nothing of it.
 */
export class Records {
  readonly #environment: Environment;
  readonly #size: number;
  readonly #owner: RecordsOwner;
  #written = 0;
  #crowded = true;

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
   * turn of libuv's loop, which may be many of ours.
   */
  refresh(): void {
    this.#environment.sessions.resetReadTxn();
  }

  /**
   * One transaction: all of it is written, or nothing where this throws. Other processes wait meanwhile, so `work` must be short. What it
   * returns is what this returns.
   */
  write<T>(work: () => T): T {
    return this.#environment.root.transactionSync(() => {
      const result = work();
      this.#makeRoom();
      return result;
    });
  }

  /** The same, beside the event loop. The promise is kept when the disk has it all. */
  async writeThrough<T>(work: () => T): Promise<T> {
    const { root } = this.#environment;
    const result = await root.transaction(() => {
      const made = work();
      this.#makeRoom();
      return made;
    });
    await root.flushed;
    return result;
  }

  /** Within `write`. `before`: when the record ended that it replaces; undefined where there was none. */
  put(kind: Kind, key: Buffer, bytes: Buffer, ends: number, before: number | undefined): void {
    const { ends: index } = this.#environment;
    this.#table(kind).putSync(key, bytes);
    this.#written += key.length + bytes.length;
    if (before === ends) return;
    if (before !== undefined) index.removeSync(endKey(kind, key, before));
    index.putSync(endKey(kind, key, ends), NOTHING);
  }

  /** Within `write`. `ends`: when it would have ended. */
  remove(kind: Kind, key: Buffer, ends: number): void {
    this.#table(kind).removeSync(key);
    this.#environment.ends.removeSync(endKey(kind, key, ends));
  }

  /** Removes some of those that have ended. Returns how many: none when no such record is left. */
  sweep(now: number): number {
    const { ends, root } = this.#environment;
    const until = Buffer.alloc(TIME);
    until.writeUIntBE(now, 0, TIME);
    ends.resetReadTxn();
    const [first] = ends.getKeys({ end: until, limit: 1 });
    if (first === undefined) return 0;
    return root.transactionSync(() => this.#removeFirst(SWEPT_AT_ONCE, until));
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
    return statsOf(this.#environment.sessions).transaction;
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
    const evicted = this.#removeFirst(EVICTED_AT_ONCE);
    if (evicted === 0) this.#crowded = false;
    else this.#owner.onEvicted(evicted);
  }

  /** Removes those that end first, and before `until`. */
  #removeFirst(most: number, until?: Buffer): number {
    const { ends } = this.#environment;
    const first = [...ends.getKeys({ limit: most, ...(until === undefined ? {} : { end: until }) })];
    for (const key of first) {
      const kind = key[TIME] === TAGS.session ? "session" : "item";
      this.#table(kind).removeSync(Buffer.from(key.subarray(TIME + 1)));
      ends.removeSync(key);
    }
    return first.length;
  }
}

function endKey(kind: Kind, key: Buffer, ends: number): Buffer {
  const end = Buffer.alloc(TIME + 1 + key.length);
  end.writeUIntBE(ends, 0, TIME);
  end[TIME] = TAGS[kind];
  key.copy(end, TIME + 1);
  return end;
}

/** What the library's untyped statistics say. */
function statsOf(table: Table): {
  readonly pages: number;
  readonly entries: number;
  readonly pageSize: number;
  readonly transaction: number;
} {
  const stats: object = table.getStats();
  const number = (name: string): number => {
    const value: unknown = Reflect.get(stats, name);
    return typeof value === "number" ? value : 0;
  };
  const pages = number("treeBranchPageCount") + number("treeLeafPageCount") + number("overflowPages");
  return { pages, entries: number("entryCount"), pageSize: number("pageSize"), transaction: number("lastTxnId") };
}
