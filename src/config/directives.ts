import { type Sliced, whole } from "../sys/sliced.ts";
import { warn } from "./errors.ts";
import { type DirectiveSpec, fail, type Scope } from "./schema.ts";
import { ConfigError, type Context, type Directive } from "./types.ts";
import { parseMsec, parseNumber, parseOffset, parseSec, parseSize, sizeText, timeText } from "./values.ts";

// Results are `NoInfer`: else the `DirectiveSpec<unknown>` that a table expects would become the type of the setting.

/** Fields of every declaration. */
interface Common {
  readonly in: readonly Context[];
  readonly doc: string;
  readonly syntax?: string;
  /** The default in docs/directives.md, if not the text of `default`. */
  readonly defaultText?: string;
  readonly inherit?: boolean;
}

/** A directive of one argument. Without `default` a setting that is not set is undefined. */
interface OneValue<T, D, W> extends Common {
  readonly default?: D;
  /** Words with a value of their own, in addition to what the directive takes: `{ auto: "auto" }`. Case-sensitive. */
  readonly words?: Readonly<Record<string, W>>;
  /** Checks a value that is none of `words`; throws with `fail` or `refuse`. */
  readonly check?: (value: T, directive: Directive, scope: Scope) => void;
}

/** `"x" directive REASON`: what nginx logs when a directive's handler returns a string ("invalid value", "is duplicate"). */
export function refuse(directive: Directive, reason: string): never {
  return fail(directive, `"${directive.name}" directive ${reason}`);
}

/** An error of a block as a whole, which nginx reports with the line of its `}`. */
export function failAtEnd(block: Scope, message: string): never {
  const { file, line, endLine } = block.directive;
  throw new ConfigError(message, { file, line: endLine ?? line });
}

/** For a directive whose number of arguments is not a plain range. */
export function wrongArguments(directive: Directive): never {
  return fail(directive, `invalid number of arguments in "${directive.name}" directive`);
}

/** `on` or `off`, case-insensitive; undefined for anything else. */
function parseFlag(text: string): boolean | undefined {
  const word = text.toLowerCase();
  return word === "on" ? true : word === "off" ? false : undefined;
}

/**
 * A directive with its own `read`. The setting is what `read` returns, or `initial` if it is not set. Give the type
 * explicitly (`directive<readonly Rule[]>`) if `read` uses `previous`.
 */
export function directive<T, I = T>(
  spec: Omit<DirectiveSpec<T>, "initial"> & { readonly initial: () => I },
): DirectiveSpec<NoInfer<T | I>> {
  const { read } = spec;
  // `previous` is the result of an earlier `read` in the same block, never an initial value.
  return { ...spec, read: (at, scope, previous) => read(at, scope, previous as T | undefined) };
}

/** A block whose lines are read in slices, since they may be very many (`geo`, `map`): `readSliced` yields now and then. */
export function largeBlock<T>(
  spec: Omit<DirectiveSpec<T>, "read" | "readSliced" | "block"> & {
    readonly readSliced: (directive: Directive, scope: Scope, previous: T | undefined) => Sliced<T>;
  },
): DirectiveSpec<T> {
  const { readSliced } = spec;
  return { ...spec, block: "free", read: (at, scope, previous) => whole(readSliced(at, scope, previous)) };
}

/** A block without arguments; the setting is whether it is there. */
export function block(
  options: Common & {
    readonly context: Context | ((parent: Context) => Context);
    readonly repeat?: boolean;
    readonly close?: (block: Scope) => void;
  },
): DirectiveSpec<boolean> {
  const { context, ...rest } = options;
  return {
    inherit: false,
    ...rest,
    args: [0, 0],
    block: context,
    syntax: options.syntax ?? "{ … }",
    initial: () => false,
    read: () => true,
  };
}

function one<T, D, W>(
  options: OneValue<T, D, W>,
  syntax: string,
  parse: (text: string, at: Directive) => T,
  show: (value: T | W | D) => string,
): DirectiveSpec<NoInfer<T | D | W>> {
  const { words = {}, check, default: initial, ...rest } = options;
  const names = Object.keys(words);
  const shown = names.find((name) => words[name] === initial) ?? (initial === undefined ? undefined : show(initial));
  return {
    ...rest,
    args: [1, 1],
    syntax: options.syntax ?? [syntax, ...names].join("|"),
    // Without a default D is `undefined`.
    initial: () => initial as D,
    defaultText: options.defaultText ?? shown,
    read(at, scope) {
      const [text] = at.args;
      if (Object.hasOwn(words, text)) return words[text];
      const value = parse(text, at);
      check?.(value, at, scope);
      return value;
    },
  };
}

/** `on|off` → boolean. */
export function flag<D extends boolean | W | undefined = undefined, const W = never>(
  options: OneValue<boolean, D, W>,
): DirectiveSpec<NoInfer<boolean | D | W>> {
  return one(
    options,
    "on|off",
    (text, at) =>
      parseFlag(text) ?? fail(at, `invalid value "${text}" in "${at.name}" directive, it must be "on" or "off"`),
    (value) => (value === true ? "on" : value === false ? "off" : String(value)),
  );
}

/** A file. The setting is the directive that names it, so that who opens it later can say where that is. */
export function file(about: Common): DirectiveSpec<Directive | undefined> {
  return directive<Directive | undefined>({
    args: [1, 1],
    syntax: "file",
    ...about,
    initial: () => undefined,
    read: (at) => at,
  });
}

/** A number of at least zero, or within `min` and `max` (inclusive). */
export function number<D extends number | W | undefined = undefined, const W = never>(
  options: OneValue<number, D, W> & { readonly min?: number; readonly max?: number },
): DirectiveSpec<NoInfer<number | D | W>> {
  const { min, max, ...rest } = options;
  const parse = (text: string, at: Directive) => {
    const value = parseNumber(text) ?? refuse(at, "invalid number");
    if (max !== undefined && (value < (min ?? 0) || value > max)) {
      fail(at, `value must be between ${min ?? 0} and ${max}`);
    }
    if (min !== undefined && value < min) fail(at, `value must be equal to or greater than ${min}`);
    return value;
  };
  return one(rest, "number", parse, String);
}

/** A size in bytes, with `k` or `m`. */
export function size<D extends number | W | undefined = undefined, const W = never>(
  options: OneValue<number, D, W>,
): DirectiveSpec<NoInfer<number | D | W>> {
  return one(options, "size", valid(parseSize), shownWith(sizeText));
}

/** A size in bytes, with `k`, `m` or `g`. */
export function offset<D extends number | W | undefined = undefined, const W = never>(
  options: OneValue<number, D, W>,
): DirectiveSpec<NoInfer<number | D | W>> {
  return one(options, "size", valid(parseOffset), shownWith(sizeText));
}

/** A time; the setting (and `default`) is in milliseconds. */
export function msec<D extends number | W | undefined = undefined, const W = never>(
  options: OneValue<number, D, W>,
): DirectiveSpec<NoInfer<number | D | W>> {
  return one(options, "time", valid(parseMsec), shownWith(timeText));
}

/** A time; the setting (and `default`) is in seconds. */
export function sec<D extends number | W | undefined = undefined, const W = never>(
  options: OneValue<number, D, W>,
): DirectiveSpec<NoInfer<number | D | W>> {
  return one(
    options,
    "time",
    valid(parseSec),
    shownWith((value) => timeText(value * 1000)),
  );
}

function valid(parse: (text: string) => number | undefined): (text: string, at: Directive) => number {
  return (text, at) => parse(text) ?? refuse(at, "invalid value");
}

function shownWith(show: (value: number) => string): (value: unknown) => string {
  return (value) => (typeof value === "number" ? show(value) : String(value));
}

/** Permissions of files, `user:rw group:r …` (ngx_conf_set_access_slot); the setting is the mode. */
export function access(options: Common & { readonly default: number }): DirectiveSpec<number> {
  const { default: initial, ...rest } = options;
  return {
    ...rest,
    args: [1, 3],
    syntax: options.syntax ?? "users:permissions ...",
    initial: () => initial,
    read(at) {
      let mode = 0;
      let user = 0o600;
      for (const arg of at.args) {
        const [, who, rights] = /^(user|group|all):(rw|r)$/.exec(arg) ?? fail(at, `invalid value "${arg}"`);
        if (who === "user") user = 0;
        mode |= (rights === "rw" ? 6 : 4) << (who === "user" ? 6 : who === "group" ? 3 : 0);
      }
      return mode | user;
    },
  };
}

/** A string. */
export function text<D extends string | W | undefined = undefined, const W = never>(
  options: OneValue<string, D, W>,
): DirectiveSpec<NoInfer<string | D | W>> {
  return one(
    options,
    "string",
    (value) => value,
    (value) => (value === "" ? '""' : String(value)),
  );
}

/** One of a few words, case-insensitive; the setting is the word as in `values`. */
export function enumeration<const V extends string, D extends NoInfer<V> | undefined = undefined>(
  options: OneValue<V, D, never> & { readonly values: readonly V[] },
): DirectiveSpec<NoInfer<V | D>> {
  const { values, ...rest } = options;
  return one(
    rest,
    values.join("|"),
    (text, at) => values.find((value) => value === text.toLowerCase()) ?? fail(at, `invalid value "${text}"`),
    String,
  );
}

/** A set of words, case-insensitive. Repeated directives in a block add to it. */
export function bitmask<const V extends string>(
  options: Common & { readonly values: readonly V[]; readonly default?: readonly NoInfer<V>[] },
): DirectiveSpec<ReadonlySet<V>> {
  const { values, default: initial, ...rest } = options;
  return {
    ...rest,
    args: [1, Number.POSITIVE_INFINITY],
    syntax: options.syntax ?? `${values.join(" | ")} …`,
    initial: () => new Set(initial),
    defaultText: options.defaultText ?? initial?.join(" "),
    repeat: true,
    read(at, scope, previous) {
      const set = new Set(previous);
      for (const word of at.args) {
        const value = values.find((candidate) => candidate.toLowerCase() === word.toLowerCase());
        if (value === undefined) fail(at, `invalid value "${word}"`);
        if (set.has(value)) warn(at, scope, `duplicate value "${word}"`);
        set.add(value);
      }
      return set;
    },
  };
}

/** ngx_bufs_t */
export interface Buffers {
  readonly count: number;
  readonly size: number;
}

/** `number size`, both above zero. */
export function bufs(options: Common & { readonly default: Buffers }): DirectiveSpec<Buffers>;
export function bufs(options: Common): DirectiveSpec<Buffers | undefined>;
export function bufs(options: Common & { readonly default?: Buffers }): DirectiveSpec<Buffers | undefined> {
  const { default: initial, ...rest } = options;
  return {
    ...rest,
    args: [2, 2],
    syntax: options.syntax ?? "number size",
    initial: () => initial,
    defaultText: options.defaultText ?? (initial && `${initial.count} ${sizeText(initial.size)}`),
    read(at) {
      const count = parseNumber(at.args[0]);
      const size = parseSize(at.args[1]);
      if (!count || !size) refuse(at, "invalid value");
      return { count, size };
    },
  };
}

/** A string; repeated directives in a block make a list. */
export function texts(options: Common & { readonly default?: readonly string[] }): DirectiveSpec<readonly string[]> {
  const { default: initial = [], ...rest } = options;
  return list({
    ...rest,
    args: [1, 1],
    syntax: options.syntax ?? "string",
    initial: () => [...initial],
    defaultText: options.defaultText ?? (initial.length > 0 ? initial.join(" ") : undefined),
    item: (at) => at.args[0],
  });
}

export interface KeyValue {
  readonly key: string;
  readonly value: string;
}

/** A name and a value; repeated directives in a block make a list. */
export function keyValues(options: Common): DirectiveSpec<readonly KeyValue[]> {
  return list({
    ...options,
    args: [2, 2],
    syntax: options.syntax ?? "name value",
    initial: () => [],
    item: (at) => ({ key: at.args[0], value: at.args[1] }),
  });
}

/** A directive that may be repeated in a block; the setting is the list of what `item` returns for each. */
export function list<T>(
  options: Omit<DirectiveSpec<readonly T[]>, "read" | "readSliced" | "repeat" | "initial"> & {
    readonly initial?: () => readonly T[];
    readonly item: (at: Directive, scope: Scope) => T;
  },
): DirectiveSpec<readonly T[]> {
  const { item, initial = () => [], ...rest } = options;
  const spec: Omit<DirectiveSpec<T[]>, "initial"> = {
    ...rest,
    repeat: true,
    read(at, scope, previous = []) {
      // Pushes to the block's own list: copying it each time would be quadratic.
      previous.push(item(at, scope));
      return previous;
    },
  };
  return { ...spec, initial };
}
