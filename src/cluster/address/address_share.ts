import { readFileSync } from "node:fs";
import { valueIn } from "../../config/schema.ts";
import { ConfigError } from "../../config/types.ts";
import type { LetGo, MasterShare, WorkerShare } from "../../http/conf/module.ts";
import type { Cycle } from "../../runtime/cycle.ts";
import { coreDirectives } from "../../runtime/directives.ts";
import { openMainLog } from "../../runtime/log/directive.ts";
import { defer } from "../../sys/guard.ts";
import { startTimer, type Timer } from "../../sys/timers.ts";
import { startedAsRoot } from "../../sys/users.ts";
import type { OwnState } from "../own_state.ts";
import type { ClusterSettings } from "../settings.ts";
import { ADDRESS_BYTES, ADDRESS_ZONE, AddressZone } from "./address_zone.ts";
import { findKeepalived } from "./keepalived.ts";
import { AddressKeeper, pause } from "./keeper.ts";

/** How often a worker shows that it lives, ms. */
const BEAT_MS = 100;
/** How often the master looks whether the others know that this node leaves, ms. */
const STEP_MS = 20;

/** In the master, over all of its configurations. */
let keeper: AddressKeeper | undefined;
/** In a worker, the same. */
let beating: Timer | undefined;

/** What this node's processes know of its addresses; undefined where the configuration has none. */
export function openAddresses(cycle: Cycle, { name, addresses }: ClusterSettings): AddressZone | undefined {
  if (addresses.length === 0) return undefined;
  // Each has its number there: other addresses are another zone's.
  const key = `${name} ${addresses.map(({ host }) => host).join(" ")}`;
  return new AddressZone(cycle.zone({ kind: ADDRESS_ZONE, name: key, size: ADDRESS_BYTES }));
}

/** A node's end, and its addresses. Of a configuration without any as well: an earlier one may have had some. */
export function addressMaster(
  cycle: Cycle,
  settings: ClusterSettings | undefined,
  own: OwnState | undefined,
  zone: AddressZone | undefined,
): MasterShare {
  return {
    prepare(doors) {
      if (settings === undefined || own === undefined || zone === undefined) {
        keeper?.leave();
        keeper = undefined;
        return undefined;
      }
      const directory = `${cycle.path(valueIn(cycle.root, coreDirectives.specs.pid)).replace(/\.pid$/, "")}.keepalived`;
      const log = openMainLog(cycle);
      const all = { node: settings.self.name, addresses: settings.addresses, zone, own, directory, log, doors };
      if (keeper === undefined) keeper = new AddressKeeper(all);
      else keeper.change(all);
      return undefined;
    },
    test() {
      for (const { at, dev } of settings?.addresses ?? []) {
        const refused = refusal(dev);
        if (refused !== undefined) throw new ConfigError(refused, at);
      }
    },
    reading: () => keeper?.reading(),
    async announce() {
      if (settings === undefined || own === undefined) return;
      await announce(settings, own);
      await keeper?.end();
    },
    giveUp: () => keeper?.leave(),
    leave(shared) {
      if (shared) keeper?.release();
      else keeper?.leave();
      keeper = undefined;
    },
  };
}

/** Why keepalived cannot give this machine an address on that interface. */
function refusal(dev: string): string | undefined {
  if (findKeepalived() === undefined) return "keepalived, which gives a node its virtual addresses, is not installed";
  if (!startedAsRoot) return "virtual addresses need root, as who keepalived runs";
  const interfaces = readFileSync("/proc/self/net/dev", "latin1");
  const there = interfaces.split("\n").some((line) => line.trimStart().startsWith(`${dev}:`));
  return there ? undefined : `there is no network interface "${dev}"`;
}

/** Says that this node leaves, and waits until each that is alive has asked and knows. */
async function announce({ check }: ClusterSettings, own: OwnState): Promise<void> {
  own.leave();
  for (let left = check.interval + check.timeout; left > 0 && !own.told; left -= STEP_MS) {
    await pause(STEP_MS);
  }
}

/** What workers do for the addresses: show that they live. */
export function addressWorkers(zone: AddressZone | undefined): WorkerShare {
  return {
    enter() {
      if (zone !== undefined) return;
      beating?.clear();
      beating = undefined;
    },
    serving(slot, _workers, letGo) {
      if (zone === undefined) letGo("none");
      else beat(zone, slot, letGo);
    },
    forget: (slot) => zone?.forgetWorker(slot),
  };
}

function beat(zone: AddressZone, slot: number, letGo: (how: LetGo) => void): void {
  beating?.clear();
  zone.workerLives(slot);
  // What has come by now is a request: then its connection is not idle.
  defer(letGo, zone.lettingGo);
  beating = startTimer(BEAT_MS, () => beat(zone, slot, letGo), { background: true });
}
