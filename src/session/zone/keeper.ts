import type { CheckerService } from "../../runtime/application.ts";
import { startTimer, type Timer } from "../../sys/timers.ts";
import type { SessionZone } from "./session_zone.ts";

/** How often it is looked for sessions that have ended, and after how many looks for readers that have died. */
const SWEEP_MS = 1000;
const READERS_AFTER = 5;
/** Where more have ended than go in one transaction, the next one follows after so long: workers write between. */
const NEXT_MS = 10;

/** Removes from a zone what has ended, in the checker. */
class ZoneKeeper implements CheckerService {
  readonly #zone: SessionZone;
  #timer: Timer | undefined;
  #looks = 0;

  constructor(zone: SessionZone) {
    this.#zone = zone;
    this.#after(0);
  }

  stop(): void {
    this.#timer?.clear();
  }

  #after(ms: number): void {
    this.#timer = startTimer(ms, () => this.#after(this.#look()), { background: true });
  }

  /** Returns when to look again. */
  #look(): number {
    try {
      const { records } = this.#zone;
      if (records === undefined) return SWEEP_MS;
      if (this.#looks++ % READERS_AFTER === 0) records.checkReaders();
      const removed = records.sweep(Date.now());
      if (removed > 0) this.#zone.noteEnded(removed);
      return removed > 0 ? NEXT_MS : SWEEP_MS;
    } catch (error) {
      this.#zone.trouble("removing what has ended failed", error);
      return SWEEP_MS;
    }
  }
}

/** Has a zone kept from now on. */
export function keepZone(zone: SessionZone, previous: CheckerService | undefined): CheckerService {
  previous?.stop();
  zone.open();
  return new ZoneKeeper(zone);
}
