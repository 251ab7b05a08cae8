import type { CheckerService } from "../../runtime/application.ts";
import { startTimer, type Timer } from "../../sys/timers.ts";
import { takeSnapshot } from "./recovery.ts";
import type { SessionZone } from "./session_zone.ts";

/** How often it is looked for sessions that have ended, and after how many looks for readers that have died. */
const SWEEP_MS = 1000;
const READERS_AFTER = 5;
/** Where more have ended than go in one transaction, the next one follows after so long: workers write between. */
const NEXT_MS = 10;

/** How often a zone that has changed is copied, to go on from if the system goes down. */
const SNAPSHOT_MS = 30_000;

/** Removes from a zone what has ended, in the checker. */
class ZoneKeeper implements CheckerService {
  readonly #zone: SessionZone;
  #timer: Timer | undefined;
  #looks = 0;
  #snapshots: Timer | undefined;
  #copied = 0;
  #group: CheckerService | undefined;

  constructor(zone: SessionZone) {
    this.#zone = zone;
    this.#after(0);
    if (zone.durability === "async") this.#snapshotLater();
  }

  stop(): void {
    this.#timer?.clear();
    this.#snapshots?.clear();
    this.#snapshots = undefined;
    this.#group?.stop();
  }

  #after(ms: number): void {
    this.#timer = startTimer(ms, () => this.#after(this.#look()), { background: true });
  }

  #snapshotLater(): void {
    this.#snapshots = startTimer(SNAPSHOT_MS, () => void this.#snapshot(), { background: true });
  }

  async #snapshot(): Promise<void> {
    const { records, directory } = this.#zone;
    try {
      const transaction = records?.transaction ?? 0;
      if (records !== undefined && transaction !== this.#copied) {
        await takeSnapshot(directory, records);
        this.#copied = transaction;
      }
    } catch (error) {
      this.#zone.trouble("copying it failed", error);
    }
    if (this.#snapshots !== undefined) this.#snapshotLater();
  }

  /** Returns when to look again. */
  #look(): number {
    try {
      const { records } = this.#zone;
      if (records === undefined) return SWEEP_MS;
      this.#group ??= this.#zone.keepGroup();
      if (this.#looks++ % READERS_AFTER === 0) records.checkReaders();
      const { looked, removed } = records.sweep(Date.now());
      if (removed > 0) this.#zone.noteEnded(removed);
      return looked > 0 ? NEXT_MS : SWEEP_MS;
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
