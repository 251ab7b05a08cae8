import type { Sliced } from "../sys/sliced.ts";
import { ConfigError, type Context, type Directive } from "./types.ts";

/**
 * The declaration of a directive (ngx_command_t and more): its parsing, checks, inheritance, the type of its setting and
 * its entry in docs/directives.md. Usually made by a function of directives.ts (flag, size, msec, …).
 */
export interface DirectiveSpec<T> {
  readonly in: readonly Context[];
  /** The least and the greatest number of arguments. */
  readonly args: readonly [min: number, max: number];
  /** Takes a block, of that context. "free": `read` handles the lines of the block itself (map, types). */
  readonly block?: Context | "free" | ((parent: Context) => Context);
  /** A `;` may stand in the place of the block. */
  readonly blockOptional?: boolean;
  /** The arguments in docs/directives.md: `on|off`, `time`, `address[:port] [parameters]` … */
  readonly syntax: string;
  /** What it does, in a sentence or a few, for docs/directives.md. */
  readonly doc: string;
  /** The default value. Scopes share what it returns, which must not be modified. */
  readonly initial: () => T;
  /** The default in docs/directives.md; absent: none ("—"). */
  readonly defaultText?: string;
  /** May be repeated in one block; else the second one "is duplicate". */
  readonly repeat?: boolean;
  /** false: not inherited by nested blocks (proxy_pass, try_files). Default true. */
  readonly inherit?: boolean;
  /** Makes the setting of the arguments. `previous`: the value set before in the same block, if `repeat`. */
  read(directive: Directive, scope: Scope, previous: T | undefined): T;
  /** The same in slices, for a block that may have very many lines; called in its place. */
  readSliced?(directive: Directive, scope: Scope, previous: T | undefined): Sliced<T>;
  /**
   * Its block may be sent to other processes sealed: there it is read, and what it is for is built, when it is first needed.
   * Not so where something in it reaches out (`reachesOut`), or where there is such a block in it. "half": the blocks in it
   * may be sealed together.
   */
  readonly sealable?: true | "half";
  /** Called with the scope of its block after the `}`, for checks of the whole ("no servers are inside upstream"). */
  close?(block: Scope): void;
}

/** A block of the configuration, with what is set directly in it. */
export interface Scope {
  readonly context: Context;
  /** The directive of the block; for "main" a placeholder with name "". */
  readonly directive: Directive;
  readonly parent: Scope | undefined;
  /** The block's own settings; inherited ones are found through `parent`. */
  readonly values: Map<DirectiveSpec<unknown>, unknown>;
  /** The directives that set them, for errors that are found later ("host not found in upstream …"). */
  readonly places: Map<DirectiveSpec<unknown>, Directive>;
  /** Nested blocks with a context (servers, locations, ifs, upstreams), in the order written. */
  readonly children: Scope[];
  /** Whether there are any: of a half sealed block it can be said before they are read. */
  readonly hasChildren: boolean;
  /** All directives of the block, in the order written (rewrite runs them in order). */
  readonly order: { readonly spec: DirectiveSpec<unknown>; readonly directive: Directive; readonly child?: Scope }[];
  /** Data of modules about the whole configuration, such as the upstreams defined so far: one map for all scopes. */
  readonly notes: Map<symbol, unknown>;
}

export type Specs = Readonly<Record<string, DirectiveSpec<unknown>>>;
export type SettingsOf<D extends Specs> = { readonly [K in keyof D]: D[K] extends DirectiveSpec<infer T> ? T : never };

/** The directives of a module. */
export interface Directives<D extends Specs> {
  readonly name: string;
  readonly specs: D;
  /**
   * The settings in force in a scope: its own, else inherited ones, else `initial`. Not to be modified: once all has been
   * read, blocks that set none of them share their parent's object.
   */
  in(scope: Scope): SettingsOf<D>;
  /** Only what is set in the scope itself; the rest is undefined. */
  own(scope: Scope): Partial<SettingsOf<D>>;
}

type Values = Readonly<Record<string, unknown>>;

/** The settings of one table in force in a block, and in blocks inside it that set none of them (see `inherit`). */
interface Settled {
  readonly here: Values;
  readonly inside: Values;
}

/** A cache of the settings in force, by table and block. */
class SettledSettings extends Map<Specs, Map<Scope | undefined, Settled>> {}

const SETTLED = Symbol("settled settings");

/** The configuration has been read completely: settings can be cached from now on. */
export function settle(root: Scope): void {
  root.notes.set(SETTLED, new SettledSettings());
}

/** Reads more of the configuration meanwhile: what is in force there is not to be cached before it is complete. */
export function unsettled({ notes }: Scope, read: () => void): void {
  const settled = notes.get(SETTLED);
  notes.delete(SETTLED);
  try {
    read();
  } finally {
    notes.set(SETTLED, settled);
  }
}

/** Declares a table of directives. `name` is nginx's name of the module without `ngx_` and `_module`. */
export function defineDirectives<const D extends Specs>(name: string, specs: D): Directives<D> {
  const keys = Object.keys(specs);
  const keyOf = new Map<DirectiveSpec<unknown>, string>(keys.map((key) => [specs[key], key]));
  const uninherited = keys.filter((key) => specs[key].inherit === false);

  const collect = (scope: Scope | undefined): Values => {
    const settings: Record<string, unknown> = {};
    for (const key of keys) settings[key] = scope === undefined ? specs[key].initial() : valueIn(scope, specs[key]);
    // The copy has a fixed layout in V8, which makes further copies small.
    return { ...settings };
  };
  const settledIn = (scope: Scope | undefined, known: Map<Scope | undefined, Settled>): Settled => {
    let settled = known.get(scope);
    if (settled !== undefined) return settled;
    if (scope === undefined) {
      const here = collect(undefined);
      settled = { here, inside: here };
    } else {
      const around = settledIn(scope.parent, known);
      settled = settledFrom(scope, around);
      if (settled === around && !scope.hasChildren) return settled;
    }
    known.set(scope, settled);
    return settled;
  };
  const settledFrom = ({ values, hasChildren }: Scope, around: Settled): Settled => {
    const { inside } = around;
    let here: Record<string, unknown> | undefined;
    for (const [spec, value] of values) {
      const key = keyOf.get(spec);
      if (key === undefined) continue;
      here ??= { ...inside };
      here[key] = value;
    }
    if (here === undefined) return inside === around.here ? around : { here: inside, inside };
    const own = !hasChildren ? [] : uninherited.filter((key) => values.has(specs[key]));
    if (own.length === 0) return { here, inside: here };
    return { here, inside: { ...here, ...Object.fromEntries(own.map((key) => [key, inside[key]])) } };
  };
  return {
    name,
    specs,
    in(scope) {
      const settled = scope.notes.get(SETTLED);
      if (!(settled instanceof SettledSettings)) return collect(scope) as SettingsOf<D>;
      let known = settled.get(specs);
      if (known === undefined) {
        known = new Map();
        settled.set(specs, known);
      }
      return settledIn(scope, known).here as SettingsOf<D>;
    },
    own(scope) {
      const settings: Record<string, unknown> = {};
      for (const key of keys) if (scope.values.has(specs[key])) settings[key] = scope.values.get(specs[key]);
      return settings as Partial<SettingsOf<D>>;
    },
  };
}

const SETTING = Symbol("scopes by directive");

class ScopesByDirective extends Map<DirectiveSpec<unknown>, Scope[]> {}

/** Notes that a directive is set in a scope, at its first line there. */
export function noteSet(scope: Scope, spec: DirectiveSpec<unknown>, directive: Directive): void {
  if (scope.places.has(spec)) return;
  scope.places.set(spec, directive);
  const noted = scope.notes.get(SETTING);
  const known = noted instanceof ScopesByDirective ? noted : new ScopesByDirective();
  if (noted === undefined) scope.notes.set(SETTING, known);
  const scopes = known.get(spec);
  if (scopes === undefined) known.set(spec, [scope]);
  else scopes.push(scope);
}

/** The scopes of the whole configuration that set a directive. */
export function scopesThatSet({ notes }: Scope, spec: DirectiveSpec<unknown>): readonly Scope[] {
  const known = notes.get(SETTING);
  return (known instanceof ScopesByDirective ? known.get(spec) : undefined) ?? [];
}

/** The value of one directive in force in a scope. `if` and `limit_except` blocks inherit as nested locations do. */
export function valueIn<T>(scope: Scope, spec: DirectiveSpec<T>): T {
  for (let at: Scope | undefined = scope; at !== undefined; at = spec.inherit === false ? undefined : at.parent) {
    if (at.values.has(spec)) return at.values.get(spec) as T;
  }
  return spec.initial();
}

/** The value that a directive has been given in the scope itself. */
export function ownValue<T>(scope: Scope, spec: DirectiveSpec<T>): T | undefined {
  return scope.values.get(spec) as T | undefined;
}

const REACHING = Symbol("reaching out");

class ReachingOut extends Set<Directive> {}

/**
 * Notes that a directive has an effect outside of its block once it is read or built: it declares a variable, makes an
 * upstream, opens a file. Such an effect must be there from the start, in every process.
 */
export function reachesOut({ notes }: Scope, directive: Directive): void {
  const known = notes.get(REACHING);
  if (known instanceof ReachingOut) known.add(directive);
  else notes.set(REACHING, new ReachingOut([directive]));
}

const NONE: ReadonlySet<Directive> = new Set();

function reachingIn({ notes }: Scope): ReadonlySet<Directive> {
  const known = notes.get(REACHING);
  return known instanceof ReachingOut ? known : NONE;
}

/** Whether nothing in a block that is read and built reaches out, and nothing in it can be sealed by itself. */
export function isSelfContained(scope: Scope): boolean {
  const reaching = reachingIn(scope);
  if (reaching.has(scope.directive)) return false;
  return scope.order.every(
    ({ spec, directive, child }) =>
      !reaching.has(directive) && (child === undefined || (spec.sealable !== true && isSelfContained(child))),
  );
}

/** The directives of a configuration whose blocks can be sealed, and those in whose blocks others can be sealed together. */
export interface Sealable {
  readonly whole: ReadonlySet<Directive>;
  readonly half: ReadonlySet<Directive>;
}

/** The most blocks that are sealed together: with the first need of one, all are unpacked, some 30 µs each. */
const MOST_TOGETHER = 100;

/** To be called when all is built. See `DirectiveSpec.sealable`. */
export function sealable(root: Scope): Sealable {
  const reaching = reachingIn(root);
  const whole = new Set<Directive>();
  const half = new Set<Directive>();
  const visit = ({ order }: Scope): void => {
    for (const { spec, directive, child } of order) {
      if (child === undefined) continue;
      if (spec.sealable === true && isSelfContained(child)) {
        whole.add(directive);
        continue;
      }
      visit(child);
      if (spec.sealable === "half" && !reaching.has(directive) && isHalfSealable(child)) half.add(directive);
    }
  };
  const isHalfSealable = ({ order, children }: Scope): boolean =>
    children.length <= MOST_TOGETHER &&
    order.every(({ directive, child }) => (child === undefined ? !reaching.has(directive) : whole.has(directive)));
  visit(root);
  return { whole, half };
}

/** The directive that sets what is in force in a scope, the first of several; where none does, the scope's own. */
export function placeIn(scope: Scope, spec: DirectiveSpec<unknown>): Directive {
  for (let at: Scope | undefined = scope; at !== undefined; at = at.parent) {
    const place = at.places.get(spec);
    if (place !== undefined) return place;
  }
  return scope.directive;
}

/** The directive without its lines, to be kept: those of a large block would hold much memory. */
export function withoutLines(directive: Directive): Directive {
  const { name, args, file, line, endLine } = directive;
  return { name, args, file, line, block: [], ...(endLine === undefined ? {} : { endLine }) };
}

/** An error at a directive, in nginx's words. */
export function fail(directive: Directive, message: string): never {
  throw new ConfigError(message, directive);
}
