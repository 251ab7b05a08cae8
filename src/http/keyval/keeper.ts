import type { CheckerService } from "../../runtime/application.ts";
import type { ErrorLog } from "../../runtime/log/log.ts";
import { RepeatedWork, turn } from "../../runtime/repeated_work.ts";
import type { KeyvalZone } from "./keyval_zone.ts";
import { LOADING } from "./pair_table.ts";
import { reasonOf, StateWriter, writeState, writeStateLater } from "./state_file.ts";

/** How often pairs that have ended are removed, and what has changed is written to files; ms. */
const SWEEP_MS = 1000;
const WRITE_MS = 200;
/** Either may take a tenth of the time. */
const SHARE = 10;
/** An error that lasts is logged that seldom, ms. */
const AGAIN_MS = 60_000;

interface Kept {
  readonly zone: KeyvalZone;
  /** The changes that are in the file; -1: nothing is known of it. */
  written: number;
  /** When it was last logged that it cannot be written. */
  complained: number;
}

/** Keeps keyval zones, in the checker: removes what has ended, and writes what is to outlive a restart. */
export class KeyvalKeeper implements CheckerService {
  readonly #kept: readonly Kept[];
  readonly #log: ErrorLog;
  readonly #work = new RepeatedWork(SHARE);

  constructor(zones: readonly KeyvalZone[], log: ErrorLog, previous: CheckerService | undefined) {
    this.#log = log;
    previous?.stop();
    const before = previous instanceof KeyvalKeeper ? previous.#kept : [];
    this.#kept = zones.map((zone) => {
      const same = before.find((kept) => kept.zone.table.zone.same(zone.table.zone) && kept.zone.file === zone.file);
      return { zone, written: same?.written ?? -1, complained: Number.NEGATIVE_INFINITY };
    });
    this.#work.every(SWEEP_MS, () => this.#sweep());
    this.#work.every(WRITE_MS, () => this.#write());
  }

  /** Before this process leaves, or a newer configuration takes over: what has changed last is written at once. */
  stop(): void {
    if (this.#work.stopped) return;
    this.#work.stop();
    for (const kept of this.#kept) {
      const { zone } = kept;
      const { table, file } = zone;
      const { changes } = table;
      if (file === undefined || changes === kept.written || table.loading !== LOADING.done) continue;
      const writer = new StateWriter(zone.settings.type);
      for (const pairs of table.all(false)) writer.add(pairs);
      try {
        writeState(file, writer.finish());
        kept.written = changes;
      } catch (error) {
        this.#failed(kept, error);
      }
    }
  }

  async #sweep(): Promise<void> {
    for (const { zone } of this.#kept) {
      if (!zone.table.mortal) continue;
      for (const _ of zone.table.sweep()) {
        await turn();
        if (this.#work.stopped) return;
      }
    }
  }

  async #write(): Promise<void> {
    for (const kept of this.#kept) {
      const { zone } = kept;
      const { table, file } = zone;
      const { changes } = table;
      if (file === undefined || changes === kept.written || table.loading !== LOADING.done) continue;
      const writer = new StateWriter(zone.settings.type);
      for (const pairs of table.all(false)) {
        writer.add(pairs);
        await turn();
        if (this.#work.stopped) return;
      }
      try {
        await writeStateLater(file, writer.finish());
        kept.written = changes;
      } catch (error) {
        this.#failed(kept, error);
      }
    }
  }

  #failed(kept: Kept, error: unknown): void {
    const { zone } = kept;
    if (performance.now() - kept.complained < AGAIN_MS) return;
    kept.complained = performance.now();
    this.#log.write(
      "error",
      `the pairs of keyval zone "${zone.name}" were not written to "${zone.file}": ${reasonOf(error)}`,
    );
  }
}
