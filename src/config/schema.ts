import { ConfigError, type Context, type Directive } from "./types.ts";

/**
 * A directive's declaration: parsing, checking, inheritance, the type of its setting and its entry in
 * docs/directives.md all come from this one value. Make one with a helper of `directives.ts` (flag, size, time, …).
 */
export interface DirectiveSpec<T> {
  readonly in: readonly Context[];
  /** Least and most number of arguments. */
  readonly args: readonly [min: number, max: number];
  /** A directive with `{ … }`. "free": the block's lines are read by `read` itself and not checked (map, types). */
  readonly block?: Context | "free" | ((parent: Context) => Context);
  /** `on|off`, `time`, `address[:port] [parameters]` …: what the reference page shows after the name. */
  readonly syntax: string;
  /** One sentence (or a few) saying what it does; the reference page is made of it. */
  readonly doc: string;
  /** What a scope has where nothing was set on it or above it. Scopes may share what it returns: nobody may write to it. */
  readonly initial: () => T;
  /** The default as the reference page shows it; absent: no default ("—"). */
  readonly defaultText?: string;
  /** May stand several times in one block; `previous` is then what the earlier ones made. Else: "is duplicate". */
  readonly repeat?: boolean;
  /** false: a nested block starts from `initial` again (proxy_pass, try_files). Default true. */
  readonly inherit?: boolean;
  /** Turns arguments into the setting. `previous` is this same block's value so far, when `repeat`. */
  read(directive: Directive, scope: Scope, previous: T | undefined): T;
  /** Called with a block's own scope when its `}` has been read, for checks of the whole ("no servers are inside upstream"). */
  close?(block: Scope): void;
}

/** A block of the configuration with what was set directly in it. */
export interface Scope {
  readonly context: Context;
  /** The directive that opened it; for "main" a placeholder with name "". */
  readonly directive: Directive;
  readonly parent: Scope | undefined;
  /** The block's own settings only, by declaration. Inherited ones are found through `parent`. */
  readonly values: Map<DirectiveSpec<unknown>, unknown>;
  /** The directive that set a value, for errors that arise later ("host not found in upstream …"). */
  readonly places: Map<DirectiveSpec<unknown>, Directive>;
  /** Nested blocks that have a context (servers, locations, ifs, upstreams), in the order written. */
  readonly children: Scope[];
  /** Every directive of the block in the order written, each with its declaration (rewrite runs them in order). */
  readonly order: { readonly spec: DirectiveSpec<unknown>; readonly directive: Directive; readonly child?: Scope }[];
  /** What a `read` may keep on the scope tree for its module, such as the upstreams named so far. Shared by all scopes of one tree. */
  readonly notes: Map<symbol, unknown>;
}

export type Specs = Readonly<Record<string, DirectiveSpec<unknown>>>;
export type SettingsOf<D extends Specs> = { readonly [K in keyof D]: D[K] extends DirectiveSpec<infer T> ? T : never };

/** A named table of directives, and the door to its settings. */
export interface Directives<D extends Specs> {
  readonly name: string;
  readonly specs: D;
  /**
   * The settings in force in a scope: own, else the nearest ancestor's where `inherit`, else `initial`. Once all has
   * been read, blocks that set none of them share one object: nobody may write to it.
   */
  in(scope: Scope): SettingsOf<D>;
  /** Only what the scope itself sets; undefined for the rest. */
  own(scope: Scope): Partial<SettingsOf<D>>;
}

type Values = Readonly<Record<string, unknown>>;

/** The settings of one table that are in force in a block, and in blocks inside it that set none of them (see `inherit`). */
interface Settled {
  readonly here: Values;
  readonly inside: Values;
}

/** Settings in force, made when first asked for, by table and block: those of blocks that set none are their parents'. */
class SettledSettings extends Map<Specs, Map<Scope | undefined, Settled>> {}

const SETTLED = Symbol("settled settings");

/** All of a configuration has been read: no scope's values change any more. */
export function settle(root: Scope): void {
  root.notes.set(SETTLED, new SettledSettings());
}

/** Declares a table of directives. `name` is nginx's name of the module without `ngx_` and `_module`. */
export function defineDirectives<const D extends Specs>(name: string, specs: D): Directives<D> {
  const keys = Object.keys(specs);
  const all = new Set<DirectiveSpec<unknown>>(Object.values(specs));
  const uninherited = keys.filter((key) => specs[key].inherit === false);

  const collect = (scope: Scope | undefined): Values => {
    const settings: Record<string, unknown> = {};
    for (const key of keys) settings[key] = scope === undefined ? specs[key].initial() : valueIn(scope, specs[key]);
    // Copying makes V8 lay it out as a struct: copies of that one are small.
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
      if (settled === around && scope.children.length === 0) return settled;
    }
    known.set(scope, settled);
    return settled;
  };
  const settledFrom = ({ values, order, children }: Scope, around: Settled): Settled => {
    const { inside } = around;
    if (!setsAny(order, all)) return inside === around.here ? around : { here: inside, inside };
    const here = { ...inside };
    for (const key of keys) if (values.has(specs[key])) here[key] = values.get(specs[key]);
    const own = children.length === 0 ? [] : uninherited.filter((key) => values.has(specs[key]));
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

/** Without an iterator: it is asked of every block for every table. */
function setsAny(order: Scope["order"], specs: ReadonlySet<DirectiveSpec<unknown>>): boolean {
  for (let i = 0; i < order.length; i++) if (specs.has(order[i].spec)) return true;
  return false;
}

/** The value of one directive in force in a scope. An `if` or `limit_except` block is a nested location here. */
export function valueIn<T>(scope: Scope, spec: DirectiveSpec<T>): T {
  for (let at: Scope | undefined = scope; at !== undefined; at = spec.inherit === false ? undefined : at.parent) {
    if (at.values.has(spec)) return at.values.get(spec) as T;
  }
  return spec.initial();
}

/** An error at a directive, in nginx's words. */
export function fail(directive: Directive, message: string): never {
  throw new ConfigError(message, directive);
}
