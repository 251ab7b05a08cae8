import type { Sliced } from "../sys/sliced.ts";
import type { Scope } from "./schema.ts";
import { ConfigError, type ConfigTree, type Directive } from "./types.ts";

/**
 * Where nginx finds an error: while it reads the line, when the whole http block has been read, or at the end of all.
 * It stops at the first, so this decides which one it would have said.
 */
type Stage = "reading" | "complete" | "end";

/** Sentences about a name that nothing defines; what defines it may have been refused before. */
const LOOKUP = /^(?:unknown (?!directive)|host not found in |zero size |no |match )[^"]*"\$?([\w.-]+)/;

/** `$name`, `zone=name:1m` or `name`, as a directive that defines something takes it. */
const DEFINED = /^(?:(?:keys_)?zone=|\$)?([\w.-]+)/;

const GROUP = /\(\?P?<(\w+)>/g;

/**
 * All that is wrong with a configuration, gathered so that one run tells everything. What is refused has no effect, and
 * what is wrong only because of that is not said.
 */
export class Refusals {
  private readonly found: { readonly error: ConfigError; readonly stage: Stage }[] = [];
  /** Names that refused directives would have given a meaning. */
  private readonly undefinedNames = new Set<string>();

  /** The names that refused directives asked for: those they would not have defined. */
  private readonly missed = new Map<object, string>();

  get count(): number {
    return this.found.length;
  }

  note(error: ConfigError, stage: Stage = "reading"): void {
    this.found.push({ error, stage: error.stage ?? stage });
    const name = missingName(error);
    if (name !== undefined && error.place !== undefined) this.missed.set(error.place, name);
  }

  /** Does a part of the work. What it refuses is noted, and undefined is the answer. */
  attempt<T>(work: () => T, stage?: Stage): T | undefined {
    try {
      return work();
    } catch (error) {
      return this.failed(error, stage);
    }
  }

  /** The same for work that is done in slices. */
  *attemptSliced<T>(work: Sliced<T>, stage?: Stage): Sliced<T | undefined> {
    try {
      return yield* work;
    } catch (error) {
      return this.failed(error, stage);
    }
  }

  private failed(error: unknown, stage: Stage | undefined): undefined {
    if (error instanceof ConfigError) this.note(error, stage);
    // Work on a configuration of which parts are missing may fail in any way.
    else if (this.count === 0) throw error;
    return undefined;
  }

  /** A directive was refused: what it and its block would have defined will be missed elsewhere. */
  leaveOut(directive: Directive): void {
    const missed = this.missed.get(directive);
    for (const word of [directive.name, ...directive.args]) {
      const name = DEFINED.exec(word)?.[1]?.toLowerCase();
      if (name !== undefined && name !== missed) this.undefinedNames.add(name);
      for (const [, group] of word.matchAll(GROUP)) this.undefinedNames.add(group.toLowerCase());
    }
    for (const line of directive.block ?? []) this.leaveOut(line);
  }

  /** Throws what was noted, if anything: the error nginx would have said, with the others in its `others`. */
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

/** The name that a sentence says nothing defines. */
function missingName({ message }: ConfigError): string | undefined {
  return LOOKUP.exec(message)?.[1].toLowerCase();
}

interface ReadingOrder {
  readonly directives: ReadonlyMap<object | undefined, number>;
  /** By `FILE:LINE`, where a directive or the end of a block first stands there. */
  readonly lines: ReadonlyMap<string, number>;
  /** The end of the http block; undefined where it was never reached. */
  readonly complete: number | undefined;
}

/** The places of a configuration, numbered as they were read. */
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
    block?.forEach(visit);
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

/** The refusals of the tree a scope belongs to. */
export function refusalsOf(scope: Scope): Refusals {
  const known = scope.notes.get(REFUSALS);
  if (known instanceof Refusals) return known;
  const fresh = new Refusals();
  scope.notes.set(REFUSALS, fresh);
  return fresh;
}
