import type { Item } from "./item.ts";

/** cas uniques count sixteenths of ms from then on. Each worker has its own: its slot is in the lowest digits. */
const CAS_EPOCH = Date.UTC(2025, 0);
const CAS_TICKS = 16;
const CAS_SLOTS = 256;

/** Makes cas uniques, in one worker. */
export class CasUniques {
  readonly #slot: number;
  #tick = 0;

  constructor(slot: number) {
    this.#slot = slot % CAS_SLOTS;
  }

  /** One that no item of this key had before. `before`: the one that is replaced. */
  next(now: number, before: Item | undefined): number {
    const passed = Math.floor((before?.cas ?? 0) / CAS_SLOTS);
    this.#tick = Math.max(this.#tick, (now - CAS_EPOCH) * CAS_TICKS, passed) + 1;
    return this.#tick * CAS_SLOTS + this.#slot;
  }
}
