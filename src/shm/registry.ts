import { refusalsOf } from "../config/errors.ts";
import { fail, type Scope } from "../config/schema.ts";
import { ConfigError, type Directive } from "../config/types.ts";
import { parseSize } from "../config/values.ts";
import { isIntact, makeOwnZone, makeZone, Zone, type ZoneHandle, type ZoneKind } from "./zone.ts";

/**
 * The zones of a configuration by name, size and kind: those that directives declare (ngx_shared_memory_add), and the
 * memory of all, which a reload keeps.
 */

/** nginx's least zone: 8 pages. */
export const LEAST_ZONE = 8 * 4096;

/** A zone that a directive named. */
export interface DeclaredZone {
  readonly kind: ZoneKind;
  readonly name: string;
  /** In bytes; 0 as long as nobody has given one. */
  readonly size: number;
}

interface Declaration extends DeclaredZone {
  size: number;
}

const DECLARED = Symbol("zones");

class Declarations extends Map<string, Declaration> {}

function declarationsOf(scope: Scope): Declarations {
  const known = scope.notes.get(DECLARED);
  if (known instanceof Declarations) return known;
  const made = new Declarations();
  scope.notes.set(DECLARED, made);
  return made;
}

/**
 * The zone of that name in this configuration, declared by this directive if by none before. A size of 0 refers to one
 * that another directive gives a size. Throws ConfigError in nginx's words.
 */
export function declareZone(at: Directive, scope: Scope, kind: ZoneKind, name: string, size: number): DeclaredZone {
  const declarations = declarationsOf(scope);
  const known = declarations.get(name);
  if (known === undefined) {
    const made = { kind, name, size };
    declarations.set(name, made);
    return made;
  }
  if (known.kind !== kind) fail(at, `the shared memory zone "${name}" is already declared for a different use`);
  if (known.size === 0) known.size = size;
  if (size !== 0 && known.size !== size) {
    fail(at, `the size ${size} of shared memory zone "${name}" conflicts with already declared size ${known.size}`);
  }
  return known;
}

/** Notes an error for each zone that no directive gave a size. To be called when the whole configuration has been read. */
export function refuseZonesWithoutSize(scope: Scope): void {
  for (const { name, size } of declarationsOf(scope).values()) {
    if (size === 0) refusalsOf(scope).note(new ConfigError(`zero size shared memory zone "${name}"`), "end");
  }
}

/** `zone=NAME:SIZE`, as limit_req_zone and limit_conn_zone take it. */
export function readZone(at: Directive, parameter: string): { readonly name: string; readonly size: number } {
  const [, name, text] = /^zone=([^:]*):(.*)$/s.exec(parameter) ?? fail(at, `invalid zone size "${parameter}"`);
  const size = parseSize(text) ?? fail(at, `invalid zone size "${parameter}"`);
  return { name, size: largeEnough(at, parameter, size) };
}

/** The size, unless it is below nginx's least. `shown` stands for the zone in the error. */
export function largeEnough(at: Directive, shown: string, size: number): number {
  return size < LEAST_ZONE ? fail(at, `zone "${shown}" is too small`) : size;
}

/** A zone that whatever is being built needs. */
export interface ZoneWanted {
  readonly kind: ZoneKind;
  /** Unique among its kind. */
  readonly name: string;
  /** Bytes of its contents. */
  readonly size: number;
  /** What its contents are filed under (the key of limit_req_zone): under another one it is not kept, but refused. */
  readonly key?: {
    readonly text: string;
    /** The error where the zone in force has another key. */
    readonly refusal: (before: string) => string;
  };
  /** Called when the cycle before had this zone in another size: copies its states into the new one. */
  readonly migrate?: (old: Zone, fresh: Zone) => void;
}

/** The memory of a cycle's zones, by kind and name. */
export type ZoneHandles = Readonly<Record<string, ZoneHandle>>;

function placeOf({ kind, name }: ZoneWanted): string {
  return `${kind.name} ${name}`;
}

/**
 * The zones of a cycle while the master builds it. Zones of the cycle before with the same kind, name and size are kept;
 * they are in use, so blank ones stand in for them here: a cycle that is refused leaves no trace in them.
 */
export class NewZones {
  readonly #handles: Record<string, ZoneHandle> = {};
  readonly #previous: ZoneHandles;
  readonly #blanks = new Map<string, Zone>();

  constructor(previous: ZoneHandles) {
    this.#previous = previous;
  }

  /** Those asked for so far. */
  get handles(): ZoneHandles {
    return this.#handles;
  }

  /** The zone, made if there is none. Throws ConfigError. */
  take(wanted: ZoneWanted): Zone {
    const place = placeOf(wanted);
    const taken = this.#handles[place];
    if (taken?.size === wanted.size) return this.#blanks.get(place) ?? new Zone(taken);
    const before = taken ?? this.#previous[place];
    // A process that was taken over can have written anything there: then a new one takes its place.
    const kept = before !== undefined && isIntact(before) ? before : undefined;
    if (kept !== undefined && kept.size === wanted.size && kept.kind.version === wanted.kind.version) {
      const { key } = wanted;
      if (key !== undefined && kept.key !== key.text) throw new ConfigError(key.refusal(kept.key ?? ""));
      const blank = makeOwnZone(wanted.kind, wanted.name, wanted.size);
      this.#handles[place] = kept;
      this.#blanks.set(place, blank);
      return blank;
    }
    const made = make(wanted);
    if (kept !== undefined && kept.kind.version === wanted.kind.version) wanted.migrate?.(new Zone(kept), made);
    this.#handles[place] = made.handle;
    return made;
  }
}

function make({ kind, name, size, key }: ZoneWanted): Zone {
  try {
    return makeZone(kind, name, size, key?.text);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw new ConfigError(`there is no memory for the ${size} bytes of shared memory zone "${name}"`);
  }
}

/** A zone of a cycle that the master has built. */
export function openZone(handles: ZoneHandles, wanted: ZoneWanted): Zone {
  const handle = handles[placeOf(wanted)];
  if (handle === undefined) throw new Error(`the shared zone "${placeOf(wanted)}" was not made by the master`);
  if (handle.size !== wanted.size) {
    throw new Error(`the shared zone "${placeOf(wanted)}" has another size than the master's`);
  }
  return new Zone(handle);
}
