import type { NodeFacts } from "./group/messages.ts";
import type { Opinion, OpinionState } from "./group/opinions.ts";
import type { Report } from "./report/report.ts";
import type { StoreRow } from "./sync/store_row.ts";

/** Who sees whom: what each node that can be heard finds of each subject. Times are ms since 1970. */
export interface Matrix {
  readonly cluster: string;
  /** Whose view of the group it is, and when. */
  readonly self: string;
  readonly at: number;
  readonly nodes: readonly NodeRow[];
  readonly servers: readonly ServerRow[];
  /** In what other nodes differ from this one: sentences. */
  readonly differences: readonly string[];
  readonly addresses: readonly AddressRow[];
  /** How this node does with the store; undefined where the group has none. */
  readonly store?: StoreRow;
}

/**
 * "up", "down": all observers say so. "partly": only some reach it, so it lives, and the way there is cut for the others.
 * "unknown": nobody has a verdict.
 */
export type Verdict = OpinionState | "partly";

export interface Seen {
  readonly verdict: Verdict;
  /** By observer. Those that this node does not hear are not among them. */
  readonly seen: Readonly<Record<string, Opinion>>;
}

export interface NodeRow extends Seen {
  readonly name: string;
  readonly address: string;
  readonly self: boolean;
  /** undefined while this node does not hear it. */
  readonly facts: NodeFacts | undefined;
  /** It is not heard since it has left, as it had said. */
  readonly left?: boolean;
  /** How far its clock is ahead, ms. */
  readonly clockAhead: number;
  readonly protocol: string;
  /** The addresses of two that say that they are this node. */
  readonly twice?: readonly string[] | undefined;
  /** Whether it was asked over TLS last; not there where this node has no TLS. */
  readonly encrypted?: boolean;
}

export interface ServerRow extends Seen {
  readonly upstream: string;
  readonly server: string;
  /** What it says of itself, while that keeps requests from it. */
  readonly report?: Report;
}

/** A virtual address. */
export interface AddressRow {
  readonly address: string;
  /** Who has it, of those that can be heard: one, but while it moves, and where nodes do not hear each other. */
  readonly holders: readonly string[];
  /** By node: "up" has it. */
  readonly seen: Readonly<Record<string, Opinion>>;
}

export function verdictOf(opinions: Iterable<Opinion>): Verdict {
  let up = 0;
  let down = 0;
  for (const { state } of opinions) {
    if (state === "up") up++;
    else if (state === "down") down++;
  }
  if (up > 0 && down > 0) return "partly";
  return up > 0 ? "up" : down > 0 ? "down" : "unknown";
}
