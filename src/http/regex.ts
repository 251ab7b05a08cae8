import { setFlagsFromString } from "node:v8";
import { emitRegex } from "./regex_emit.ts";
import { compileMatcher } from "./regex_match.ts";
import { RegexMatchError } from "./regex_match_state.ts";
import { parseRegex } from "./regex_parse.ts";
import { type ParsedRegex, RegexSyntaxError } from "./regex_syntax.ts";

export { RegexMatchError };

// A hostile URI must not be able to hold a worker with a careless pattern such as `^(a+)+$`.
setFlagsFromString("--enable-experimental-regexp-engine-on-excessive-backtracks");

/**
 * nginx's regular expressions (PCRE2) over byte strings.
 *
 * Nearly every pattern becomes a JavaScript RegExp; one that JavaScript would match otherwise (back references,
 * recursion, conditions, captures in a loop that may be skipped) goes to our own matcher, which gives up after so many
 * steps as PCRE does. V8's RegExp has no such limit, but changes to its linear engine when it backtracks too much. What
 * remains: a pattern with a lookaround, an atomic group or a possessive quantifier beside nested repeats, such as
 * `(?=x)(a+)+b`, can take exponential time on a hostile subject.
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

/** Compiles a pattern; both it and the subjects are byte strings. `(*UTF8)` in front makes both UTF-8. */
export function compileRegex(pattern: string, caseless: boolean): CompiledRegex | RegexError {
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
  const search = utf ? decoded(makeSearch(parsed)) : makeSearch(parsed);
  const test = utf ? undefined : makeTest(parsed);
  return {
    pattern,
    captures: parsed.captures,
    names: parsed.names,
    exec:
      parsed.captures === 0 && test !== undefined
        ? (subject, captures) => {
            if (!test(subject)) return false;
            captures.length = 0;
            return true;
          }
        : search,
    test: test ?? ((subject) => search(subject, [])),
  };
}

type Search = (subject: string, captures: string[]) => boolean;

function makeTest(parsed: ParsedRegex): ((subject: string) => boolean) | undefined {
  const emitted = emitRegex(parsed);
  if (emitted === undefined) return undefined;
  const regex = new RegExp(emitted.source, parsed.utf ? "u" : "");
  return (subject) => regex.test(subject);
}

function makeSearch(parsed: ParsedRegex): Search {
  const emitted = emitRegex(parsed);
  if (emitted === undefined) return ownSearch(parsed);
  const regex = new RegExp(emitted.source, parsed.utf ? "u" : "");
  const { groups } = emitted;
  if (groups !== undefined) return renumbered(regex, groups);
  return (subject, captures) => {
    const found = regex.exec(subject);
    if (found === null) return false;
    let last = found.length - 1;
    while (last > 0 && found[last] === undefined) last--;
    captures.length = parsed.captures === 0 ? 0 : last + 1;
    for (let i = 0; i < captures.length; i++) captures[i] = found[i] ?? "";
    return true;
  };
}

/** Groups of JavaScript's that PCRE does not count stand between, or several stand for one. */
function renumbered(regex: RegExp, groups: readonly (readonly number[])[]): Search {
  return (subject, captures) => {
    const found = regex.exec(subject);
    if (found === null) return false;
    captures.length = 0;
    for (let i = 0; i < groups.length && groups.length > 1; i++) {
      const set = groups[i].find((index) => found[index] !== undefined);
      if (set === undefined) continue;
      while (captures.length < i) captures.push("");
      captures.push(found[set]);
    }
    return true;
  };
}

function ownSearch(parsed: ParsedRegex): Search {
  const search = compileMatcher(parsed);
  return (subject, captures) => {
    const pairs = search(subject);
    if (pairs === undefined) return false;
    captures.length = 0;
    for (let i = 0; i <= parsed.captures && parsed.captures > 0; i++) {
      if (pairs[2 * i] === -1) continue;
      while (captures.length < i) captures.push("");
      captures.push(subject.slice(pairs[2 * i], pairs[2 * i + 1]));
    }
    return true;
  };
}

/** Runs a search over the text the bytes spell. PCRE refuses a subject that is not UTF-8. */
function decoded(search: Search): Search {
  return (subject, captures) => {
    const text = fromUtf8(subject);
    if (text === undefined) throw new RegexMatchError("pcre2_match() failed: -22");
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
