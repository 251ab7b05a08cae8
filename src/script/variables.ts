import { isKnownVariable } from "../config/known.ts";
import { ConfigError, type Directive } from "../config/types.ts";

/** Who the values are asked of: an HTTP request, a stream session. */
export interface ScriptContext {
  /** Values known so far, by a variable's index. undefined: not computed; null: not found. */
  readonly variables: (string | null | undefined)[];
  /** Captures of the last regex that matched: [0] the whole. */
  captures: readonly (string | undefined)[];
}

/** How a variable gets its value; undefined is nginx's "not found", which renders as an empty string. */
export interface VariableSpec<C> {
  readonly get: (context: C) => string | undefined;
  /** The value is computed once a request (map, most of nginx's module variables) rather than at each use. */
  readonly cached?: boolean;
  /** `set` may assign to it and something else than the plain slot happens ($args, $limit_rate). */
  readonly set?: (context: C, value: string) => void;
  /** `set` may redefine it (NGX_HTTP_VAR_CHANGEABLE). */
  readonly changeable?: boolean;
  /** Every value it may have, where the configuration alone tells (a map of constants). */
  readonly values?: readonly string[] | undefined;
}

/** A variable in use. `index` is its slot in `ScriptContext.variables`. */
export interface Variable<C> extends VariableSpec<C> {
  readonly name: string;
  readonly index: number;
}

/** The same while the configuration is built: a later directive may still define what gives the value. */
type Used<C> = { -readonly [K in keyof Variable<C>]: Variable<C>[K] };

/** `$http_NAME` and the like: makes the variable for a name. `rest` is what follows the prefix. */
export type PrefixVariable<C> = (rest: string) => VariableSpec<C>;

/** The variables of one configuration. Lookups by name happen only while it is built. */
export class Variables<C extends ScriptContext> {
  private readonly declared = new Map<string, VariableSpec<C>>();
  private readonly prefixes: { prefix: string; make: PrefixVariable<C> }[] = [];
  private readonly used = new Map<string, Used<C>>();
  /** The constants assigned to a variable; undefined where something else is assigned too. */
  private readonly assigned = new Map<string, readonly string[] | undefined>();
  private readonly refused: (error: ConfigError) => void;

  /** `refused` is told of a name that is unknown, which then has no value. Without it, such a name is thrown. */
  constructor(
    refused: (error: ConfigError) => void = (error) => {
      throw error;
    },
  ) {
    this.refused = refused;
  }

  /** How many are in use: the slots a request needs. */
  get count(): number {
    return this.used.size;
  }

  /** Declares a variable. Throws nginx's `the duplicate "x" variable` when a fixed one is declared again. */
  declare(written: string, spec: VariableSpec<C>, directive?: Directive): void {
    if (written === "") throw new ConfigError('invalid variable name "$"', directive);
    const name = written.toLowerCase();
    const known = this.declared.get(name);
    if (known !== undefined && known.changeable !== true)
      throw new ConfigError(`the duplicate "${written}" variable`, directive);
    this.declared.set(name, spec);
    const used = this.used.get(name);
    if (used === undefined) return;
    used.get = spec.get;
    used.cached = spec.cached ?? false;
    used.set = spec.set;
  }

  has(name: string): boolean {
    return this.declared.has(name);
  }

  prefix(prefix: string, make: PrefixVariable<C>): void {
    this.prefixes.push({ prefix, make });
    this.prefixes.sort((a, b) => b.prefix.length - a.prefix.length);
  }

  /**
   * The variable of that name, given a slot at its first use. nginx's names are case-insensitive in the configuration.
   * `at`: where it is named.
   */
  use(written: string, at?: Directive): Variable<C> {
    if (written === "") throw new ConfigError('invalid variable name "$"', at);
    const name = written.toLowerCase();
    const known = this.used.get(name);
    if (known !== undefined) return known;
    const spec = this.declared.get(name) ?? this.fromPrefix(name) ?? this.unknown(name, at);
    const { get, cached = false, set, changeable = false } = spec;
    const made: Used<C> = { name, index: this.used.size, get, cached, set, changeable };
    this.used.set(name, made);
    return made;
  }

  /**
   * A variable that `set`, a regex group or the like assigns to: declared at the first mention, shared by all that name
   * it. `unset` gives its value where nothing was assigned, unless something else defines it; "not found" without one.
   * `constant`: what is assigned, where that is always the same. Throws nginx's sentence for a variable that may not be
   * redefined.
   */
  assignable(written: string, directive?: Directive, unset?: VariableSpec<C>["get"], constant?: string): Variable<C> {
    const name = written.toLowerCase();
    const known = this.declared.get(name);
    if (known !== undefined && known.changeable !== true)
      throw new ConfigError(`the duplicate "${written}" variable`, directive);
    if (known === undefined) {
      // `set $http_x …`: where nothing was assigned, the request's field shows through.
      const prefixed = unset === undefined ? undefined : this.fromPrefix(name);
      const get = unset ?? notFound;
      const values = prefixed === undefined ? [] : undefined;
      this.declare(written, { get, cached: true, ...prefixed, values, changeable: true }, directive);
    }
    const earlier = this.assigned.has(name) ? this.assigned.get(name) : [];
    this.assigned.set(name, constant === undefined ? undefined : earlier && [...earlier, constant]);
    return this.use(name, directive);
  }

  /** Every value the variable may have, once the configuration has been built; undefined where that is not known. */
  valuesOf(written: string): readonly string[] | undefined {
    const name = written.toLowerCase();
    const values = this.declared.get(name)?.values;
    const assigned = this.assigned.has(name) ? this.assigned.get(name) : [];
    return values && assigned && [...values, ...assigned];
  }

  private unknown(name: string, at: Directive | undefined): VariableSpec<C> {
    const message = isKnownVariable(name)
      ? `"${name}" variable is known to nginx but not available in Holdfast yet`
      : `unknown "${name}" variable`;
    this.refused(new ConfigError(message, at));
    return { get: notFound };
  }

  private fromPrefix(name: string): VariableSpec<C> | undefined {
    for (const { prefix, make } of this.prefixes) {
      if (name.startsWith(prefix)) return make(name.slice(prefix.length));
    }
    return undefined;
  }
}

const notFound = (): undefined => undefined;

/** The value, or undefined when the variable is not found. What was assigned to it holds, even if it is not cached. */
export function variableValue<C extends ScriptContext>(context: C, variable: Variable<C>): string | undefined {
  const known = context.variables[variable.index];
  if (known !== undefined) return known === null ? undefined : known;
  const value = variable.get(context);
  if (variable.cached) context.variables[variable.index] = value ?? null;
  return value;
}

export function variableText<C extends ScriptContext>(context: C, variable: Variable<C>): string {
  return variableValue(context, variable) ?? "";
}

/** How deep variables that are made of other variables may go: nginx's bound. */
let depthLeft = 100;

/**
 * Evaluates a variable that is made of others (map, split_clients); one that leads back to itself is not found, and
 * `log` is told so (level error).
 */
export function evaluate<C extends ScriptContext>(
  context: C,
  name: string,
  get: (context: C) => string | undefined,
  log: (context: C, level: "error", message: string) => void,
): string | undefined {
  if (depthLeft === 0) {
    log(context, "error", `cycle while evaluating variable "${name}"`);
    return undefined;
  }
  depthLeft--;
  try {
    return get(context);
  } finally {
    depthLeft++;
  }
}
