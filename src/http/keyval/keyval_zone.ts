import type { Directive } from "../../config/types.ts";
import { ConfigError } from "../../config/types.ts";
import type { Cycle } from "../../runtime/cycle.ts";
import type { ErrorLog } from "../../runtime/log/log.ts";
import type { DeclaredZone } from "../../shm/registry.ts";
import type { Zone } from "../../shm/zone.ts";
import { wallNow } from "../../sys/clock.ts";
import { MOST_VALUE, type Pair } from "./pair_entries.ts";
import { filedKey, type PairType } from "./pair_key.ts";
import { PairTable } from "./pair_table.ts";
import { readPairs, readState, reasonOf } from "./state_file.ts";

export interface KeyvalSettings {
  readonly declared: DeclaredZone;
  readonly at: Directive;
  readonly type: PairType;
  /** How long pairs last, ms; Infinity: for ever. */
  readonly timeout: number;
  /** The file as written. */
  readonly state: string | undefined;
  /** Shared with the other nodes of a group. */
  readonly sync: boolean;
}

/** What became of a pair that was to be set. */
export type SetResult = "done" | "full" | "no key" | "no network" | "too long";

/** A keyval zone, as all of its users have it. */
export class KeyvalZone {
  readonly name: string;
  readonly settings: KeyvalSettings;
  /** Absolute. */
  file: string | undefined;
  #table: PairTable | undefined;
  /** The table of another size that has taken the place of this one. */
  #successor: PairTable | undefined;

  constructor(settings: KeyvalSettings) {
    this.settings = settings;
    this.name = settings.declared.name;
  }

  get table(): PairTable {
    if (this.#table === undefined) throw new Error(`keyval zone "${this.name}" was used before it was opened`);
    return this.#table;
  }

  /** Called when the configuration has been read. */
  open(cycle: Cycle, log: ErrorLog): void {
    const { declared, type, state } = this.settings;
    const { kind, name, size } = declared;
    const open = (zone: Zone) => new PairTable(zone, type, (sentence) => log.write("alert", sentence));
    const refusal = (before: string) =>
      `keyval_zone "${name}" has type "${type}" while previously it had type "${before}"`;
    const migrate = (from: Zone, to: Zone) => {
      if (from.handle.key === type) copyPairs(open(from), open(to), name, log);
    };
    this.#table = open(cycle.zone({ kind, name, size, key: { text: type, refusal }, migrate }));
    if (state !== undefined) this.file = cycle.path(state);
  }

  /** The value for a key that a request has; undefined for none. */
  find(text: string): string | undefined {
    const key = this.settings.type === "ip" ? filedKey("ip", text) : text;
    return key === undefined || key === "" ? undefined : this.table.find(key);
  }

  /** Sets a pair for so many ms, or for as long as the zone says. */
  set(text: string, value: string, lifetime = this.settings.timeout): SetResult {
    const { type } = this.settings;
    const key = filedKey(type, text);
    if (key === undefined) return text === "" ? "no key" : type === "ip" ? "no network" : "too long";
    if (value.length > MOST_VALUE) return "too long";
    const ends = wallNow() + lifetime;
    const written = this.table.set(key, value, ends);
    this.#successor?.set(key, value, ends);
    return written === "full" ? "full" : "done";
  }

  /** False where there is no such pair. */
  remove(text: string): boolean {
    const key = filedKey(this.settings.type, text);
    if (key === undefined) return false;
    const ends = wallNow() + this.settings.timeout;
    this.#successor?.remove(key, ends);
    return this.table.remove(key, ends);
  }

  /** Removes all pairs, some at a time: how many. */
  *clear(): Generator<number> {
    for (const pairs of this.table.all(false)) {
      const ends = wallNow() + this.settings.timeout;
      let removed = 0;
      for (const { key } of pairs) {
        this.#successor?.remove(key, ends);
        if (this.table.remove(key, ends)) removed++;
      }
      yield removed;
    }
  }

  /** In a process, before it serves: what an earlier run has left is read by the first. `before`: what the cycle before has. */
  enter(before: KeyvalZone | undefined, log: ErrorLog): void {
    if (
      before !== undefined &&
      before.settings.type === this.settings.type &&
      !before.table.zone.same(this.table.zone)
    ) {
      // What changed since the master has copied it, and what requests change that still know the other one alone.
      before.#successor = this.table;
      copyPairs(before.table, this.table, this.name, log);
    }
    const { file } = this;
    const loaded = this.table.loadOnce(() => (file === undefined ? [] : this.#load(file, log)));
    if (loaded === undefined || file === undefined) return;
    if (loaded.loaded > 0)
      log.write("notice", `${loaded.loaded} pairs of keyval zone "${this.name}" were read from "${file}"`);
    if (loaded.full > 0)
      log.write("error", `keyval zone "${this.name}" is too small: ${loaded.full} pairs of "${file}" found no room`);
  }

  #load(file: string, log: ErrorLog): readonly Pair[] | undefined {
    const { type, timeout } = this.settings;
    try {
      const bytes = readState(file);
      const pairs = bytes === undefined ? [] : readPairs(bytes, type, timeout, wallNow());
      if (typeof pairs !== "string") return pairs;
      log.write(
        "error",
        `the state of keyval zone "${this.name}" in "${file}" is not used, nor will it be written: ${pairs}`,
      );
    } catch (error) {
      log.write(
        "error",
        `the state of keyval zone "${this.name}" in "${file}" is not used, nor will it be written: ${reasonOf(error)}`,
      );
    }
    return undefined;
  }

  /** In the master: throws where the file of an earlier run cannot be used, before a process does without it. */
  tryState(): void {
    const { file, settings } = this;
    if (file === undefined) return;
    const refused = (why: string) =>
      new ConfigError(`the state file "${file}" of keyval_zone "${this.name}" cannot be used: ${why}`, settings.at);
    let bytes: Buffer | undefined;
    try {
      bytes = readState(file);
    } catch (error) {
      throw refused(reasonOf(error));
    }
    const pairs = bytes === undefined ? [] : readPairs(bytes, settings.type, settings.timeout, wallNow());
    if (typeof pairs === "string") throw refused(pairs);
  }
}

/** In a process: the zones in force, by name. */
let inForce: ReadonlyMap<string, KeyvalZone> = new Map();

export function haveKeyvalZones(): boolean {
  return inForce.size > 0;
}

/** A worker or the checker begins to serve with these zones. */
export function enterKeyvalZones(zones: readonly KeyvalZone[], log: ErrorLog): void {
  const before = inForce;
  inForce = new Map(zones.map((zone) => [zone.name, zone]));
  for (const zone of zones) zone.enter(before.get(zone.name), log);
}

function copyPairs(from: PairTable, to: PairTable, name: string, log: ErrorLog): void {
  let full = 0;
  to.shared = from.shared;
  for (const pairs of from.all(true)) full += to.merge(pairs, false).full;
  if (full > 0) log.write("error", `keyval zone "${name}" is too small now: ${full} pairs found no room`);
}
