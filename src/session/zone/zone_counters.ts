import { MAX_WORKERS } from "../../runtime/application.ts";
import type { ZoneWanted } from "../../shm/registry.ts";
import type { Zone } from "../../shm/zone.ts";
import type { Change, Outcome } from "./change.ts";

/**
 * What has been done with a zone's sessions, for the status page: numbers in shared memory, a row for each worker, which alone writes it,
 * and one for the checker. The first row is common.
 */

const COLUMNS = ["reads", "writes", "touches", "conflicts", "refused", "failed", "evictions", "ended"] as const;
type Column = (typeof COLUMNS)[number];

export type ZoneCounts = Readonly<Record<Column, number>>;

/** Numbers of 64 bits. */
const ROW = 8;
const PLACE: Readonly<Record<Column, number>> = {
  reads: 0,
  writes: 1,
  touches: 2,
  conflicts: 3,
  refused: 4,
  failed: 5,
  evictions: 6,
  ended: 7,
};
/** The checker's, behind the common one. */
const CHECKER = 1;
const WORKERS = 2;
// Of the common row.
const STATE = 0;
const SINCE = 1;

const STATES = ["unknown", "up", "away"] as const;
/** Whether the store of a group answers, as the checker sees it. */
export type StoreState = (typeof STATES)[number];

export function countersZone(name: string): ZoneWanted {
  return { kind: { name: "session_zone counters", version: 1 }, name, size: (WORKERS + MAX_WORKERS) * ROW * 8 };
}

export class ZoneCounters {
  readonly #all: Float64Array;
  #row: Float64Array;

  /** Counts for the checker until a worker enters. */
  constructor(zone: Zone) {
    this.#all = zone.floats;
    this.#row = this.#rowAt(CHECKER);
  }

  #rowAt(index: number): Float64Array {
    return this.#all.subarray(index * ROW, (index + 1) * ROW);
  }

  /** The worker with that slot counts here. */
  enter(slot: number): void {
    this.#row = this.#rowAt(WORKERS + slot);
  }

  add(column: Column, count: number): void {
    this.#row[PLACE[column]] += count;
  }

  /** What came of a change. */
  changed({ kind }: Change, outcome: Outcome): void {
    if (outcome.done) {
      this.add(kind === "touch" ? "touches" : "writes", 1);
      if (outcome.conflicts.length > 0) this.add("conflicts", 1);
      return;
    }
    const { refusal } = outcome;
    if (refusal === "conflict") this.add("conflicts", 1);
    else if (refusal === "too large" || refusal === "full") this.add("refused", 1);
    else if (refusal === "unavailable") this.add("failed", 1);
  }

  /** In the checker. */
  storeIs(state: StoreState): void {
    const index = STATES.indexOf(state);
    if (this.#all[STATE] === index) return;
    this.#all[SINCE] = Date.now();
    this.#all[STATE] = index;
  }

  get store(): StoreState {
    return STATES[this.#all[STATE]] ?? "unknown";
  }

  /** Since when it is so, wall-clock ms; 0: that is not known. */
  get storeSince(): number {
    return this.#all[SINCE];
  }

  /** Over all processes, since the zone was first used by this master. */
  sums(): ZoneCounts {
    const sums = { reads: 0, writes: 0, touches: 0, conflicts: 0, refused: 0, failed: 0, evictions: 0, ended: 0 };
    for (let at = ROW; at < this.#all.length; at++) sums[COLUMNS[at % ROW]] += this.#all[at];
    return sums;
  }
}
