import type { Sliced } from "../sys/sliced.ts";
import type { Scope } from "./schema.ts";
import { ConfigError, type ConfigTree, type Directive } from "./types.ts";

/**
 * Where nginx finds an error: while it reads the line, when the whole http block has been read, or at the end of all.
 * It stops at the first, so this decides which one it would have said.
 */
type Stage = "reading" | "complete" | "end";

/** Messages about an undefined name: the directive that defines it may have been refused. */
const LOOKUP = /^(?:unknown (?!directive)|host not found in |zero size |no |match )[^"]*"\$?([\w.-]+)/;

/** `$name`, `zone=name:1m` or `name`, as a directive that defines something takes it. */
const DEFINED = /^(?:(?:keys_)?zone=|\$)?([\w.-]+)/;

const GROUP = /\(\?P?<(\w+)>/g;

/**
 * The errors of a configuration, collected so that one run reports all of them; nginx stops at the first. A directive
 * that was refused has no effect, and errors that only follow from its absence are left out.
 */
export class Refusals {
  private readonly found: { readonly error: ConfigError; readonly stage: Stage }[] = [];
  /** Names that refused directives would have defined. */
  private readonly undefinedNames = new Set<string>();

  /** Of a refused directive, the name that it refers to: that one it would not have defined. */
  private readonly missed = new Map<object, string>();

  get count(): number {
    return this.found.length;
  }

  note(error: ConfigError, stage: Stage = "reading"): void {
    this.found.push({ error, stage: error.stage ?? stage });
    const name = missingName(error);
    if (name !== undefined && error.place !== undefined) this.missed.set(error.place, name);
  }

  /** Runs `work`. A ConfigError is noted, and the result undefined. */
  attempt<T>(work: () => T, stage?: Stage): T | undefined {
    try {
      return work();
    } catch (error) {
      return this.failed(error, stage);
    }
  }

  /** The same for sliced work. */
  *attemptSliced<T>(work: Sliced<T>, stage?: Stage): Sliced<T | undefined> {
    try {
      return yield* work;
    } catch (error) {
      return this.failed(error, stage);
    }
  }

  private failed(error: unknown, stage: Stage | undefined): undefined {
    if (error instanceof ConfigError) this.note(error, stage);
    // With parts of the configuration missing, the code after may throw anything.
    else if (this.count === 0) throw error;
    return undefined;
  }

  /** Throws the first of the errors noted since there were so many, and forgets them. */
  throwSince(count: number): void {
    const [first] = this.found.splice(count);
    if (first !== undefined) throw first.error;
  }

  /** Notes the names that a refused directive and its block would have defined. */
  leaveOut(directive: Directive): void {
    const missed = this.missed.get(directive);
    for (const word of [directive.name, ...directive.args]) {
      const name = DEFINED.exec(word)?.[1]?.toLowerCase();
      if (name !== undefined && name !== missed) this.undefinedNames.add(name);
      for (const [, group] of word.matchAll(GROUP)) this.undefinedNames.add(group.toLowerCase());
    }
    for (const line of directive.block ?? []) this.leaveOut(line);
  }

  /** Throws if anything was noted: the error that nginx would report, with the others in its `others`. */
  throwAll(tree: ConfigTree): void {
    if (this.count === 0) return;
    const order = readingOrder(tree);
    const placed = this.found.flatMap(({ error, stage }) => {
      const line = order.directives.get(error.place) ?? order.lines.get(`${error.file}:${error.line}`);
      if (stage === "end") return [{ error, at: Number.MAX_SAFE_INTEGER }];
      const at = stage === "complete" ? order.complete : (line ?? order.complete);
      return at === undefined ? [] : [{ error, at }];
    });
    placed.sort((one, other) => one.at - other.at);
    const errors = new Map<string, ConfigError>();
    for (const { error } of placed) {
      const sentence = error.toString();
      if (!errors.has(sentence) && !this.isConsequence(error)) errors.set(sentence, error);
    }
    const [first = placed[0].error, ...others] = errors.values();
    first.others = others;
    throw first;
  }

  private isConsequence(error: ConfigError): boolean {
    const name = missingName(error);
    return name !== undefined && this.undefinedNames.has(name);
  }
}

/** The undefined name that an error is about. */
function missingName({ message }: ConfigError): string | undefined {
  return LOOKUP.exec(message)?.[1].toLowerCase();
}

interface ReadingOrder {
  readonly directives: ReadonlyMap<object | undefined, number>;
  /** By `FILE:LINE`: the first directive or end of a block on that line. */
  readonly lines: ReadonlyMap<string, number>;
  /** The end of the http block; undefined if a syntax error came before it. */
  readonly complete: number | undefined;
}

/** Numbers the directives of a configuration in the order read. */
function readingOrder(tree: ConfigTree): ReadingOrder {
  const directives = new Map<object | undefined, number>();
  const lines = new Map<string, number>();
  let next = 0;
  let complete: number | undefined;
  const reach = (file: string, line: number): number => {
    const place = `${file}:${line}`;
    if (!lines.has(place)) lines.set(place, next);
    return next++;
  };
  const visit = (directive: Directive): void => {
    const { file, line, endLine, block } = directive;
    directives.set(directive, reach(file, line));
    for (const line of block ?? []) visit(line);
    if (endLine !== undefined) reach(file, endLine);
  };
  for (const directive of tree.directives) {
    visit(directive);
    if (directive.name === "http" && directive.endLine !== undefined) complete ??= next - 1;
  }
  const isOpen = tree.directives.some(({ name, endLine }) => name === "http" && endLine === undefined);
  return { directives, lines, complete: complete ?? (isOpen ? undefined : next) };
}

const REFUSALS = Symbol("refusals");

/** The errors of the configuration that a scope belongs to. */
export function refusalsOf(scope: Scope): Refusals {
  const known = scope.notes.get(REFUSALS);
  if (known instanceof Refusals) return known;
  const fresh = new Refusals();
  scope.notes.set(REFUSALS, fresh);
  return fresh;
}

/** The text of an exception for the log: a ConfigError with its file and line, of any other the message. */
export function sentence(error: unknown): string {
  return error instanceof Error && !(error instanceof ConfigError) ? error.message : String(error);
}

/** The same for a ConfigError with its `others`, one line each. */
export function sentences(error: unknown): readonly string[] {
  return error instanceof ConfigError ? [error, ...error.others].map(String) : [sentence(error)];
}

/** Logged as [warn], with file and line as an error has them. */
export interface ConfigWarning {
  readonly message: string;
  readonly file: string;
  readonly line: number;
}

const WARNINGS = Symbol("warnings");

/** ngx_conf_log_error(NGX_LOG_WARN, …) */
export function warn(directive: Directive, scope: Scope, message: string): void {
  const warning: ConfigWarning = { message, file: directive.file, line: directive.line };
  const found = scope.notes.get(WARNINGS);
  if (Array.isArray(found)) found.push(warning);
  else scope.notes.set(WARNINGS, [warning]);
}

/** The warnings of the configuration that a scope belongs to, in the order found. */
export function warningsOf(scope: Scope): readonly ConfigWarning[] {
  const found = scope.notes.get(WARNINGS);
  return Array.isArray(found) ? found : [];
}
