/** The shape of a parsed PCRE pattern, and sets of characters as sorted ranges of codes. */

/** Sorted, disjoint, inclusive ranges of character codes: bytes, or code points after `(*UTF)`. */
export type Ranges = readonly (readonly [low: number, high: number])[];

export type RegexNode =
  | { readonly kind: "set"; readonly ranges: Ranges; readonly caseless: boolean }
  | { readonly kind: "sequence"; readonly items: readonly RegexNode[] }
  | { readonly kind: "choice"; readonly branches: readonly RegexNode[] }
  | {
      readonly kind: "repeat";
      readonly item: RegexNode;
      readonly min: number;
      /** Infinity when there is no upper bound. */
      readonly max: number;
      readonly lazy: boolean;
    }
  | { readonly kind: "group"; readonly index: number; readonly body: RegexNode }
  | { readonly kind: "atomic"; readonly body: RegexNode }
  | { readonly kind: "look"; readonly ahead: boolean; readonly negative: boolean; readonly body: RegexNode }
  | { readonly kind: "assert"; readonly at: Assertion }
  /** `to` is the list of groups of one name, or one group. `at` is the offset in the pattern, for errors. */
  | { readonly kind: "reference"; readonly to: GroupName; readonly caseless: boolean; readonly at: number }
  | { readonly kind: "call"; readonly to: GroupName; readonly at: number }
  | { readonly kind: "condition"; readonly test: Condition; readonly yes: RegexNode; readonly no: RegexNode }
  | { readonly kind: "fail" };

export type GroupName = number | string;

export type Condition =
  | { readonly kind: "group"; readonly to: GroupName; readonly at: number }
  | { readonly kind: "recursion" }
  | { readonly kind: "never" }
  | { readonly kind: "look"; readonly look: RegexNode };

/** start `\A`, end `\z`, finalEnd `\Z` and `$`; the line pair is `^ $` under `(?m)`. */
export type Assertion = "start" | "end" | "finalEnd" | "lineStart" | "lineEnd" | "word" | "notWord";

export interface ParsedRegex {
  readonly root: RegexNode;
  /** The number of capturing groups. */
  readonly captures: number;
  /** Sorted by name as PCRE's name table is; a name may stand twice under `(?J)` or with one number in `(?|…)`. */
  readonly names: readonly { readonly name: string; readonly index: number }[];
  /** After `(*UTF)`: codes are code points, not bytes. */
  readonly utf: boolean;
}

/** What is wrong with a pattern. `at` is the offset PCRE reports. */
export class RegexSyntaxError extends Error {
  readonly at: number;

  constructor(message: string, at: number) {
    super(message);
    this.at = at;
  }
}

export const EMPTY: RegexNode = { kind: "sequence", items: [] };

const DIGIT: Ranges = [[0x30, 0x39]];
const WORD: Ranges = [
  [0x30, 0x39],
  [0x41, 0x5a],
  [0x5f, 0x5f],
  [0x61, 0x7a],
];
const SPACE: Ranges = [
  [0x09, 0x0d],
  [0x20, 0x20],
];
const HORIZONTAL: Ranges = [
  [0x09, 0x09],
  [0x20, 0x20],
  [0xa0, 0xa0],
];
const HORIZONTAL_UTF: Ranges = normal([
  ...HORIZONTAL,
  [0x1680, 0x1680],
  [0x180e, 0x180e],
  [0x2000, 0x200a],
  [0x202f, 0x202f],
  [0x205f, 0x205f],
  [0x3000, 0x3000],
]);
const VERTICAL: Ranges = [
  [0x0a, 0x0d],
  [0x85, 0x85],
];
const VERTICAL_UTF: Ranges = [...VERTICAL, [0x2028, 0x2029]];
const NEWLINE: Ranges = [[0x0a, 0x0a]];

/** The POSIX classes of `[[:name:]]`, over ASCII as PCRE has them without UCP. */
const POSIX: ReadonlyMap<string, Ranges> = new Map<string, Ranges>([
  ["alpha", normal([[0x41, 0x5a], [0x61, 0x7a]])], // biome-ignore format: a table
  ["lower", [[0x61, 0x7a]]],
  ["upper", [[0x41, 0x5a]]],
  ["alnum", normal([[0x30, 0x39], [0x41, 0x5a], [0x61, 0x7a]])], // biome-ignore format: a table
  ["ascii", [[0x00, 0x7f]]],
  ["blank", normal([[0x09, 0x09], [0x20, 0x20]])], // biome-ignore format: a table
  ["cntrl", normal([[0x00, 0x1f], [0x7f, 0x7f]])], // biome-ignore format: a table
  ["digit", DIGIT],
  ["graph", [[0x21, 0x7e]]],
  ["print", [[0x20, 0x7e]]],
  ["punct", normal([[0x21, 0x2f], [0x3a, 0x40], [0x5b, 0x60], [0x7b, 0x7e]])], // biome-ignore format: a table
  ["space", SPACE],
  ["word", WORD],
  ["xdigit", normal([[0x30, 0x39], [0x41, 0x46], [0x61, 0x66]])], // biome-ignore format: a table
]);

/** The ranges of a POSIX class; caseless makes `upper` and `lower` mean `alpha`. */
export function posixClass(name: string, caseless: boolean): Ranges | undefined {
  return POSIX.get(caseless && (name === "upper" || name === "lower") ? "alpha" : name);
}

/** Sorts ranges and joins those that touch. */
export function normal(ranges: Ranges): Ranges {
  const sorted = [...ranges].sort((a, b) => a[0] - b[0]);
  const joined: [number, number][] = [];
  for (const [low, high] of sorted) {
    const last = joined.at(-1);
    if (last !== undefined && low <= last[1] + 1) last[1] = Math.max(last[1], high);
    else joined.push([low, high]);
  }
  return joined;
}

export function union(a: Ranges, b: Ranges): Ranges {
  return a.length === 0 ? b : b.length === 0 ? a : normal([...a, ...b]);
}

export function negate(ranges: Ranges, highest: number): Ranges {
  const rest: [number, number][] = [];
  let next = 0;
  for (const [low, high] of ranges) {
    if (low > next) rest.push([next, low - 1]);
    next = high + 1;
  }
  if (next <= highest) rest.push([next, highest]);
  return rest;
}

/** Adds the other case of ASCII letters; bytes above 127 have no case in PCRE's default tables. */
export function foldCase(ranges: Ranges): Ranges {
  const more: [number, number][] = [];
  for (const [low, high] of ranges) {
    const upper = [Math.max(low, 0x41), Math.min(high, 0x5a)] as const;
    const lower = [Math.max(low, 0x61), Math.min(high, 0x7a)] as const;
    if (upper[0] <= upper[1]) more.push([upper[0] + 32, upper[1] + 32]);
    if (lower[0] <= lower[1]) more.push([lower[0] - 32, lower[1] - 32]);
  }
  return more.length === 0 ? ranges : normal([...ranges, ...more]);
}

/** The set of `\d \w \s \h \v \N` and their negations; undefined when the letter names no set. */
export function escapedSet(letter: string, utf: boolean): Ranges | undefined {
  const highest = utf ? 0x10ffff : 0xff;
  switch (letter) {
    case "d":
      return DIGIT;
    case "D":
      return negate(DIGIT, highest);
    case "w":
      return WORD;
    case "W":
      return negate(WORD, highest);
    case "s":
      return SPACE;
    case "S":
      return negate(SPACE, highest);
    case "h":
      return utf ? HORIZONTAL_UTF : HORIZONTAL;
    case "H":
      return negate(utf ? HORIZONTAL_UTF : HORIZONTAL, highest);
    case "v":
      return utf ? VERTICAL_UTF : VERTICAL;
    case "V":
      return negate(utf ? VERTICAL_UTF : VERTICAL, highest);
    case "N":
      return negate(NEWLINE, highest);
    default:
      return undefined;
  }
}
