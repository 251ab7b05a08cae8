import type { SessionZone } from "../zone/session_zone.ts";
import type { WaitingSessions } from "../zone/store.ts";
import type { StoreState, ZoneCounts } from "../zone/zone_counters.ts";

/** A session zone at one moment. Sizes in bytes, times in ms. */
export interface ZoneReport {
  readonly name: string;
  readonly directory: string;
  readonly durability: string;
  readonly timeout: number;
  readonly size: number;
  /** undefined: it cannot be opened, which the error log says more of. */
  readonly usage: { readonly bytes: number; readonly sessions: number; readonly items: number } | undefined;
  readonly counts: ZoneCounts;
  /** undefined: it is this machine's alone. */
  readonly group: GroupReport | undefined;
}

export interface GroupReport {
  readonly store: string;
  readonly state: StoreState;
  /** Wall clock; 0: not known. */
  readonly since: number;
  readonly waiting: WaitingSessions["usage"] | undefined;
}

export function reportOf(zone: SessionZone): ZoneReport {
  const { settings, directory, durability, counters, group } = zone;
  return {
    name: settings.name,
    directory,
    durability,
    timeout: settings.timeout,
    size: settings.size,
    usage: usageOf(zone),
    counts: counters.sums(),
    group: group && {
      store: group.text,
      state: counters.store,
      since: counters.storeSince,
      waiting: zone.waiting?.usage,
    },
  };
}

function usageOf(zone: SessionZone): ZoneReport["usage"] {
  try {
    zone.records?.refresh();
    return zone.records?.usage();
  } catch (error) {
    zone.trouble("reading it failed", error);
    return undefined;
  }
}

export function statusJson(reports: readonly ZoneReport[], now: number): string {
  const zones = Object.fromEntries(reports.map((report) => [report.name, zoneJson(report)]));
  return `${JSON.stringify({ time: new Date(now).toISOString(), zones }, undefined, 2).replace(/[^\n -~]/g, escaped)}\n`;
}

function zoneJson({ directory, durability, timeout, size, usage, counts, group }: ZoneReport) {
  return {
    path: Buffer.from(directory, "latin1").toString(),
    durability,
    timeout: timeout / 1000,
    sessions: usage?.sessions ?? null,
    items: usage?.items ?? null,
    bytes: usage?.bytes ?? null,
    max_bytes: size,
    ...counts,
    store: group === undefined ? null : groupJson(group),
  };
}

function groupJson({ store, state, since, waiting }: GroupReport) {
  return {
    url: Buffer.from(store, "latin1").toString(),
    state,
    since: since === 0 ? null : new Date(since).toISOString(),
    waiting: waiting?.sessions ?? null,
    waiting_bytes: waiting?.bytes ?? null,
    max_waiting_bytes: waiting?.size ?? null,
  };
}

/** All but printable ASCII. */
function escaped(unit: string): string {
  return `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`;
}
