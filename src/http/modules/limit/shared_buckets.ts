import type { Directive } from "../../../config/types.ts";
import { KeyCountsWriter, readKeyCounts } from "../../../wire/key_counts.ts";
import type { Batch, Synced, SyncedPart, SyncPort } from "../../conf/synced.ts";
import { countElsewhere, takeUntold, untold } from "./buckets.ts";
import type { LimitZone } from "./limit_zone.ts";
import { AT_ONCE, BATCH_BYTES, ForeignKeys, MOST_KEYS, sharedZone } from "./shared_keys.ts";

/** What is older counts no more: a bucket has leaked since, ms. */
const MOST_AGE = 1000;
/** No node lets so many requests of one key pass between two batches. */
const MOST_REQUESTS = 1_000_000;

/** The buckets of a zone, which leak at one rate for all nodes: each tells the others how many requests it has let pass. */
class SharedBuckets implements SyncedPart {
  readonly #zone: LimitZone;
  readonly #port: SyncPort;
  readonly #writer = new KeyCountsWriter(BATCH_BYTES);
  /** When the zone was last asked, monotonic ms. What it had before counts for nothing. */
  #takenAt = Number.NEGATIVE_INFINITY;
  readonly #foreign: ForeignKeys;

  /** `previous`: of the configuration before. */
  constructor(zone: LimitZone, port: SyncPort, previous?: SharedBuckets) {
    this.#zone = zone;
    this.#port = port;
    this.#foreign = new ForeignKeys("limit_req", zone, port);
    if (previous !== undefined) this.#takenAt = previous.#takenAt;
  }

  tick(): void {
    const now = performance.now();
    const tells = this.#port.up && now - this.#takenAt <= MOST_AGE;
    this.#takenAt = now;
    for (let keys = 0; keys < MOST_KEYS; keys += AT_ONCE) if (!this.#take(tells)) break;
    if (!this.#writer.empty) this.#port.publish(this.#writer.take());
  }

  /** Returns whether there may be more. */
  #take(tells: boolean): boolean {
    const zone = this.#zone;
    let full = false;
    zone.lock();
    try {
      for (let i = 0; i < AT_ONCE && !full; i++) {
        if (!takeUntold(zone)) return false;
        if (tells && untold.count > 0) full = this.#writer.add(untold.key, untold.count);
      }
    } finally {
      zone.unlock();
    }
    if (full) this.#port.publish(this.#writer.take());
    return true;
  }

  receive({ payload, late }: Batch): boolean {
    const keys: string[] = [];
    const counts: number[] = [];
    const isOne = readKeyCounts(payload, (key, count) => {
      keys.push(key);
      counts.push(Math.min(count, MOST_REQUESTS));
    });
    if (!isOne || late > MOST_AGE) return isOne;
    this.#foreign.put(keys.length, (i) => countElsewhere(this.#zone, keys[i], counts[i]));
    return true;
  }

  stop(): void {}
}

/** The zone as the group shares it. `at`: where that is said. */
export function sharedBuckets(zone: LimitZone, at: Directive): Synced {
  return sharedZone("limit_req", zone, at, (port, previous) => {
    return new SharedBuckets(zone, port, previous instanceof SharedBuckets ? previous : undefined);
  });
}
