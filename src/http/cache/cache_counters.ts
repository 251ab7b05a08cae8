import { MAX_WORKERS } from "../../runtime/application.ts";
import type { ZoneWanted } from "../../shm/registry.ts";
import type { Zone } from "../../shm/zone.ts";
import type { CacheStatus } from "../core/upstream.ts";

/**
 * What a cache has done, for the status page: numbers in shared memory, a row for each worker, which alone writes it. So
 * counting takes no lock, and the sums are right over all workers, reloads, and deaths.
 */

/** Places in a row. Responses of each kind; then bytes of bodies, for those out of the cache. */
const RESPONSES: Readonly<Record<CacheStatus, number>> = {
  HIT: 0,
  STALE: 1,
  UPDATING: 2,
  REVALIDATED: 3,
  MISS: 4,
  EXPIRED: 5,
  BYPASS: 6,
};
const BYTES = 8;
/** Responses out of a worker's memory. */
const FROM_MEMORY = 12;
/** Answers that were stored, and their bytes. */
const STORED = 13;
const STORED_BYTES = 14;
/** What the worker has in memory, bytes: the only one that goes down. */
const MEMORY = 15;
const ROW = 16;

/** The zone beside a cache's index, of that kind and name. */
export function countersZone(index: Pick<ZoneWanted, "kind" | "name">): ZoneWanted {
  const { name } = index;
  const kind = { name: `${index.kind.name} counters`, version: 1 };
  return { kind, name, size: MAX_WORKERS * ROW * 8 };
}

export interface CacheCounts {
  readonly responses: number;
  /** Of bodies. */
  readonly bytes: number;
}

export class CacheCounters {
  readonly #all: Float64Array;
  #row: Float64Array;

  constructor(zone: Zone) {
    this.#all = zone.floats;
    this.#row = this.#rowOf(0);
  }

  #rowOf(slot: number): Float64Array {
    return this.#all.subarray(slot * ROW, (slot + 1) * ROW);
  }

  /** The worker with that slot counts here. */
  enter(slot: number): void {
    this.#row = this.#rowOf(slot);
  }

  /** It has exited. */
  forget(slot: number): void {
    this.#rowOf(slot)[MEMORY] = 0;
  }

  /** A request was answered by a server, or by a status that is kept. */
  answered(status: CacheStatus): void {
    this.#row[RESPONSES[status]]++;
  }

  /** A stored response is sent. */
  served(status: CacheStatus, bytes: number, fromMemory: boolean): void {
    const row = this.#row;
    const place = RESPONSES[status];
    row[place]++;
    row[BYTES + place] += bytes;
    if (fromMemory) row[FROM_MEMORY]++;
  }

  /** An answer was stored. */
  stored(bytes: number): void {
    this.#row[STORED]++;
    this.#row[STORED_BYTES] += bytes;
  }

  /** What this worker has in memory now. */
  holds(bytes: number): void {
    this.#row[MEMORY] = bytes;
  }

  /** Over all workers, since the zone was made. */
  of(status: CacheStatus): CacheCounts {
    const place = RESPONSES[status];
    return { responses: this.#sum(place), bytes: place < FROM_MEMORY - BYTES ? this.#sum(BYTES + place) : 0 };
  }

  get written(): CacheCounts {
    return { responses: this.#sum(STORED), bytes: this.#sum(STORED_BYTES) };
  }

  get memory(): CacheCounts {
    return { responses: this.#sum(FROM_MEMORY), bytes: this.#sum(MEMORY) };
  }

  #sum(place: number): number {
    let sum = 0;
    for (let at = place; at < this.#all.length; at += ROW) sum += this.#all[at];
    return sum;
  }
}
