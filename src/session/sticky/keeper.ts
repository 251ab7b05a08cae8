import type { CheckerService } from "../../runtime/application.ts";
import type { ErrorLog } from "../../runtime/log/log.ts";
import { RepeatedWork, turn } from "../../runtime/repeated_work.ts";
import { errnoCode, errnoText } from "../../sys/errno.ts";
import type { Learn } from "./learn.ts";
import { allSessions } from "./learned_sessions.ts";
import { SnapshotWriter, writeSnapshot, writeSnapshotLater } from "./snapshot.ts";

/** How often sessions that have ended are removed, and whatever has changed is written to files; ms. */
const EXPIRE_MS = 1000;
const WRITE_MS = 5000;
/** Writing may take a twentieth of the time. */
const SHARE = 20;
/** Sessions removed in one turn of the event loop. */
const BATCH = 500;

/** What is written of a zone. */
interface Kept {
  readonly learn: Learn;
  /** The changes that are in the file; -1: nothing is known of it. */
  written: number;
}

/** Keeps the zones of learned sessions, in the checker: removes what has ended, and writes what is to outlive a restart. */
export class StickyKeeper implements CheckerService {
  readonly #kept: readonly Kept[];
  readonly #log: ErrorLog;
  readonly #work = new RepeatedWork(SHARE);

  constructor(learns: readonly Learn[], log: ErrorLog, previous: CheckerService | undefined) {
    this.#log = log;
    const before = previous instanceof StickyKeeper ? previous.#kept : [];
    this.#kept = learns.map((learn) => {
      const same = before.find(
        (kept) => kept.learn.sessions.zone.same(learn.sessions.zone) && kept.learn.file === learn.file,
      );
      return { learn, written: same?.written ?? -1 };
    });
    previous?.stop();
    this.#work.every(EXPIRE_MS, () => this.#expire());
    this.#work.every(WRITE_MS, () => this.#write());
  }

  /** Before this process leaves, or a newer configuration takes over: what was learned last is written at once. */
  stop(): void {
    if (this.#work.stopped) return;
    this.#work.stop();
    for (const kept of this.#kept) {
      const { file, sessions, owner } = kept.learn;
      const { changes } = sessions;
      if (file === undefined || changes === kept.written) continue;
      const writer = new SnapshotWriter(owner);
      for (const batch of allSessions(sessions)) writer.add(batch);
      try {
        writeSnapshot(file, writer.finish());
        kept.written = changes;
      } catch (error) {
        this.#failed(file, error);
      }
    }
  }

  async #expire(): Promise<void> {
    for (const { learn } of this.#kept) {
      while (!this.#work.stopped && learn.sessions.expire(BATCH)) await turn();
    }
  }

  async #write(): Promise<void> {
    for (const kept of this.#kept) {
      const { file, sessions, owner } = kept.learn;
      const { changes } = sessions;
      if (file === undefined || changes === kept.written) continue;
      const writer = new SnapshotWriter(owner);
      for (const batch of allSessions(sessions)) {
        writer.add(batch);
        await turn();
        if (this.#work.stopped) return;
      }
      try {
        await writeSnapshotLater(file, writer.finish());
        kept.written = changes;
      } catch (error) {
        this.#failed(file, error);
      }
    }
  }

  #failed(file: string, error: unknown): void {
    const code = errnoCode(error);
    const why = code === undefined ? String(error) : errnoText(code);
    this.#log.write("error", `the sticky sessions were not written to "${file}": ${why}`);
  }
}
