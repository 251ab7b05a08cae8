import { isKnownVariable } from "../config/known.ts";
import { ConfigError, type Directive } from "../config/types.ts";

/** What values are computed from: an HTTP request, a stream session. */
export interface ScriptContext {
  /** Values computed so far, by a variable's index. undefined: not computed; null: not found. */
  readonly variables: (string | null | undefined)[];
  /** Captures of the last regex that matched: [0] the whole. */
  captures: readonly (string | undefined)[];
}

/** How a variable gets its value; undefined is nginx's "not found", which renders as an empty string. */
export interface VariableSpec<C> {
  readonly get: (context: C) => string | undefined;
  /** Computed once per request (map, most of nginx's module variables) instead of at each use. */
  readonly cached?: boolean;
  /** The same for all requests that one server gets from the peer of one connection. */
  readonly ofConnection?: boolean;
  /** Called by `set` for variables that are not just a slot ($args, $limit_rate). */
  readonly set?: (context: C, value: string) => void;
  /** `set` may redefine it (NGX_HTTP_VAR_CHANGEABLE). */
  readonly changeable?: boolean;
}

/** A variable in use. `index` is its slot in `ScriptContext.variables`. */
export interface Variable<C> extends VariableSpec<C> {
  readonly name: string;
  readonly index: number;
}

/** While the configuration is built: a later directive may still define how it is computed. */
type Used<C> = { -readonly [K in keyof Variable<C>]: Variable<C>[K] };

/** `$http_NAME` and the like: makes the variable for a name. `rest` is what follows the prefix. */
export type PrefixVariable<C> = (rest: string) => VariableSpec<C>;

/** The variables of one configuration. Lookups by name happen only while it is built, and for names that a page has. */
export class Variables<C extends ScriptContext> {
  private readonly declared = new Map<string, VariableSpec<C>>();
  private readonly prefixes: { prefix: string; make: PrefixVariable<C> }[] = [];
  private readonly used = new Map<string, Used<C>>();
  private readonly refused: (error: ConfigError) => void;
  private readonly declaredBy: (directive: Directive) => void;

  /** How many variables are in use: the slots that a request needs. A location that is built late may add some. */
  count = 0;

  /**
   * `refused` gets the error about an unknown name, which then has no value. Without it the error is thrown. `declaredBy` gets
   * each directive that declares a variable, or changes how it is computed.
   */
  constructor(
    refused: (error: ConfigError) => void = (error) => {
      throw error;
    },
    declaredBy: (directive: Directive) => void = () => {},
  ) {
    this.refused = refused;
    this.declaredBy = declaredBy;
  }

  /** Declares a variable. Throws nginx's `the duplicate "x" variable` if it may not be redefined. */
  declare(written: string, spec: VariableSpec<C>, directive?: Directive): void {
    if (written === "") throw new ConfigError('invalid variable name "$"', directive);
    const name = written.toLowerCase();
    const known = this.declared.get(name);
    if (known !== undefined && known.changeable !== true)
      throw new ConfigError(`the duplicate "${written}" variable`, directive);
    this.declared.set(name, spec);
    if (directive !== undefined) this.declaredBy(directive);
    const used = this.used.get(name);
    if (used === undefined) return;
    used.get = spec.get;
    used.cached = spec.cached ?? false;
    used.ofConnection = spec.ofConnection ?? false;
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
   * The variable of that name, which gets a slot at its first use. Names are case-insensitive, as in nginx's
   * configuration. `at`: the directive that uses it.
   */
  use(written: string, at?: Directive): Variable<C> {
    if (written === "") throw new ConfigError('invalid variable name "$"', at);
    const name = written.toLowerCase();
    const known = this.used.get(name);
    if (known !== undefined) return known;
    const spec = this.declared.get(name) ?? this.fromPrefix(name) ?? this.unknown(name, at);
    const { get, cached = false, ofConnection = false, set, changeable = false } = spec;
    const made: Used<C> = { name, index: this.count++, get, cached, ofConnection, set, changeable };
    this.used.set(name, made);
    return made;
  }

  /**
   * A variable that `set`, a regex group or the like assigns to, declared at its first mention. `unset` is its value
   * before anything was assigned, unless something else defines it; without `unset` it is not found. Throws nginx's error if
   * the variable may not be redefined.
   */
  assignable(written: string, directive?: Directive, unset?: VariableSpec<C>["get"]): Variable<C> {
    const name = written.toLowerCase();
    const known = this.declared.get(name);
    if (known !== undefined && known.changeable !== true)
      throw new ConfigError(`the duplicate "${written}" variable`, directive);
    if (known === undefined) {
      // `set $http_x …`: before anything is assigned, the request's field is the value.
      const prefixed = unset === undefined ? undefined : this.fromPrefix(name);
      const get = unset ?? notFound;
      this.declare(written, { get, cached: true, ...prefixed, changeable: true }, directive);
    }
    return this.use(name, directive);
  }

  /**
   * The value of a variable whose name, in lower case, is known only now (ngx_http_get_variable). One that nothing in the
   * configuration uses has no slot and is computed each time.
   */
  valueOf(context: C, name: string): string | undefined {
    const used = this.used.get(name);
    if (used !== undefined) return variableValue(context, used);
    return (this.declared.get(name) ?? this.fromPrefix(name))?.get(context);
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

/** The value, or undefined if it is not found. An assigned value is kept even if the variable is not cached. */
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

/** How deep variables may depend on one another: nginx's limit. */
let depthLeft = 100;

/**
 * Evaluates a variable that depends on others (map, split_clients). One that depends on itself is not found, which
 * `log` gets at level error.
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
