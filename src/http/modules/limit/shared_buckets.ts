import type { Directive } from "../../../config/types.ts";
import { KeyCountsWriter, readKeyCounts } from "../../../wire/key_counts.ts";
import { type Batch, MOST_TOPIC, type Synced, type SyncedPart, type SyncPort } from "../../conf/synced.ts";
import { countElsewhere, takeUntold, untold } from "./buckets.ts";
import type { LimitZone } from "./limit_zone.ts";

/** Bytes from which on a batch is sent. */
const BATCH_BYTES = 32 * 1024;
/** Keys at a time under the zone's lock, for which workers wait, and in one tick. */
const AT_ONCE = 64;
const MOST_KEYS = 16_384;
/** What is older counts no more: a bucket has leaked since, ms. */
const MOST_AGE = 1000;
/** No node lets so many requests of one key pass between two batches. */
const MOST_REQUESTS = 1_000_000;
/** A lack of room is said so often, ms. */
const NO_ROOM_MS = 60_000;

/** The buckets of a zone, which leak at one rate for all nodes: each tells the others how many requests it has let pass. */
class SharedBuckets implements SyncedPart {
  readonly #zone: LimitZone;
  readonly #port: SyncPort;
  readonly #writer = new KeyCountsWriter(BATCH_BYTES);
  /** When the zone was last asked, monotonic ms. What it had before counts for nothing. */
  #takenAt = Number.NEGATIVE_INFINITY;
  #noRoomAt = Number.NEGATIVE_INFINITY;

  /** `previous`: of the configuration before. */
  constructor(zone: LimitZone, port: SyncPort, previous?: SharedBuckets) {
    this.#zone = zone;
    this.#port = port;
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
    for (let from = 0; from < keys.length; from += AT_ONCE) this.#count(keys, counts, from);
    return true;
  }

  #count(keys: readonly string[], counts: readonly number[], from: number): void {
    const zone = this.#zone;
    let room = true;
    zone.lock();
    try {
      for (let i = from; i < Math.min(from + AT_ONCE, keys.length); i++) {
        if (!countElsewhere(zone, keys[i], counts[i])) room = false;
      }
    } finally {
      zone.unlock();
    }
    if (!room) this.#sayNoRoom();
  }

  #sayNoRoom(): void {
    const now = performance.now();
    if (now - this.#noRoomAt < NO_ROOM_MS) return;
    this.#noRoomAt = now;
    this.#port.say("warn", `limit_req zone "${this.#zone.name}" has no room for the keys of other nodes`);
  }

  stop(): void {}
}

/** The zone as the group shares it. `at`: where that is said. */
export function sharedBuckets(zone: LimitZone, at: Directive): Synced {
  return {
    // Two nodes whose keys are made of different variables have nothing in common.
    topic: `limit_req ${zone.name} ${zone.key.text}`.slice(0, MOST_TOPIC),
    at,
    share() {
      zone.shared = true;
    },
    join: (port, previous) => new SharedBuckets(zone, port, previous instanceof SharedBuckets ? previous : undefined),
  };
}
