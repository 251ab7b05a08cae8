import type { LruHash } from "./lru_hash.ts";

/** Looked at in one call. */
const NEWEST = 1000;
const BUCKETS = 2048;

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

  /** How many calls look at all entries. */
  get calls(): number {
    return Math.ceil(this.#entries.buckets / BUCKETS) + 1;
  }

  /** Some of them; not all entries are looked at in one call. Wants the lock held. */
  some(most: number): number[] {
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
