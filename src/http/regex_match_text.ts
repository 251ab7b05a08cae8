import { type Compilation, type Match, step } from "./regex_match_state.ts";
import type { Assertion, GroupName, Ranges } from "./regex_syntax.ts";

// The parts of a pattern that look at the subject itself and hold no other part.

/** The length of the character of a set at a place, or 0. */
type Single = (subject: string, at: number) => number;

export function single(into: Compilation, ranges: Ranges, caseless: boolean): Single {
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

export function compileSet(into: Compilation, ranges: Ranges, caseless: boolean): Match {
  const one = single(into, ranges, caseless);
  return (state, at, next) => {
    step(state);
    const size = one(state.subject, at);
    return size !== 0 && next(at + size);
  };
}

export function repeatSet(one: Single, min: number, max: number): Match {
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

export function stepBack(subject: string, at: number, length: number, utf: boolean): number {
  if (!utf) return at - length;
  let from = at;
  for (let left = length; left > 0; left--) {
    from--;
    const code = subject.charCodeAt(from);
    if (code >= 0xdc00 && code <= 0xdfff) from--;
  }
  return from;
}

export function holds(assertion: Assertion, subject: string, at: number): boolean {
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

export function numbersOf(into: Compilation, to: GroupName): number[] {
  if (typeof to === "number") return [to];
  return into.parsed.names.filter(({ name }) => name === to).map(({ index }) => index);
}

export function compileReference(into: Compilation, to: GroupName, caseless: boolean): Match {
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
