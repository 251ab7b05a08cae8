/** What nodes make of the findings of several: no time, no I/O, so that the simulation (bench/cluster_simulation.ts) decides as nodes do. */

/** How many of the other live nodes have which finding. Those that are down, leaving or without a verdict are not among them. */
export interface Votes {
  readonly up: number;
  readonly down: number;
}

export interface Case {
  /** What this node finds itself; undefined: it does not look, or has no verdict yet. */
  readonly own: boolean | undefined;
  readonly others: Votes;
  /** `quorum=majority`; without it who looks goes by what it finds. */
  readonly quorum: boolean;
  /** What was decided before; undefined: nothing. */
  readonly before: boolean | undefined;
}

/**
 * Whether a server is up; undefined: there is nothing to go by, and it stays as it was. More than half of those with a
 * verdict decide. A tie goes to this node's own finding; where it has none the server stays as it was, and where nothing
 * was decided yet it is up, since there are nodes that reach it.
 */
export function judge({ own, others: { up, down }, quorum, before }: Case): boolean | undefined {
  if (own !== undefined && (!quorum || up + down === 0)) return own;
  const ups = up + (own === true ? 1 : 0);
  const downs = down + (own === false ? 1 : 0);
  if (ups !== downs) return ups > downs;
  return ups === 0 ? undefined : (own ?? before ?? true);
}
