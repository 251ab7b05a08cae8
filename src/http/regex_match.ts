import { fixedLength } from "./regex_group.ts";
import type { Assertion, Condition, GroupName, ParsedRegex, Ranges, RegexNode } from "./regex_syntax.ts";

/**
 * A backtracking matcher with PCRE's rules, for the few patterns JavaScript's RegExp cannot match as PCRE does.
 * Each node becomes a function that matches at a place and then asks `next` whether the rest matches too.
 */

/** As PCRE's match limit: steps after which a search gives up with an error. */
const MOST_STEPS = 2_000_000;

/** A search that was given up: too much backtracking or recursion. The sentence is nginx's `pcre2_match() failed: -47`. */
export class RegexMatchError extends Error {}

interface State {
  readonly subject: string;
  /** Start and end of group n at 2n and 2n+1; -1 when unset. */
  readonly groups: Int32Array;
  /** The groups being called, innermost last, for `(?(R)…)`. */
  calls: number;
  steps: number;
}

type Next = (at: number) => boolean;
type Match = (state: State, at: number, next: Next) => boolean;

interface Compilation {
  readonly parsed: ParsedRegex;
  /** Group bodies by number, [0] the whole pattern, for calls. */
  readonly bodies: Match[];
}

/** Makes a search over a subject: the pairs of start and end (the array is reused), or undefined when nothing matches. */
export function compileMatcher(parsed: ParsedRegex): (subject: string) => Int32Array | undefined {
  const compilation: Compilation = { parsed, bodies: [] };
  const root = compile(compilation, parsed.root);
  compilation.bodies[0] = root;
  const groups = new Int32Array(2 * (parsed.captures + 1));
  return (subject) => {
    const state: State = { subject, groups, calls: 0, steps: 0 };
    for (let from = 0; from <= subject.length; from++) {
      groups.fill(-1);
      const found = run(state, root, from);
      if (found !== -1) {
        groups[0] = from;
        groups[1] = found;
        return groups;
      }
    }
    return undefined;
  };
}

function run(state: State, root: Match, from: number): number {
  let end = -1;
  try {
    const found = root(state, from, (at) => {
      end = at;
      return true;
    });
    return found ? end : -1;
  } catch (reason) {
    // The subject is too long for this pattern's recursion: PCRE has a limit there too.
    if (reason instanceof RangeError) throw new RegexMatchError("pcre2_match() failed: -53");
    throw reason;
  }
}

function step(state: State): void {
  if (++state.steps > MOST_STEPS) throw new RegexMatchError("pcre2_match() failed: -47");
}

function compile(into: Compilation, node: RegexNode): Match {
  switch (node.kind) {
    case "set":
      return compileSet(into, node.ranges, node.caseless);
    case "sequence":
      return node.items.map((item) => compile(into, item)).reduceRight(joined, pass);
    case "choice":
      return compileChoice(node.branches.map((branch) => compile(into, branch)));
    case "repeat":
      return compileRepeat(into, node);
    case "group":
      return compileGroup(into, node.index, node.body);
    case "atomic":
      return atomic(compile(into, node.body));
    case "look":
      return compileLook(into, node);
    case "assert":
      return (state, at, next) => holds(node.at, state.subject, at) && next(at);
    case "reference":
      return compileReference(into, node.to, node.caseless);
    case "call":
      return compileCall(into, node.to);
    case "condition":
      return compileCondition(into, node.test, compile(into, node.yes), compile(into, node.no));
    case "fail":
      return () => false;
  }
}

const pass: Match = (_state, at, next) => next(at);

function joined(rest: Match, first: Match): Match {
  if (rest === pass) return first;
  return (state, at, next) => first(state, at, (end) => rest(state, end, next));
}

function compileChoice(branches: readonly Match[]): Match {
  return (state, at, next) => {
    step(state);
    for (const branch of branches) if (branch(state, at, next)) return true;
    return false;
  };
}

/** The length of the character of a set at a place, or 0. */
type Single = (subject: string, at: number) => number;

function single(into: Compilation, ranges: Ranges, caseless: boolean): Single {
  if (into.parsed.utf) {
    return (subject, at) => {
      const code = subject.codePointAt(at);
      if (code === undefined) return 0;
      const size = code > 0xffff ? 2 : 1;
      if (within(ranges, code)) return size;
      if (!caseless) return 0;
      const text = String.fromCodePoint(code);
      const cases = [text.toLowerCase(), text.toUpperCase()];
      return cases.some((other) => within(ranges, other.codePointAt(0) ?? 0)) ? size : 0;
    };
  }
  const bytes = new Uint8Array(256);
  for (const [low, high] of ranges) bytes.fill(1, low, high + 1);
  return (subject, at) => (at < subject.length ? bytes[subject.charCodeAt(at)] : 0);
}

function within(ranges: Ranges, code: number): boolean {
  return ranges.some(([low, high]) => code >= low && code <= high);
}

function compileSet(into: Compilation, ranges: Ranges, caseless: boolean): Match {
  const one = single(into, ranges, caseless);
  return (state, at, next) => {
    step(state);
    const size = one(state.subject, at);
    return size !== 0 && next(at + size);
  };
}

function compileRepeat(into: Compilation, node: RegexNode & { kind: "repeat" }): Match {
  const { item, min, max, lazy } = node;
  if (item.kind === "set" && !lazy && !into.parsed.utf) return repeatSet(single(into, item.ranges, false), min, max);
  const body = compile(into, item);
  const round = (state: State, at: number, count: number, next: Next): boolean => {
    step(state);
    const again = (): boolean =>
      count < max &&
      // A round that matched nothing is the last one, or it would never end.
      body(state, at, (end) => (end === at && count >= min ? next(end) : round(state, end, count + 1, next)));
    if (count < min) return again();
    return lazy ? next(at) || again() : again() || next(at);
  };
  return (state, at, next) => round(state, at, 0, next);
}

function repeatSet(one: Single, min: number, max: number): Match {
  return (state, at, next) => {
    let end = at;
    while (end - at < max && one(state.subject, end) !== 0) end++;
    for (; end - at >= min; end--) {
      step(state);
      if (next(end)) return true;
    }
    return false;
  };
}

function compileGroup(into: Compilation, index: number, content: RegexNode): Match {
  const body = compile(into, content);
  const group: Match = (state, at, next) => {
    const { groups } = state;
    const start = groups[2 * index];
    const end = groups[2 * index + 1];
    const matched = body(state, at, (stop) => {
      const innerStart = groups[2 * index];
      const innerEnd = groups[2 * index + 1];
      groups[2 * index] = at;
      groups[2 * index + 1] = stop;
      if (next(stop)) return true;
      groups[2 * index] = innerStart;
      groups[2 * index + 1] = innerEnd;
      return false;
    });
    if (matched) return true;
    groups[2 * index] = start;
    groups[2 * index + 1] = end;
    return false;
  };
  into.bodies[index] ??= group;
  return group;
}

function atomic(body: Match): Match {
  return (state, at, next) => {
    let end = -1;
    const before = state.groups.slice();
    const matched = body(state, at, (stop) => {
      end = stop;
      return true;
    });
    if (matched && next(end)) return true;
    state.groups.set(before);
    return false;
  };
}

function compileLook(into: Compilation, node: RegexNode & { kind: "look" }): Match {
  const test = node.ahead ? compile(into, node.body) : compileBehind(into, node.body);
  if (node.negative) {
    return (state, at, next) => {
      const before = state.groups.slice();
      const matched = test(state, at, () => true);
      state.groups.set(before);
      return !matched && next(at);
    };
  }
  const once = atomic(test);
  return (state, at, next) => once(state, at, () => next(at));
}

/** Each branch of a lookbehind has one length: go back by it and match forward. */
function compileBehind(into: Compilation, body: RegexNode): Match {
  const branches = (body.kind === "choice" ? body.branches : [body]).map((branch) => ({
    length: fixedLength(branch) ?? 0,
    match: compile(into, branch),
  }));
  return (state, at, next) => {
    for (const { length, match } of branches) {
      const from = stepBack(state.subject, at, length, into.parsed.utf);
      if (from >= 0 && match(state, from, next)) return true;
    }
    return false;
  };
}

function stepBack(subject: string, at: number, length: number, utf: boolean): number {
  if (!utf) return at - length;
  let from = at;
  for (let left = length; left > 0; left--) {
    from--;
    const code = subject.charCodeAt(from);
    if (code >= 0xdc00 && code <= 0xdfff) from--;
  }
  return from;
}

function holds(assertion: Assertion, subject: string, at: number): boolean {
  const { length } = subject;
  switch (assertion) {
    case "start":
      return at === 0;
    case "end":
      return at === length;
    case "finalEnd":
      return at === length || (at === length - 1 && subject[at] === "\n");
    case "lineStart":
      return at === 0 || (at < length && subject[at - 1] === "\n");
    case "lineEnd":
      return at === length || subject[at] === "\n";
    case "word":
      return isWord(subject, at - 1) !== isWord(subject, at);
    case "notWord":
      return isWord(subject, at - 1) === isWord(subject, at);
  }
}

function isWord(subject: string, at: number): boolean {
  return at >= 0 && at < subject.length && /[0-9A-Za-z_]/.test(subject[at]);
}

function numbersOf(into: Compilation, to: GroupName): number[] {
  if (typeof to === "number") return [to];
  return into.parsed.names.filter(({ name }) => name === to).map(({ index }) => index);
}

function compileReference(into: Compilation, to: GroupName, caseless: boolean): Match {
  const numbers = numbersOf(into, to);
  return (state, at, next) => {
    step(state);
    const { groups, subject } = state;
    const set = numbers.find((number) => groups[2 * number] !== -1);
    if (set === undefined) return false;
    const text = subject.slice(groups[2 * set], groups[2 * set + 1]);
    const here = subject.slice(at, at + text.length);
    const same = here === text || (caseless && lower(here, into.parsed.utf) === lower(text, into.parsed.utf));
    return same && next(at + text.length);
  };
}

function lower(text: string, utf: boolean): string {
  return utf ? text.toLowerCase() : text.replace(/[A-Z]+/g, (letters) => letters.toLowerCase());
}

/** A call matches the group again; what it captures is forgotten when it returns. */
function compileCall(into: Compilation, to: GroupName): Match {
  return (state, at, next) => {
    step(state);
    const body = into.bodies[numbersOf(into, to)[0]];
    const before = state.groups.slice();
    state.calls++;
    const matched = body(state, at, (end) => {
      const inside = state.groups.slice();
      state.groups.set(before);
      state.calls--;
      if (next(end)) return true;
      state.calls++;
      state.groups.set(inside);
      return false;
    });
    if (matched) return true;
    state.calls--;
    state.groups.set(before);
    return false;
  };
}

function compileCondition(into: Compilation, test: Condition, yes: Match, no: Match): Match {
  switch (test.kind) {
    case "never":
      return pass;
    case "recursion":
      return (state, at, next) => (state.calls > 0 ? yes(state, at, next) : no(state, at, next));
    case "look": {
      const look = compile(into, test.look);
      return (state, at, next) => (look(state, at, () => true) ? yes(state, at, next) : no(state, at, next));
    }
    case "group": {
      const numbers = numbersOf(into, test.to);
      return (state, at, next) =>
        numbers.some((number) => state.groups[2 * number] !== -1) ? yes(state, at, next) : no(state, at, next);
    }
  }
}
