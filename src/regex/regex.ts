import { BACKTRACKS, boundBacktracking } from "../sys/v8_flags.ts";
import { compileProgram } from "./compile.ts";
import { longestWithin } from "./cost.ts";
import { emitRegex } from "./emit.ts";
import { search } from "./match.ts";
import { parseRegex } from "./parse.ts";
import type { RegexProgram } from "./program.ts";
import { BAD_UTF8, NO_MEMORY, RegexMatchError } from "./search.ts";
import { MOST_SIZE, sizeOf } from "./size.ts";
import { type ParsedRegex, RegexSyntaxError } from "./syntax.ts";

export { RegexMatchError };

/** V8 may take at most about so many steps (some milliseconds): on longer subjects the matcher of our own searches. */
const MOST_V8_STEPS = 2_000_000;
const LONGEST_FALLBACK = MOST_V8_STEPS / BACKTRACKS;

/**
 * nginx's regular expressions (PCRE2) over byte strings.
 *
 * Nearly every pattern becomes a JavaScript RegExp, for subjects up to the length at which V8 could backtrack too
 * long, which is estimated from the pattern and for most patterns exceeds that of any URI. Longer subjects, and patterns that
 * JavaScript would match otherwise (back references, recursion, conditions, captures in a loop that may be skipped),
 * go to a matcher of our own, which gives up after so many steps as PCRE does.
 */
export interface CompiledRegex {
  readonly pattern: string;
  /** The number of capturing groups. */
  readonly captures: number;
  /** The named groups, sorted by name as PCRE's table is. */
  readonly names: readonly { readonly name: string; readonly index: number }[];
  /**
   * Matches anywhere in the subject. On success fills `captures`: [0] the whole match (which may end with the
   * newline a final `$` looks past; nginx never shows it), [n] group n ("" when unset), its
   * length up to the last group that is set, as PCRE counts; of a pattern without groups its length becomes 0 (nginx
   * forgets earlier captures then). Left alone when nothing matches. Throws RegexMatchError when a search is given up.
   */
  exec(subject: string, captures: string[]): boolean;
  test(subject: string): boolean;
}

/** Why a pattern does not compile: `pcre2_compile() failed: … in "pattern" at "rest"`. */
export interface RegexError {
  readonly error: string;
}

/**
 * The compiled patterns in use. A reload compiles only those that the configuration before does not have, and V8 keeps the
 * machine code of the others. A pattern that no configuration uses any more is collected with the last that did.
 */
const inUse = new Map<string, WeakRef<CompiledRegex>>();
const collected = new FinalizationRegistry<string>((key) => {
  // It may have been compiled again meanwhile.
  if (inUse.get(key)?.deref() === undefined) inUse.delete(key);
});

/** Compiles a pattern; both it and the subjects are byte strings. `(*UTF8)` in front makes both UTF-8. */
export function compileRegex(pattern: string, caseless: boolean): CompiledRegex | RegexError {
  const key = (caseless ? "i" : "-") + pattern;
  const known = inUse.get(key)?.deref();
  if (known !== undefined) return known;
  boundBacktracking();
  const made = compile(pattern, caseless);
  if ("error" in made) return made;
  inUse.set(key, new WeakRef(made));
  collected.register(made, key);
  return made;
}

function compile(pattern: string, caseless: boolean): CompiledRegex | RegexError {
  const verbs = /^(?:\(\*(?:UTF8?|UCP|NO_AUTO_POSSESS|NO_START_OPT|NO_JIT|LF|NOTEMPTY)\))+/.exec(pattern)?.[0] ?? "";
  const utf = verbs.includes("(*UTF");
  const text = utf ? fromUtf8(pattern) : pattern;
  if (text === undefined) return { error: `pcre2_compile() failed: UTF-8 error: illegal byte in "${pattern}"` };
  let parsed: ParsedRegex;
  try {
    parsed = parseRegex(text, verbs.length, utf, caseless);
  } catch (reason) {
    if (!(reason instanceof RegexSyntaxError)) throw reason;
    const rest = utf ? Buffer.from(text.slice(reason.at), "utf8").toString("latin1") : text.slice(reason.at);
    return { error: `pcre2_compile() failed: ${reason.message} in "${pattern}"${rest === "" ? "" : ` at "${rest}"`}` };
  }
  if (sizeOf(parsed.root) > MOST_SIZE) {
    return { error: `pcre2_compile() failed: regular expression is too large in "${pattern}"` };
  }
  const bounded = boundedSearch(pattern, () => parseRegex(text, verbs.length, utf, caseless));
  const both = quickSearch(parsed, bounded);
  const exec = utf ? decoded(pattern, both) : both;
  return {
    pattern,
    captures: parsed.captures,
    names: parsed.names,
    exec,
    test: (subject) => exec(subject, []),
  };
}

type Search = (subject: string, captures: string[]) => boolean;

/** A search by V8 where it takes bounded time, else by `bounded`. */
function quickSearch(parsed: ParsedRegex, bounded: Search): Search {
  const emitted = emitRegex(parsed);
  if (emitted === undefined) return bounded;
  const { source, groups } = emitted;
  let regex: RegExp;
  try {
    regex = new RegExp(source, parsed.utf ? "u" : "");
  } catch {
    return bounded;
  }
  let longest = longestWithin(parsed, MOST_V8_STEPS);
  if (longest < LONGEST_FALLBACK && isLinear(source, parsed.utf)) longest = LONGEST_FALLBACK;
  if (groups === undefined && parsed.captures === 0) return withoutGroups(regex, longest, bounded);
  const fill = groups === undefined ? fillCaptures : (found: RegExpExecArray, captures: string[]) => renumber(found, captures, groups); // biome-ignore format: one choice
  return withGroups(regex, longest, bounded, fill);
}

/** Whether V8's linear engine takes an expression. */
function isLinear(source: string, utf: boolean): boolean {
  try {
    return new RegExp(source, utf ? "lu" : "l").flags !== "";
  } catch {
    return false;
  }
}

// Below: V8 compiles when it first searches. Should it throw then, the pattern is too large for it, or later its stack too
// small for the subject: from that length on the search is not left to it any more.

function withoutGroups(regex: RegExp, most: number, bounded: Search): Search {
  let longest = most;
  return (subject, captures) => {
    if (subject.length > longest) return bounded(subject, captures);
    try {
      if (!regex.test(subject)) return false;
    } catch {
      longest = subject.length - 1;
      return bounded(subject, captures);
    }
    captures.length = 0;
    return true;
  };
}

type Fill = (found: RegExpExecArray, captures: string[]) => void;

function withGroups(regex: RegExp, most: number, bounded: Search, fill: Fill): Search {
  let longest = most;
  return (subject, captures) => {
    if (subject.length > longest) return bounded(subject, captures);
    let found: RegExpExecArray | null;
    try {
      found = regex.exec(subject);
    } catch {
      longest = subject.length - 1;
      return bounded(subject, captures);
    }
    if (found === null) return false;
    fill(found, captures);
    return true;
  };
}

function fillCaptures(found: RegExpExecArray, captures: string[]): void {
  let last = found.length - 1;
  while (last > 0 && found[last] === undefined) last--;
  captures.length = last + 1;
  for (let i = 0; i <= last; i++) captures[i] = found[i] ?? "";
}

/** Groups of JavaScript's that PCRE does not count stand between, or several stand for one. */
function renumber(found: RegExpExecArray, captures: string[], groups: readonly (readonly number[])[]): void {
  captures.length = 0;
  for (let i = 0; i < groups.length && groups.length > 1; i++) {
    const set = groups[i].find((index) => found[index] !== undefined);
    if (set === undefined) continue;
    while (captures.length < i) captures.push("");
    captures.push(found[set]);
  }
}

/** Our own matcher (match.ts); the pattern is compiled for it on first use. */
function boundedSearch(pattern: string, parse: () => ParsedRegex): Search {
  let program: RegexProgram | undefined;
  let registers = new Int32Array(0);
  return (subject, captures) => {
    try {
      if (program === undefined) {
        program = compileProgram(parse(), pattern);
        registers = new Int32Array(program.registers);
      }
      if (!search(program, subject, registers)) return false;
    } catch (error) {
      // Any other failure, such as a lack of memory for a huge subject, is treated as an aborted search.
      throw error instanceof RegexMatchError ? error : new RegexMatchError(NO_MEMORY, subject, pattern);
    }
    captures.length = 0;
    for (let i = 0; i < program.groups && program.groups > 1; i++) {
      if (registers[2 * i] === -1) continue;
      while (captures.length < i) captures.push("");
      captures.push(subject.slice(registers[2 * i], registers[2 * i + 1]));
    }
    return true;
  };
}

/** Runs a search over the text the bytes spell. PCRE refuses a subject that is not UTF-8. */
function decoded(pattern: string, search: Search): Search {
  return (subject, captures) => {
    const text = fromUtf8(subject);
    if (text === undefined) throw new RegexMatchError(BAD_UTF8, subject, pattern);
    if (!search(text, captures)) return false;
    for (let i = 0; i < captures.length; i++) captures[i] = Buffer.from(captures[i], "utf8").toString("latin1");
    return true;
  };
}

const strictUtf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

function fromUtf8(bytes: string): string | undefined {
  try {
    return strictUtf8.decode(Buffer.from(bytes, "latin1"));
  } catch {
    return undefined;
  }
}
