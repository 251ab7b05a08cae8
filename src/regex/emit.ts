import { minLength } from "./first.ts";
import type { Assertion, ParsedRegex, Ranges, RegexNode } from "./syntax.ts";

/** A pattern as the source of a JavaScript regular expression without flags (or with `u` for UTF). */
export interface EmittedRegex {
  readonly source: string;
  /** PCRE's group number to JavaScript's; undefined when they are the same. Several in a `(?|…)`. */
  readonly groups: readonly (readonly number[])[] | undefined;
}

/** The pattern needs something JavaScript does otherwise or not at all; match.ts then matches it. */
const INEXACT = Symbol("inexact");

interface Emission {
  readonly utf: boolean;
  opened: number;
  readonly groups: number[][];
}

/**
 * Writes a parsed pattern as JavaScript, or undefined when JavaScript would not match exactly as PCRE does: back
 * references (an unset group matches nothing in PCRE, the empty string in JavaScript), recursion, conditions, groups
 * in a loop that may be skipped (JavaScript forgets what earlier rounds captured), captures inside a lookbehind.
 */
export function emitRegex(parsed: ParsedRegex): EmittedRegex | undefined {
  const emission: Emission = { utf: parsed.utf, opened: 0, groups: [[0]] };
  for (let i = 1; i <= parsed.captures; i++) emission.groups.push([]);
  try {
    const source = emit(emission, parsed.root, true);
    const same =
      emission.opened === parsed.captures && emission.groups.every((to, index) => to.length === 1 && to[0] === index);
    return { source, groups: same ? undefined : emission.groups };
  } catch (reason) {
    if (reason === INEXACT) return undefined;
    throw reason;
  }
}

/** `tail`: nothing of the pattern follows, and no group is open. */
function emit(emission: Emission, node: RegexNode, tail = false): string {
  switch (node.kind) {
    case "set":
      return emitSet(node.ranges, node.caseless, emission.utf);
    case "sequence":
      return node.items
        .map((item, i) => {
          const text = emit(emission, item, tail && i === node.items.length - 1);
          return item.kind === "choice" ? `(?:${text})` : text;
        })
        .join("");
    case "choice":
      return node.branches.map((branch) => emit(emission, branch, tail)).join("|");
    case "repeat":
      return emitRepeat(emission, node);
    case "group": {
      const index = ++emission.opened;
      emission.groups[node.index].push(index);
      return `(${emit(emission, node.body)})`;
    }
    case "atomic": {
      // A lookahead is never tried again once passed: capture what it saw, then match just that.
      const index = ++emission.opened;
      return `(?:(?=(${emit(emission, node.body)}))\\${index})`;
    }
    case "look": {
      if (!node.ahead && hasGroups(node.body)) throw INEXACT;
      const mark = `${node.ahead ? "" : "<"}${node.negative ? "!" : "="}`;
      return `(?:(?${mark}${emit(emission, node.body)}))`;
    }
    case "assert":
      // At the very end the newline may as well be taken: V8's linear engine, the way out of a pattern that backtracks
      // too much, knows no lookahead.
      return tail && node.at === "finalEnd" ? "\\n?$" : emitAssertion(node.at);
    case "fail":
      return "(?!)";
    default:
      throw INEXACT;
  }
}

function emitAssertion(at: Assertion): string {
  switch (at) {
    case "start":
      return "^";
    case "end":
      return "$";
    case "finalEnd":
      return "(?=\\n?$)";
    case "lineStart":
      // Not after the newline that ends the subject.
      return "(?:^|(?<=\\n)(?!$))";
    case "lineEnd":
      return "(?=\\n|$)";
    case "word":
      return "\\b";
    case "notWord":
      return "\\B";
  }
}

function emitRepeat(emission: Emission, node: RegexNode & { kind: "repeat" }): string {
  if (node.max > 1 && hasGroups(node.item) && (minLength(node.item) === 0 || skipsGroups(node.item))) throw INEXACT;
  // JavaScript will not let an optional round match nothing and tries the item's other ways; PCRE takes the first way.
  if (node.max > node.min && minLength(node.item) === 0 && hasPreference(node.item)) throw INEXACT;
  const text = emit(emission, node.item);
  const item = node.item.kind === "set" || node.item.kind === "group" ? text : `(?:${text})`;
  return `${item}${bounds(node.min, node.max)}${node.lazy ? "?" : ""}`;
}

function bounds(min: number, max: number): string {
  if (max === Number.POSITIVE_INFINITY) return min === 0 ? "*" : min === 1 ? "+" : `{${min},}`;
  if (min === 0 && max === 1) return "?";
  return min === max ? `{${min}}` : `{${min},${max}}`;
}

/** A set as JavaScript writes it. */
export function emitSet(ranges: Ranges, caseless: boolean, utf: boolean): string {
  const highest = utf ? 0x10ffff : 0xff;
  if (ranges.length === 1 && ranges[0][0] === 0 && ranges[0][1] === highest) return "[^]";
  if (ranges.length === 0) return "[]";
  const [first] = ranges;
  const text =
    ranges.length === 1 && first[0] === first[1]
      ? code(utf, first[0])
      : `[${ranges.map(([low, high]) => (low === high ? code(utf, low) : `${code(utf, low)}-${code(utf, high)}`)).join("")}]`;
  return caseless ? `(?i:${text})` : text;
}

function code(utf: boolean, value: number): string {
  const character = String.fromCodePoint(value);
  if (/[0-9A-Za-z_]/.test(character)) return character;
  if (value > 0xff) return utf ? `\\u{${value.toString(16)}}` : `\\u${value.toString(16).padStart(4, "0")}`;
  return `\\x${value.toString(16).padStart(2, "0")}`;
}

/** Whether a node captures, or is written with a group of JavaScript's. */
function hasGroups(node: RegexNode): boolean {
  switch (node.kind) {
    case "group":
    case "atomic":
      return true;
    case "sequence":
      return node.items.some(hasGroups);
    case "choice":
      return node.branches.some(hasGroups);
    case "repeat":
      return hasGroups(node.item);
    case "look":
      return hasGroups(node.body);
    default:
      return false;
  }
}

/** Whether some way through a node sets fewer of its groups than another. */
function skipsGroups(node: RegexNode): boolean {
  switch (node.kind) {
    case "sequence":
      return node.items.some(skipsGroups);
    case "choice":
      return node.branches.some(captures);
    case "repeat":
      return (node.min === 0 && captures(node.item)) || skipsGroups(node.item);
    case "look":
      return captures(node.body);
    case "group":
    case "atomic":
      return skipsGroups(node.body);
    default:
      return false;
  }
}

/** Whether a node may prefer matching nothing to matching something. */
function hasPreference(node: RegexNode): boolean {
  switch (node.kind) {
    case "choice":
      return true;
    case "repeat":
      return node.lazy || hasPreference(node.item);
    case "sequence":
      return node.items.some(hasPreference);
    case "group":
    case "atomic":
      return hasPreference(node.body);
    default:
      return false;
  }
}

function captures(node: RegexNode): boolean {
  switch (node.kind) {
    case "group":
      return true;
    case "atomic":
    case "look":
      return captures(node.body);
    case "sequence":
      return node.items.some(captures);
    case "choice":
      return node.branches.some(captures);
    case "repeat":
      return captures(node.item);
    default:
      return false;
  }
}
