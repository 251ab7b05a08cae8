import type { LruHash } from "./lru_hash.ts";

/** Looked at in one call. */
const NEWEST = 1000;
const BUCKETS = 2048;

/** The table whose entries they are. */
interface Locked {
  lock(): void;
  unlock(): void;
}

/** Finds the entries that their owner has marked, where few are: those used last first, then one bucket after the other. */
export class MarkedEntries {
  readonly #entries: LruHash;
  readonly #isMarked: (entry: number) => boolean;
  /** Where it goes on. */
  #bucket = 0;

  constructor(entries: LruHash, isMarked: (entry: number) => boolean) {
    this.#entries = entries;
    this.#isMarked = isMarked;
  }

  /** About so many of them, as `read` makes them, which has the lock; some if there are any. `count`: how many there are. */
  collect<T>(most: number, table: Locked, count: () => number, read: (entry: number) => T): readonly T[] {
    const all = Math.ceil(this.#entries.buckets / BUCKETS) + 1;
    for (let calls = all; calls > 0 && count() > 0; calls--) {
      table.lock();
      try {
        const found = this.#some(most);
        if (found.length > 0) return found.map(read);
      } finally {
        table.unlock();
      }
    }
    return [];
  }

  /** Some of them; not all entries are looked at in one call. Wants the lock held. */
  #some(most: number): number[] {
    const entries = this.#entries;
    const found: number[] = [];
    let left = NEWEST;
    for (let entry = entries.newest; entry !== undefined && left-- > 0; entry = entries.older(entry)) {
      if (!this.#isMarked(entry)) continue;
      found.push(entry);
      if (found.length === most) return found;
    }
    if (found.length > 0) return found;
    for (let buckets = BUCKETS; buckets > 0 && found.length < most; buckets--) {
      this.#bucket = (this.#bucket + 1) & (entries.buckets - 1);
      for (let entry = entries.inBucket(this.#bucket); entry !== undefined; entry = entries.chained(entry)) {
        if (this.#isMarked(entry)) found.push(entry);
      }
    }
    return found;
  }
}
