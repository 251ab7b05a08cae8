import type { Zone, ZoneKind } from "../../shm/zone.ts";
import { wallNow } from "../../sys/clock.ts";
import { type Pair, PairEntries, UNTOLD_FLAG, WORD } from "./pair_entries.ts";
import type { PairType } from "./pair_key.ts";

export const KEYVAL_ZONE: ZoneKind = { name: "keyval", version: 1 };

/** Buckets looked through at a time while the lock is held. */
const BUCKETS_AT_ONCE = 512;

/** What `load` has come to. */
export const LOADING = { blank: 0, done: 1, failed: 2 } as const;

/** The pairs of a keyval zone, by what their keys are filed under: each operation takes the zone's lock. */
export class PairTable {
  readonly zone: Zone;
  readonly #entries: PairEntries;
  /** Whether others are to hear of changes. */
  shared = false;

  /** `log` gets an [alert]. */
  constructor(zone: Zone, type: PairType, log: (sentence: string) => void) {
    this.zone = zone;
    this.#entries = new PairEntries(zone, type, log);
  }

  /** The value that a request's key finds; undefined for none. */
  find(key: string): string | undefined {
    this.#entries.lock();
    try {
      const entry = this.#entries.find(key);
      return entry === undefined ? undefined : this.#entries.value(entry);
    } finally {
      this.#entries.unlock();
    }
  }

  /** The pair of that very key. */
  get(key: string): Pair | undefined {
    this.#entries.lock();
    try {
      const entry = this.#entries.hash.find(key);
      return entry !== undefined && this.#entries.isLiving(entry, wallNow()) ? this.#entries.pair(entry) : undefined;
    } finally {
      this.#entries.unlock();
    }
  }

  /** Sets a pair that ends then. */
  set(key: string, value: string, ends: number): "done" | "full" {
    this.#entries.lock();
    try {
      const stamp = this.#entries.stampFor(this.#entries.hash.find(key));
      const written = this.#entries.write({ key, value, ends, stamp }, this.shared ? UNTOLD_FLAG : 0);
      if (written === "done") this.#entries.changed();
      return written;
    } finally {
      this.#entries.unlock();
    }
  }

  /** Removes a pair; false if there is none. `ends`: until when others may have it. */
  remove(key: string, ends: number): boolean {
    this.#entries.lock();
    try {
      const entry = this.#entries.hash.find(key);
      if (entry === undefined || !this.#entries.isLiving(entry, wallNow())) return false;
      if (this.shared)
        this.#entries.write({ key, value: undefined, ends, stamp: this.#entries.stampFor(entry) }, UNTOLD_FLAG);
      else this.#entries.drop(entry);
      this.#entries.changed();
      return true;
    } finally {
      this.#entries.unlock();
    }
  }

  /** What somebody else has changed, or an earlier run: it counts if it is later than what is there. `untold`: others do not know it. */
  merge(pairs: readonly Pair[], untold: boolean): { readonly full: number; readonly merged: number } {
    let full = 0;
    let merged = 0;
    this.#entries.lock();
    try {
      const time = wallNow();
      for (const pair of pairs) {
        if (pair.ends <= time) continue;
        const known = this.#entries.hash.find(pair.key);
        if (known !== undefined && !this.#entries.gives(known, pair)) continue;
        const written = this.#entries.write(pair, untold ? UNTOLD_FLAG : 0);
        if (written === "full") full++;
        else merged++;
      }
      if (merged > 0) this.#entries.changed();
    } finally {
      this.#entries.unlock();
    }
    return { full, merged };
  }

  /** Calls `load` if nobody has yet; none else sees the table meanwhile. `load` answers whether it has worked. */
  loadOnce(load: () => readonly Pair[] | undefined): { readonly loaded: number; readonly full: number } | undefined {
    if (this.loading !== LOADING.blank) return undefined;
    const pairs = load();
    this.#entries.lock();
    try {
      if (this.loading !== LOADING.blank) return undefined;
      this.#entries.setWord(WORD.loaded, pairs === undefined ? LOADING.failed : LOADING.done);
      let full = 0;
      const time = wallNow();
      let loaded = 0;
      for (const pair of pairs ?? []) {
        if (pair.ends <= time || this.#entries.hash.find(pair.key) !== undefined) continue;
        if (this.#entries.write(pair, this.shared ? UNTOLD_FLAG : 0) === "full") full++;
        else loaded++;
      }
      return { loaded, full };
    } finally {
      this.#entries.unlock();
    }
  }

  /** Takes over the lock if a process that has exited held it. */
  recover(): void {
    this.#entries.lock();
    this.#entries.unlock();
  }

  get loading(): number {
    return this.#entries.glance(WORD.loaded);
  }

  /** Changes so far; wraps. */
  get changes(): number {
    return this.#entries.glance(WORD.changes);
  }

  /** Whether there may be something that has ended. */
  get mortal(): boolean {
    return this.#entries.glance(WORD.mortal) !== 0;
  }

  get untold(): number {
    return this.#entries.glance(WORD.untold);
  }

  /** Pairs and marks. */
  get size(): number {
    return this.#entries.hash.size;
  }

  get marks(): number {
    return this.#entries.glance(WORD.marks);
  }

  /**
   * All there is, batch by batch: what stays is met once. `marks`: what was removed, too. What has ended is left out.
   */
  *all(marks: boolean): Generator<readonly Pair[]> {
    const entries = this.#entries;
    for (let bucket = 0; bucket < entries.hash.buckets; ) {
      const found: Pair[] = [];
      this.#entries.lock();
      try {
        const time = wallNow();
        for (let left = BUCKETS_AT_ONCE; left > 0 && bucket < entries.hash.buckets; left--, bucket++) {
          for (let entry = entries.hash.inBucket(bucket); entry !== undefined; entry = entries.hash.chained(entry)) {
            if (this.#entries.isLiving(entry, time) || (marks && this.#entries.isMark(entry, time)))
              found.push(this.#entries.pair(entry));
          }
        }
      } finally {
        entries.unlock();
      }
      yield found;
    }
  }

  /** Removes what has ended, bucket by bucket. */
  *sweep(): Generator<void> {
    const entries = this.#entries;
    for (let bucket = 0; bucket < entries.hash.buckets; ) {
      this.#entries.lock();
      try {
        bucket = this.#entries.sweepSome(bucket, BUCKETS_AT_ONCE, false);
      } finally {
        entries.unlock();
      }
      yield;
    }
  }

  /** Pairs that others are to be told, about so many, the newest first; some if there are any. */
  untoldOnes(most: number): readonly Pair[] {
    const entries = this.#entries;
    const count = (): number => this.untold;
    return entries.untold.collect(most, entries, count, (entry) => entries.pair(entry));
  }

  /** Others know these changes. */
  told(pairs: readonly Pair[]): void {
    this.#entries.lock();
    try {
      for (const { key, stamp } of pairs) {
        const entry = this.#entries.hash.find(key);
        if (entry !== undefined && this.#entries.stamp(entry) === stamp)
          this.#entries.setFlags(entry, this.#entries.flags(entry) & ~UNTOLD_FLAG);
      }
    } finally {
      this.#entries.unlock();
    }
  }

  /** Others do not know these. */
  untell(pairs: readonly Pair[]): void {
    this.#entries.lock();
    try {
      for (const { key, stamp } of pairs) {
        const entry = this.#entries.hash.find(key);
        if (entry === undefined || this.#entries.stamp(entry) !== stamp) continue;
        this.#entries.setFlags(entry, this.#entries.flags(entry) | UNTOLD_FLAG);
        this.#entries.hash.touch(entry);
      }
    } finally {
      this.#entries.unlock();
    }
  }
}
