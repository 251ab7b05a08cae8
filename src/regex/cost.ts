import { afterRound, apart, firstOf, isAnchored, minLength, type Next } from "./first.ts";
import type { ParsedRegex, RegexNode } from "./syntax.ts";

/**
 * The worst-case cost of a backtracking search, estimated from the pattern alone. In how many `ways` a part can match
 * from one place is how often all that follows it may be tried; trying the part costs `once`, and `each` for every
 * character of the subject.
 */
interface Cost {
  readonly ways: number;
  readonly once: number;
  readonly each: number;
}

const STEP: Cost = { ways: 1, once: 1, each: 0 };
const ENDLESS: Cost = { ways: Number.POSITIVE_INFINITY, once: Number.POSITIVE_INFINITY, each: 0 };

/** Lengths of subjects considered: from more than any request has down to less than any URI. */
const LENGTHS = [
  2 ** 18,
  2 ** 16,
  2 ** 14,
  2 ** 12,
  2 ** 11,
  2 ** 10,
  768,
  512,
  384,
  256,
  192,
  128,
  96,
  64,
  32,
  16,
  8,
  4,
];

/** About the longest subject on which no search for a pattern takes more than so many steps. */
export function longestWithin(parsed: ParsedRegex, steps: number): number {
  const anchored = isAnchored(parsed.root);
  const fits = (length: number): boolean => {
    const { once, each } = costOf(parsed.root, undefined, length);
    return (anchored ? 1 : length + 1) * (once + each * length) <= steps;
  };
  if (fits(LENGTHS[0])) return LENGTHS[0];
  let tooLong = 0;
  let fitting = LENGTHS.length;
  while (fitting - tooLong > 1) {
    const middle = (tooLong + fitting) >>> 1;
    if (fits(LENGTHS[middle])) fitting = middle;
    else tooLong = middle;
  }
  return LENGTHS[fitting] ?? 0;
}

function costOf(node: RegexNode, after: Next, length: number): Cost {
  switch (node.kind) {
    case "set":
    case "assert":
    case "fail":
      return STEP;
    case "sequence":
      return sequenceCost(node.items, after, length);
    case "choice":
      return choiceCost(node.branches, after, length);
    case "repeat":
      return node.item.kind === "set" ? setRepeatCost(node, after, length) : repeatCost(node, after, length);
    case "group":
      return costOf(node.body, after, length);
    case "atomic":
      return { ...costOf(node.body, undefined, length), ways: 1 };
    case "look": {
      // It takes nothing of the subject: what it reads is read again.
      const { once, each } = costOf(node.body, undefined, length);
      return { ways: 1, once: once + each * length, each: 0 };
    }
    default:
      return ENDLESS;
  }
}

function sequenceCost(items: readonly RegexNode[], after: Next, length: number): Cost {
  const following: Next[] = [];
  let next = after;
  for (let i = items.length - 1; i >= 0; i--) {
    following[i] = next;
    next = firstOf(items[i], next, true);
  }
  let ways = 1;
  let once = 1;
  let each = 0;
  for (const [i, item] of items.entries()) {
    const cost = costOf(item, following[i], length);
    once += ways * cost.once;
    each += ways * cost.each;
    ways *= cost.ways;
  }
  return { ways, once, each };
}

function choiceCost(branches: readonly RegexNode[], after: Next, length: number): Cost {
  const costs = branches.map((branch) => costOf(branch, after, length));
  const firsts = branches.map((branch) => firstOf(branch, after, true));
  const exclusive = firsts.every((first, i) => firsts.every((other, j) => i >= j || apart(first, other)));
  const ways = costs.map((cost) => cost.ways);
  return {
    ways: exclusive ? Math.max(...ways) : ways.reduce(sum),
    once: costs.map(({ once }) => once).reduce(sum, 1),
    each: costs.map(({ each }) => each).reduce(sum),
  };
}

const sum = (a: number, b: number): number => a + b;

function setRepeatCost(node: RegexNode & { kind: "repeat" }, after: Next, length: number): Cost {
  const most = Math.min(node.max, length);
  const settled = node.max === node.min || apart(firstOf(node.item, undefined, true), after);
  const ways = settled ? 1 : Math.max(1, most - node.min + 1);
  return node.max <= 64 ? { ways, once: node.max + 1, each: 0 } : { ways, once: 1, each: 2 };
}

function repeatCost(node: RegexNode & { kind: "repeat" }, after: Next, length: number): Cost {
  const item = costOf(node.item, afterRound(node, after, true), length);
  const shortest = minLength(node.item);
  const rounds = Math.min(node.max, shortest === 0 ? Number.POSITIVE_INFINITY : Math.ceil(length / shortest));
  if (rounds === Number.POSITIVE_INFINITY) return ENDLESS;
  if (item.ways > 1) {
    const ways = (rounds + 1) * item.ways ** rounds;
    return { ways, once: 1 + ways * item.once, each: ways * item.each };
  }
  const settled = node.max === node.min || apart(firstOf(node.item, undefined, true), after);
  const ways = settled ? 1 : rounds - Math.min(node.min, rounds) + 1;
  if (shortest === 0) return { ways, once: 1 + rounds * item.once, each: rounds * item.each };
  return { ways, once: 1 + 2 * item.once, each: 2 * item.each + item.once / shortest };
}
