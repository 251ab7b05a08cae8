import type { CheckerShare } from "../../http/conf/module.ts";
import { SYNC_TICK_MS, syncedOf } from "../../http/conf/synced.ts";
import type { CheckerService } from "../../runtime/application.ts";
import type { Cycle } from "../../runtime/cycle.ts";
import type { ErrorLog } from "../../runtime/log/log.ts";
import { startTimer, type Timer } from "../../sys/timers.ts";
import type { ClusterSettings } from "../settings.ts";
import type { StoreRow } from "./store_row.ts";
import { Sync, type SyncEnvironment } from "./sync.ts";

/** What the checker has to do for what nodes share, and how it does. */
export interface Syncing {
  /** None where the group has no store. */
  readonly checkers: readonly CheckerShare[];
  readonly row: () => StoreRow | undefined;
}

/** `speaks`: whether this process's checker speaks for the node; while an upgrade goes on there are two. */
export function syncChecker(
  cycle: Cycle,
  settings: ClusterSettings,
  openLog: () => ErrorLog,
  speaks: () => boolean,
): Syncing {
  const { store: definition, name: cluster, secrets } = settings;
  if (definition === undefined) return { checkers: [], row: () => undefined };
  let speaking: SpeakingSync | undefined;
  const checker: CheckerShare = {
    name: "cluster sync",
    check(previous) {
      const synced = syncedOf(cycle);
      const environment = { cluster, self: settings.self.name, definition, secrets, synced, log: openLog() };
      speaking = new SpeakingSync(environment, speaks, previous instanceof SpeakingSync ? previous : undefined);
      return speaking;
    },
  };
  return { checkers: [checker], row: () => speaking?.row };
}

/** Shares while this checker speaks for the node. */
class SpeakingSync implements CheckerService {
  readonly #environment: SyncEnvironment;
  readonly #speaks: () => boolean;
  #sync: Sync | undefined;
  #timer: Timer | undefined;

  constructor(environment: SyncEnvironment, speaks: () => boolean, previous: SpeakingSync | undefined) {
    this.#environment = environment;
    this.#speaks = speaks;
    if (previous !== undefined) {
      previous.#timer?.clear();
      if (previous.#sync !== undefined) this.#sync = new Sync(environment, previous.#sync);
    }
    this.#look();
  }

  get row(): StoreRow | undefined {
    return this.#sync?.row;
  }

  stop(): void {
    this.#timer?.clear();
    this.#sync?.stop();
  }

  #look(): void {
    const speaks = this.#speaks();
    if (speaks && this.#sync === undefined) this.#sync = new Sync(this.#environment);
    if (!speaks && this.#sync !== undefined) {
      this.#sync.stop();
      this.#sync = undefined;
    }
    this.#timer = startTimer(SYNC_TICK_MS, () => this.#look(), { background: true });
  }
}
