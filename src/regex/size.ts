import type { RegexNode } from "./syntax.ts";

/** A counted repeat is written out up to this many instruction words; a longer one counts its rounds. */
export const MOST_COPIED = 4096;
/** PCRE's limit on the size of a compiled pattern. */
export const MOST_SIZE = 65_536;

/** Whether `wanted` is true of a node or of one within it. */
export function some(node: RegexNode, wanted: (node: RegexNode) => boolean): boolean {
  return wanted(node) || partsOf(node).some((part) => some(part, wanted));
}

function partsOf(node: RegexNode): readonly RegexNode[] {
  switch (node.kind) {
    case "sequence":
      return node.items;
    case "choice":
      return node.branches;
    case "repeat":
      return [node.item];
    case "group":
    case "atomic":
    case "look":
      return [node.body];
    case "condition":
      return node.test.kind === "look" ? [node.test.look, node.yes, node.no] : [node.yes, node.no];
    default:
      return [];
  }
}

/** Estimates the bytes PCRE compiles a node to, rather too low than too high. */
export function sizeOf(node: RegexNode): number {
  const inside = partsOf(node).reduce((total, part) => total + sizeOf(part), 0);
  switch (node.kind) {
    case "set":
      return node.ranges.length > 2 ? 16 : 2;
    case "sequence":
      return inside;
    case "choice":
      return inside + 3 * node.branches.length + 3;
    case "repeat": {
      if (node.item.kind === "set") return inside + 4;
      const copies = node.max === Number.POSITIVE_INFINITY ? Math.max(node.min, 1) : node.max;
      return Math.max(copies, 1) * (node.item.kind === "sequence" ? inside + 6 : inside);
    }
    default:
      return inside + 8;
  }
}

/** Estimates the instruction words a node takes. */
export function wordsOf(node: RegexNode): number {
  const inside = partsOf(node).reduce((total, part) => total + wordsOf(part), 0);
  if (node.kind !== "repeat" || node.item.kind === "set") return inside + 6;
  const copies = node.max === Number.POSITIVE_INFINITY ? Math.max(node.min, 1) : node.max;
  return (copies * inside > MOST_COPIED ? inside : copies * inside) + 6;
}

/** The number of characters a node always matches, or undefined when that varies. */
export function fixedLength(node: RegexNode): number | undefined {
  switch (node.kind) {
    case "set":
      return 1;
    case "assert":
    case "look":
    case "fail":
      return 0;
    case "sequence": {
      let total = 0;
      for (const item of node.items) {
        const length = fixedLength(item);
        if (length === undefined) return undefined;
        total += length;
      }
      return total;
    }
    case "choice": {
      const lengths = new Set(node.branches.map(fixedLength));
      return lengths.size === 1 ? [...lengths][0] : undefined;
    }
    case "group":
    case "atomic":
      return fixedLength(node.body);
    case "repeat": {
      const length = fixedLength(node.item);
      return node.min === node.max && length !== undefined ? length * node.min : undefined;
    }
    default:
      return undefined;
  }
}
