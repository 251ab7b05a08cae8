import { resolve } from "node:path";
import { failAtEnd } from "../../config/directives.ts";
import { fail, type Scope } from "../../config/schema.ts";
import type { Cycle } from "../../runtime/cycle.ts";
import type { SessionUse } from "./directives.ts";
import type { LocationSessions } from "./request_session.ts";
import { type Durability, SessionZone, type ZoneSettings } from "./session_zone.ts";
import type { Group } from "./store.ts";

/** The zones of a configuration. */

const zonesOf = new WeakMap<Cycle, ReadonlyMap<string, SessionZone>>();
/** A key shorter than this could be guessed. */
const LEAST_KEY = 32;

export function openZones(
  cycle: Cycle,
  http: Scope,
  settings: readonly ZoneSettings[],
  durability: Durability,
  groupOf: (zone: ZoneSettings) => Group | undefined,
): ReadonlyMap<string, SessionZone> {
  const zones = new Map<string, SessionZone>();
  for (const one of settings) {
    zones.set(one.name, new SessionZone(one, durability, cycle, keysOf(cycle, http, one), groupOf(one)));
  }
  zonesOf.set(cycle, zones);
  const names = new Map<string, string>();
  for (const { directory, settings } of zones.values()) {
    const other = names.get(resolve(directory));
    if (other !== undefined) {
      failAtEnd(http, `session zones "${other}" and "${settings.name}" have the same path "${settings.path}"`);
    }
    names.set(resolve(directory), settings.name);
  }
  return zones;
}

/** The lines of the file of keys, but for empty ones and comments. */
function keysOf(cycle: Cycle, http: Scope, { name, keys }: ZoneSettings): readonly Buffer[] {
  if (keys === undefined) return [];
  const path = cycle.path(keys, "conf");
  const lines = Buffer.from(cycle.readFile(path)).latin1Slice().split(/\r?\n/);
  const found = lines.map((line) => line.trim()).filter((line) => line !== "" && !line.startsWith("#"));
  if (found.length === 0) failAtEnd(http, `"${path}" has no key for session zone "${name}"`);
  if (found.some((key) => key.length < LEAST_KEY)) {
    failAtEnd(http, `a key in "${path}" has less than ${LEAST_KEY} characters ("openssl rand -hex 32" makes one)`);
  }
  return found.map((key) => Buffer.from(key, "latin1"));
}

export function zonesIn(cycle: Cycle): ReadonlyMap<string, SessionZone> {
  return zonesOf.get(cycle) ?? new Map();
}

/** What a location does with sessions; undefined where it has none. */
export function locationSessions(cycle: Cycle, use: SessionUse | undefined): LocationSessions | undefined {
  if (use?.zone === undefined || use.at === undefined) return undefined;
  const zone = zonesIn(cycle).get(use.zone) ?? fail(use.at, `session zone "${use.zone}" is not defined`);
  return { zone, use, cookieKey: use.cookie.toLowerCase() };
}
