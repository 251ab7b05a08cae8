import { fail, type Scope } from "../../config/schema.ts";
import type { Directive } from "../../config/types.ts";
import { parseMsec, parseNumber, parseOffset, parseSec, parseSize } from "../../config/values.ts";
import { namePath } from "../conf/paths.ts";

/** How a process of the cache goes over its files: so many at a time, or for so long; then it pauses. */
export interface Portions {
  readonly files: number;
  /** ms */
  readonly threshold: number;
  readonly sleep: number;
}

/** `…_cache_path` */
export interface CachePath {
  readonly path: string;
  readonly levels: readonly number[];
  /** Seconds. */
  readonly inactive: number;
  /** Bytes; Infinity for no bound. */
  readonly maxSize: number;
  /** Bytes that stay free in the file system. */
  readonly minFree: number;
  readonly manager: Portions;
  readonly loader: Portions;
  /** Files that a purge of many keys matches are removed in the background. */
  readonly purges: boolean;
  readonly purger: Portions;
  /** Bytes of each worker's memory tier; 0 for none. */
  readonly memory: number;
  /** `sync`: where it says that purges are shared with other nodes. */
  readonly sync: Directive | undefined;
}

interface KeysZone {
  readonly name: string;
  readonly size: number;
}

const PORTIONS: Portions = { files: 100, threshold: 200, sleep: 50 };
/** A purge costs a comparison for each hit as long as it is pending: so files are walked unless `purger=off`, and quickly. */
const PURGER: Portions = { files: 200, threshold: 50, sleep: 50 };
const MEMORY = 8 * 1024 * 1024;
/** ngx_http_file_cache_set_slot: less than the zones of other modules. */
const LEAST_ZONE = 2 * 4096;

type Parse = (text: string) => number | undefined;

/** What the parameters say; each is what a parser makes of a value, undefined for what it refuses. */
const PARAMETERS: Readonly<Record<string, Parse>> = {
  inactive: parseSec,
  max_size: parseOffset,
  min_free: parseOffset,
  memory: parseSize,
  ...portions("manager"),
  ...portions("loader"),
  ...portions("purger"),
};

function portions(name: string): Readonly<Record<string, Parse>> {
  return {
    [`${name}_files`]: parseNumber,
    [`${name}_sleep`]: parseMsec,
    [`${name}_threshold`]: parseMsec,
  };
}

/** ngx_http_file_cache_set_slot */
export function readCachePath(at: Directive, scope: Scope): { readonly zone: KeysZone; readonly settings: CachePath } {
  const [path, ...parameters] = at.args;
  const numbers = new Map<string, number>();
  let purges = true;
  let sync: Directive | undefined;
  let levels: readonly number[] = [];
  let zone: KeysZone | undefined;
  for (const parameter of parameters) {
    if (parameter === "sync") {
      sync = at;
      continue;
    }
    const [, name, value] = /^(\w+)=(.*)$/s.exec(parameter) ?? fail(at, `invalid parameter "${parameter}"`);
    if (Object.hasOwn(PARAMETERS, name)) {
      const parsed = PARAMETERS[name](value);
      numbers.set(name, parsed ?? fail(at, `invalid ${name} value "${parameter}"`));
    } else if (name === "levels") {
      if (!/^([12](:[12]){0,2})?$/.test(value)) fail(at, `invalid "levels" "${parameter}"`);
      levels = value === "" ? [] : value.split(":").map(Number);
    } else if (name === "keys_zone") {
      zone = readKeysZone(at, parameter, value);
    } else if (name === "use_temp_path" || name === "purger") {
      if (value !== "on" && value !== "off") fail(at, `invalid ${name} value "${parameter}", it must be "on" or "off"`);
      // Responses are written in the cache's directory, whatever use_temp_path says.
      if (name === "purger") purges = value === "on";
    } else {
      fail(at, `invalid parameter "${parameter}"`);
    }
  }
  if (zone === undefined || zone.name === "") fail(at, `"${at.name}" must have "keys_zone" parameter`);
  namePath(at, scope, { path, levels, shared: false });
  const portionsOf = (name: string, usual: Portions): Portions => ({
    // As in nginx, 0 is one file at a time.
    files: Math.max(1, numbers.get(`${name}_files`) ?? usual.files),
    threshold: Math.max(1, numbers.get(`${name}_threshold`) ?? usual.threshold),
    sleep: numbers.get(`${name}_sleep`) ?? usual.sleep,
  });
  const settings: CachePath = {
    path,
    levels,
    inactive: numbers.get("inactive") ?? 10 * 60,
    maxSize: numbers.get("max_size") ?? Number.POSITIVE_INFINITY,
    minFree: numbers.get("min_free") ?? 0,
    manager: portionsOf("manager", PORTIONS),
    loader: portionsOf("loader", PORTIONS),
    purges,
    purger: portionsOf("purger", PURGER),
    memory: numbers.get("memory") ?? MEMORY,
    sync,
  };
  return { zone, settings };
}

function readKeysZone(at: Directive, parameter: string, value: string): KeysZone {
  const [, name, text] = /^([^:]*):(.*)$/s.exec(value) ?? fail(at, `invalid keys zone size "${parameter}"`);
  const size = parseSize(text) ?? fail(at, `invalid keys zone size "${parameter}"`);
  if (size < LEAST_ZONE) fail(at, `keys zone "${parameter}" is too small`);
  return { name, size };
}
