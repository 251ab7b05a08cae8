/**
 * JSON merge patches (RFC 7396) with a version on each member, so that writers who did not know of one another can both be right:
 * a member that was changed after the version a patch is based on keeps its newer value, and all others of the patch are taken.
 */

export type Json = null | boolean | number | string | readonly Json[] | JsonObject;
export interface JsonObject {
  readonly [name: string]: Json;
}
type Members = Record<string, Json>;

/** Levels of objects and lists within one another. */
const MAX_DEPTH = 32;
/** Members whose versions are kept one by one. */
const MAX_STAMPS = 256;
/** Between the names of a path. */
const SEPARATOR = "\0";

/**
 * When members were changed: by path, the version of the change, removals too. A member without a stamp was not changed after
 * `floor`.
 */
export interface Stamps {
  readonly floor: number;
  readonly at: ReadonlyMap<string, number>;
}

export interface Patched {
  readonly data: JsonObject;
  readonly stamps: Stamps;
  /** Members of the patch, as JSON Pointers (RFC 6901), whose newer value was kept. */
  readonly conflicts: readonly string[];
}

export function isObject(value: Json | undefined): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Whether a value is nested no deeper than is allowed. */
export function isShallow(value: Json, depth = MAX_DEPTH): boolean {
  if (typeof value !== "object" || value === null) return true;
  if (depth === 0) return false;
  return Object.values(value).every((member) => isShallow(member, depth - 1));
}

/** An empty object without a prototype: a member may have any name, `__proto__` too. */
function members(from: Json | undefined): Members {
  const copy: Members = Object.create(null);
  if (isObject(from)) for (const name of Object.keys(from)) copy[name] = from[name];
  return copy;
}

/** Applies a patch that was made from `base`; the result is version `version`. */
export function mergePatch(
  data: JsonObject,
  stamps: Stamps,
  patch: JsonObject,
  base: number,
  version: number,
): Patched {
  const at = new Map(stamps.at);
  const conflicts: string[] = [];
  const isNewer = (path: string): boolean => newerThan(stamps, path, base);
  const stamp = (path: string): void => {
    for (const known of at.keys()) if (isWithin(known, path)) at.delete(known);
    at.set(path, version);
  };

  const merge = (target: Json | undefined, changes: JsonObject, prefix: string): Members => {
    const merged = members(target);
    for (const name of Object.keys(changes)) {
      const change = changes[name];
      const path = prefix + escaped(name);
      if (isObject(change) && Object.keys(change).length > 0) {
        if (!isObject(merged[name])) {
          if (isNewer(path)) {
            conflicts.push(pointerOf(path));
            continue;
          }
          // What is no object becomes one, which replaces it.
          if (Object.hasOwn(merged, name)) stamp(path);
        }
        merged[name] = merge(merged[name], change, path + SEPARATOR);
        continue;
      }
      if (isObject(change) && isObject(merged[name])) continue;
      if (isNewer(path)) {
        conflicts.push(pointerOf(path));
        continue;
      }
      stamp(path);
      if (change === null) delete merged[name];
      else merged[name] = change;
    }
    return merged;
  };

  const result = merge(data, patch, "");
  return { data: result, stamps: thinned({ floor: stamps.floor, at }), conflicts };
}

/** Whether something at, in or around `path` was changed after `base`. */
function newerThan({ floor, at }: Stamps, path: string, base: number): boolean {
  let known = false;
  for (const [stamped, version] of at) {
    if (!isWithin(stamped, path) && !isWithin(path, stamped)) continue;
    if (version > base) return true;
    known ||= stamped === path;
  }
  return !known && floor > base;
}

/** Whether the member `inner` is `outer` or in it. */
function isWithin(inner: string, outer: string): boolean {
  return inner === outer || (inner.startsWith(outer) && inner.startsWith(SEPARATOR, outer.length));
}

/** Forgets the oldest stamps where there are too many: who is based on less than they were is no longer told apart. */
function thinned(stamps: Stamps): Stamps {
  if (stamps.at.size <= MAX_STAMPS) return stamps;
  const versions = [...stamps.at.values()].sort((one, other) => one - other);
  const floor = Math.max(stamps.floor, versions[Math.floor(versions.length / 2)]);
  return { floor, at: new Map([...stamps.at].filter(([, version]) => version > floor)) };
}

function escaped(name: string): string {
  return name.replaceAll(SEPARATOR, "\u0001\u0001");
}

function pointerOf(path: string): string {
  return path
    .split(SEPARATOR)
    .map((name) => `/${name.replaceAll("~", "~0").replaceAll("/", "~1")}`)
    .join("");
}
