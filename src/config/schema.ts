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
  /** What a scope has where nothing was set on it or above it. Called once a scope, so lists are not shared. */
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
  /** The settings in force in a scope: own, else the nearest ancestor's where `inherit`, else `initial`. Not memoised. */
  in(scope: Scope): SettingsOf<D>;
  /** Only what the scope itself sets; undefined for the rest. */
  own(scope: Scope): Partial<SettingsOf<D>>;
}

/** Declares a table of directives. `name` is nginx's name of the module without `ngx_` and `_module`. */
export function defineDirectives<const D extends Specs>(name: string, specs: D): Directives<D> {
  const keys = Object.keys(specs);
  return {
    name,
    specs,
    in(scope) {
      const settings: Record<string, unknown> = {};
      for (const key of keys) settings[key] = valueIn(scope, specs[key]);
      return settings as SettingsOf<D>;
    },
    own(scope) {
      const settings: Record<string, unknown> = {};
      for (const key of keys) if (scope.values.has(specs[key])) settings[key] = scope.values.get(specs[key]);
      return settings as Partial<SettingsOf<D>>;
    },
  };
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
