import type { Directive } from "../../../config/types.ts";
import { MOST_TOPIC, type Synced, type SyncPort } from "../../conf/synced.ts";
import type { LimitZone } from "./limit_zone.ts";

/** What the zones of `limit_req` and `limit_conn` have in common as the nodes of a group share them: counts by key. */

/** Bytes from which on a batch is sent. */
export const BATCH_BYTES = 32 * 1024;
/** Keys at a time under the zone's lock, for which workers wait, and in one tick. */
export const AT_ONCE = 64;
export const MOST_KEYS = 16_384;
/** A lack of room is said so often, ms. */
const NO_ROOM_MS = 60_000;

type Limit = "limit_req" | "limit_conn";

/** Puts into a zone what other nodes have told of their keys. */
export class ForeignKeys {
  readonly #limit: Limit;
  readonly #zone: LimitZone;
  readonly #port: SyncPort;
  #noRoomAt = Number.NEGATIVE_INFINITY;

  constructor(limit: Limit, zone: LimitZone, port: SyncPort) {
    this.#limit = limit;
    this.#zone = zone;
    this.#port = port;
  }

  /** `putOne`: called for 0 to `count` - 1 while the zone is locked; false where it has no room. */
  put(count: number, putOne: (i: number) => boolean): void {
    const zone = this.#zone;
    let room = true;
    for (let from = 0; from < count; from += AT_ONCE) {
      zone.lock();
      try {
        for (let i = from; i < Math.min(from + AT_ONCE, count); i++) if (!putOne(i)) room = false;
      } finally {
        zone.unlock();
      }
    }
    if (!room) this.#sayNoRoom();
  }

  #sayNoRoom(): void {
    const now = performance.now();
    if (now - this.#noRoomAt < NO_ROOM_MS) return;
    this.#noRoomAt = now;
    this.#port.say("warn", `${this.#limit} zone "${this.#zone.name}" has no room for the keys of other nodes`);
  }
}

/** The zone as the group shares it. `at`: where that is said. */
export function sharedZone(limit: Limit, zone: LimitZone, at: Directive, join: Synced["join"]): Synced {
  return {
    // Two nodes whose keys are made of different variables have nothing in common.
    topic: `${limit} ${zone.name} ${zone.key.text}`.slice(0, MOST_TOPIC),
    at,
    share() {
      zone.shared = true;
    },
    join,
  };
}
