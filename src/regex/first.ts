import { type Ranges, type RegexNode, union } from "./syntax.ts";

/**
 * What may stand next in the subject where a part of a pattern goes on to match: one of `ranges`, or the end.
 * Undefined: anything. An over-approximation.
 */
export type Next = { readonly ranges: Ranges; readonly end: boolean } | undefined;

const NOTHING: Next = { ranges: [], end: false };
const END: Next = { ranges: [], end: true };
const NEWLINE_OR_END: Next = { ranges: [[0x0a, 0x0a]], end: true };

/**
 * What may stand at the beginning of a node when `after` may stand behind it. `roughly`: `$` is taken for the very end,
 * which ignores a final newline, and is right for counting how many ways there are.
 */
export function firstOf(node: RegexNode, after: Next, roughly = false): Next {
  switch (node.kind) {
    case "set":
      return node.caseless ? undefined : { ranges: node.ranges, end: false };
    case "sequence":
      return node.items.reduceRight((next, item) => firstOf(item, next, roughly), after);
    case "choice":
      return node.branches.map((branch) => firstOf(branch, after, roughly)).reduce(either, NOTHING);
    case "repeat":
      return firstOfRepeat(node, after, roughly);
    case "group":
    case "atomic":
      return firstOf(node.body, after, roughly);
    case "look":
      return after;
    case "assert":
      if (node.at === "end") return END;
      if (node.at === "finalEnd") return roughly ? END : NEWLINE_OR_END;
      return node.at === "lineEnd" ? NEWLINE_OR_END : after;
    case "condition":
      return either(firstOf(node.yes, after, roughly), firstOf(node.no, after, roughly));
    case "fail":
      return NOTHING;
    default:
      return undefined;
  }
}

function firstOfRepeat(node: RegexNode & { kind: "repeat" }, after: Next, roughly: boolean): Next {
  if (node.max === 0) return after;
  const nullable = minLength(node.item) === 0;
  const first = firstOf(node.item, nullable ? undefined : NOTHING, roughly);
  return node.min === 0 || nullable ? either(first, after) : first;
}

/** What may stand behind one round of a repeat: another round, or what follows. */
export function afterRound(node: RegexNode & { kind: "repeat" }, after: Next, roughly = false): Next {
  return node.max > 1 ? either(firstOfRepeat(node, NOTHING, roughly), after) : after;
}

function either(a: Next, b: Next): Next {
  if (a === undefined || b === undefined) return undefined;
  return { ranges: union(a.ranges, b.ranges), end: a.end || b.end };
}

/** Whether no character can begin both. */
export function apart(a: Next, b: Next): boolean {
  return a !== undefined && b !== undefined && !overlap(a.ranges, b.ranges);
}

function overlap(a: Ranges, b: Ranges): boolean {
  for (let i = 0, j = 0; i < a.length && j < b.length; ) {
    if (a[i][1] < b[j][0]) i++;
    else if (b[j][1] < a[i][0]) j++;
    else return true;
  }
  return false;
}

/** A lower bound of what a node matches; 0 when it may match nothing. */
export function minLength(node: RegexNode): number {
  switch (node.kind) {
    case "set":
      return 1;
    case "sequence":
      return node.items.reduce((total, item) => total + minLength(item), 0);
    case "choice":
      return Math.min(...node.branches.map(minLength));
    case "repeat":
      return node.min * minLength(node.item);
    case "group":
    case "atomic":
      return minLength(node.body);
    default:
      return 0;
  }
}

/** Whether a node can only match at the start of the subject. */
export function isAnchored(node: RegexNode): boolean {
  switch (node.kind) {
    case "assert":
      return node.at === "start";
    case "sequence":
      return node.items.length > 0 && isAnchored(node.items[0]);
    case "choice":
      return node.branches.every(isAnchored);
    case "group":
    case "atomic":
      return isAnchored(node.body);
    default:
      return false;
  }
}

/**
 * The last character that every match has to contain (in either case, when there are two), as PCRE's "last code unit":
 * without it there is nothing to search for. Undefined when no such character is known.
 */
export function requiredCharacter(node: RegexNode): Ranges | undefined {
  switch (node.kind) {
    case "set": {
      const codes = node.ranges.reduce((total, [low, high]) => total + high - low + 1, 0);
      return !node.caseless && codes >= 1 && codes <= 2 ? node.ranges : undefined;
    }
    case "sequence":
      for (let i = node.items.length - 1; i >= 0; i--) {
        const found = requiredCharacter(node.items[i]);
        if (found !== undefined) return found;
      }
      return undefined;
    case "group":
    case "atomic":
      return requiredCharacter(node.body);
    case "repeat":
      return node.min > 0 ? requiredCharacter(node.item) : undefined;
    default:
      return undefined;
  }
}
