import { MOST_TOPIC, type Synced } from "../conf/synced.ts";
import { SyncedTable } from "../conf/synced_table.ts";
import type { KeyvalZone } from "./keyval_zone.ts";
import { MOST_VALUE } from "./pair_entries.ts";
import { isFiledKey } from "./pair_key.ts";
import { LOADING } from "./pair_table.ts";

/** A zone as the nodes of a group share it (`sync`). */
export function sharedPairs(zone: KeyvalZone): Synced {
  const { type, at } = zone.settings;
  return {
    // Nodes whose keys mean something else have nothing in common.
    topic: `keyval ${zone.name} ${type}`.slice(0, MOST_TOPIC),
    at,
    share() {
      zone.table.shared = true;
    },
    join(port, previous) {
      const { table } = zone;
      const shared = {
        what: `keyval zone "${zone.name}"`,
        isReady: () => table.loading !== LOADING.blank,
        untoldOnes: (most: number) => table.untoldOnes(most),
        told: table.told.bind(table),
        untell: table.untell.bind(table),
        take(records: Parameters<typeof table.merge>[0]) {
          const sound = records.filter(({ key, value = "" }) => isFiledKey(type, key) && value.length <= MOST_VALUE);
          return table.merge(sound, false).full;
        },
        everything: () => table.all(true),
      };
      return new SyncedTable(shared, port, previous);
    },
  };
}
