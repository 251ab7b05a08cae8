/**
 * JSON merge patches (RFC 7396) with a version on each member, so that writers who did not know of one another can both be right:
 * a member that was changed after the version a patch is based on keeps its newer value, and all others of the patch are taken.
 */

export type Json = null | boolean | number | string | readonly Json[] | JsonObject;
export interface JsonObject {
  readonly [name: string]: Json;
}
type Members = Record<string, Json>;

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
  return typeof value === "object" && value !== null && !Array.isArray(value) && !JSON.isRawJSON(value);
}

// A member may have any name, `__proto__` too. Objects have their prototype none the less: V8 takes those without one for dictionaries,
// which JSON.stringify is slow with.

function member(of: JsonObject, name: string): Json | undefined {
  return Object.hasOwn(of, name) ? of[name] : undefined;
}

function setMember(of: Members, name: string, value: Json): void {
  if (name !== "__proto__") of[name] = value;
  else Object.defineProperty(of, name, { value, writable: true, enumerable: true, configurable: true });
}

/**
 * Applies a patch that was made from `base`; the result is version `version`. `made`: when each of its members was changed, where that was
 * at several times after `base`.
 */
export function mergePatch(
  data: JsonObject,
  stamps: Stamps,
  patch: JsonObject,
  base: number,
  version: number,
  made?: Stamps,
): Patched {
  const conflicts: string[] = [];
  const later = new LaterChanges(stamps, base, made);
  /** The members that the patch changes. */
  const changed = new Set<string>();

  const merge = (target: Json | undefined, changes: JsonObject, prefix: string): Members => {
    const merged: Members = isObject(target) ? { ...target } : {};
    for (const name of Object.keys(changes)) {
      const change = changes[name];
      const present = member(merged, name);
      const path = prefix + escaped(name);
      if (isObject(change) && Object.keys(change).length > 0) {
        if (!isObject(present)) {
          if (later.has(path)) {
            conflicts.push(pointerOf(path));
            continue;
          }
          // What is no object becomes one, which replaces it.
          if (present !== undefined) changed.add(path);
        }
        setMember(merged, name, merge(present, change, path + SEPARATOR));
        continue;
      }
      if (isObject(change) && isObject(present)) continue;
      if (later.has(path)) {
        conflicts.push(pointerOf(path));
        continue;
      }
      changed.add(path);
      if (change === null) delete merged[name];
      else setMember(merged, name, change);
    }
    return merged;
  };

  const result = merge(data, patch, "");
  return { data: result, stamps: stamped(stamps, changed, version), conflicts };
}

/** What was changed after a version. Few stamps are, mostly none; a patch may have very many members. */
class LaterChanges {
  readonly #stamps: Stamps;
  readonly #base: number;
  readonly #made: Stamps | undefined;
  readonly #paths = new Set<string>();
  /** These, and all that they are in. */
  readonly #around = new Set<string>();

  constructor(stamps: Stamps, base: number, made: Stamps | undefined) {
    this.#stamps = stamps;
    this.#base = base;
    this.#made = made;
    for (const [path, version] of stamps.at) {
      if (version <= base) continue;
      this.#paths.add(path);
      this.#around.add(path);
      for (let at = path.indexOf(SEPARATOR); at >= 0; at = path.indexOf(SEPARATOR, at + 1)) {
        this.#around.add(path.slice(0, at));
      }
    }
  }

  /** Whether something at, in or around `path` was, and after the patch's own change of it too. */
  has(path: string): boolean {
    if (!this.#hasChanged(path)) return false;
    return (
      this.#made === undefined || changedAfter(this.#stamps, path, Math.max(this.#base, changedAt(this.#made, path)))
    );
  }

  #hasChanged(path: string): boolean {
    if (this.#paths.size > 0 && (this.#around.has(path) || isInside(path, this.#paths))) return true;
    return this.#stamps.floor > this.#base && !this.#stamps.at.has(path);
  }
}

/** When the member was changed, or one around it; 0: nobody knows. */
export function changedAt({ at }: Stamps, path: string): number {
  let last = 0;
  for (const [stamped, version] of at) if (version > last && isWithin(path, stamped)) last = version;
  return last;
}

function changedAfter({ floor, at }: Stamps, path: string, base: number): boolean {
  for (const [stamped, version] of at) {
    if (version > base && (isWithin(stamped, path) || isWithin(path, stamped))) return true;
  }
  return floor > base && !at.has(path);
}

/** Whether the member `inner` is `outer` or in it. */
function isWithin(inner: string, outer: string): boolean {
  return inner === outer || (inner.startsWith(outer) && inner.startsWith(SEPARATOR, outer.length));
}

/** Whether a member is in one of these. */
function isInside(path: string, outer: ReadonlySet<string>): boolean {
  for (let at = path.indexOf(SEPARATOR); at >= 0; at = path.indexOf(SEPARATOR, at + 1)) {
    if (outer.has(path.slice(0, at))) return true;
  }
  return false;
}

/** The stamps when these members have been changed: what was in them has no stamp of its own any more. */
function stamped({ floor, at }: Stamps, changed: ReadonlySet<string>, version: number): Stamps {
  const stamps = new Map(at);
  for (const path of at.keys()) if (isInside(path, changed)) stamps.delete(path);
  for (const path of changed) stamps.set(path, version);
  return thinned({ floor, at: stamps });
}

/** Forgets the oldest stamps where there are too many: who is based on less than they were is no longer told apart. */
function thinned(stamps: Stamps): Stamps {
  if (stamps.at.size <= MAX_STAMPS) return stamps;
  const versions = [...stamps.at.values()].sort((one, other) => one - other);
  const floor = Math.max(stamps.floor, versions[Math.floor(versions.length / 2)]);
  return { floor, at: new Map([...stamps.at].filter(([, version]) => version > floor)) };
}

function escaped(name: string): string {
  return !name.includes(SEPARATOR) ? name : name.replaceAll(SEPARATOR, "\u0001\u0001");
}

function pointerOf(path: string): string {
  return path
    .split(SEPARATOR)
    .map((name) => `/${name.replaceAll("~", "~0").replaceAll("/", "~1")}`)
    .join("");
}
