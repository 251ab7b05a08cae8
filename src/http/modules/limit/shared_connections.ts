import type { Directive } from "../../../config/types.ts";
import { KeyCountsWriter, readKeyCounts } from "../../../wire/key_counts.ts";
import { type Batch, SYNC_TICK_MS, type Synced, type SyncedPart, type SyncPort } from "../../conf/synced.ts";
import { beginAnew, changedKey, setElsewhere, takeChanged } from "./connections.ts";
import { Elsewhere } from "./elsewhere.ts";
import type { LimitZone } from "./limit_zone.ts";
import { AT_ONCE, BATCH_BYTES, ForeignKeys, MOST_KEYS, sharedZone } from "./shared_keys.ts";

/** All counts are told again in so many ticks, and in so many where somebody is new, or something may be lost. */
const REFRESH_TICKS = 10_000 / SYNC_TICK_MS;
const SOON_TICKS = 1000 / SYNC_TICK_MS;

/**
 * The connections of a zone: each node tells the others how many it has of each key when that changes, and of all keys again and
 * again, since batches may be lost. A batch without keys ends such a round: what was not told since the one before counts no more.
 */
class SharedConnections implements SyncedPart {
  readonly #zone: LimitZone;
  readonly #port: SyncPort;
  readonly #writer = new KeyCountsWriter(BATCH_BYTES);
  /** How many connections this node has, as far as there are any. */
  readonly #own: Map<string, number>;
  readonly #elsewhere: Elsewhere;
  /** The round: where it has come to, in how many ticks it is to be done, and since how many it goes. */
  #telling: Iterator<readonly [string, number]>;
  #pace = SOON_TICKS;
  #ticks = 0;
  #done = false;
  /** Something was told since the last round. */
  #told = true;
  readonly #foreign: ForeignKeys;

  /** `previous`: of the configuration before. */
  constructor(zone: LimitZone, port: SyncPort, previous?: SharedConnections) {
    this.#zone = zone;
    this.#port = port;
    this.#foreign = new ForeignKeys("limit_conn", zone, port);
    const same = previous !== undefined && zone.entries.zone.same(previous.#zone.entries.zone);
    this.#own = same ? previous.#own : new Map();
    this.#elsewhere = previous === undefined ? new Elsewhere() : previous.#elsewhere;
    this.#telling = this.#own.entries();
    if (same) return;
    beginAnew(zone);
    this.#show(this.#elsewhere.keys());
  }

  tick(): void {
    for (let keys = 0; keys < MOST_KEYS; keys += AT_ONCE) if (!this.#take()) break;
    this.#tellAgain();
    if (!this.#writer.empty) this.#publish();
    if (this.#done && this.#ticks >= this.#pace) this.#endRound();
  }

  #endRound(): void {
    if (!this.#told && this.#own.size === 0) this.#round(REFRESH_TICKS);
    else if (this.#publish()) {
      this.#told = false;
      this.#round(REFRESH_TICKS);
    }
  }

  /** Returns whether there may be more. */
  #take(): boolean {
    const zone = this.#zone;
    let more = true;
    let full = false;
    zone.lock();
    try {
      for (let i = 0; i < AT_ONCE && !full && more; i++) {
        more = takeChanged(zone);
        if (more) full = this.#changed(changedKey.key, changedKey.count);
      }
    } finally {
      zone.unlock();
    }
    if (full) this.#publish();
    return more;
  }

  /** Returns whether there are enough for a batch. */
  #changed(key: string, count: number): boolean {
    if ((this.#own.get(key) ?? 0) === count) return false;
    if (count === 0) this.#own.delete(key);
    else this.#own.set(key, count);
    return this.#writer.add(key, count);
  }

  #tellAgain(): void {
    if (!this.#port.up) return;
    this.#ticks++;
    for (let left = Math.ceil(this.#own.size / this.#pace); left >= 0 && !this.#done; left--) {
      const next = this.#telling.next();
      this.#done = next.done === true;
      if (next.done === true) return;
      if (this.#writer.add(next.value[0], next.value[1])) this.#publish();
    }
  }

  /** What cannot be told now is told later, with everything. */
  #publish(): boolean {
    this.#told = true;
    if (this.#port.publish(this.#writer.take())) return true;
    this.#round(SOON_TICKS);
    return false;
  }

  #round(pace: number): void {
    this.#telling = this.#own.entries();
    this.#pace = pace;
    this.#ticks = 0;
    this.#done = false;
  }

  receive({ from, payload }: Batch): boolean {
    const changed: string[] = [];
    let keys = 0;
    const isOne = readKeyCounts(payload, (key, count) => {
      keys++;
      if (this.#elsewhere.told(from, key, count)) changed.push(key);
    });
    this.#show(isOne && keys === 0 ? this.#elsewhere.endRound(from) : changed);
    return isOne;
  }

  came(): void {
    this.#round(SOON_TICKS);
  }

  gone(node: string): void {
    this.#show(this.#elsewhere.gone(node));
  }

  missed(): void {
    this.#round(SOON_TICKS);
  }

  stop(): void {}

  /** Shows workers what the others have of these keys. */
  #show(keys: Iterable<string>): void {
    const all = [...keys];
    this.#foreign.put(all.length, (i) => setElsewhere(this.#zone, all[i], this.#elsewhere.count(all[i])));
  }
}

/** The zone as the group shares it. `at`: where that is said. */
export function sharedConnections(zone: LimitZone, at: Directive): Synced {
  return sharedZone("limit_conn", zone, at, (port, previous) => {
    return new SharedConnections(zone, port, previous instanceof SharedConnections ? previous : undefined);
  });
}
