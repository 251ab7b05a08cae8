import type { Zone, ZoneKind } from "../shm/zone.ts";
import type { NodeState } from "./group/messages.ts";

/** What all processes of this node know of its own part in the group: it outlives a checker, a reload and an upgrade. */
export const OWN_ZONE: ZoneKind = { name: "cluster own", version: 1 };
export const OWN_BYTES = 4096;

const DRAINING = 0;
const LEAVING = 1;
/** Its checks had verdicts once. */
const JUDGED = 2;

export class OwnState {
  readonly #words: Int32Array;

  constructor({ words }: Zone) {
    this.#words = words;
  }

  get state(): NodeState {
    if (this.#is(LEAVING)) return "leaving";
    if (this.#is(DRAINING)) return "draining";
    return this.#is(JUDGED) ? "serving" : "starting";
  }

  /** An administrator takes the node out of service, or lets it in again. */
  drain(on: boolean): void {
    Atomics.store(this.#words, DRAINING, on ? 1 : 0);
  }

  /** The node ends. */
  leave(): void {
    Atomics.store(this.#words, LEAVING, 1);
  }

  /** All of its checks have verdicts. */
  judged(): void {
    Atomics.store(this.#words, JUDGED, 1);
  }

  #is(word: number): boolean {
    return Atomics.load(this.#words, word) !== 0;
  }
}
