import type { CheckerShare } from "../../http/conf/module.ts";
import { syncedOf } from "../../http/conf/synced.ts";
import type { Cycle } from "../../runtime/cycle.ts";
import type { ErrorLog } from "../../runtime/log/log.ts";
import type { ClusterSettings } from "../settings.ts";
import type { StoreRow } from "./store_row.ts";
import { Sync } from "./sync.ts";

/** What the checker has to do for what nodes share, and how it does. */
export interface Syncing {
  /** None where the group has no store. */
  readonly checkers: readonly CheckerShare[];
  readonly row: () => StoreRow | undefined;
}

export function syncChecker(cycle: Cycle, settings: ClusterSettings, openLog: () => ErrorLog): Syncing {
  const { store: definition, name: cluster, secrets } = settings;
  if (definition === undefined) return { checkers: [], row: () => undefined };
  let sync: Sync | undefined;
  const checker: CheckerShare = {
    name: "cluster sync",
    check(previous) {
      const synced = syncedOf(cycle);
      const environment = { cluster, self: settings.self.name, definition, secrets, synced, log: openLog() };
      sync = new Sync(environment, previous instanceof Sync ? previous : undefined);
      return sync;
    },
  };
  return { checkers: [checker], row: () => sync?.row };
}
