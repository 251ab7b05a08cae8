import type { BoundPlan } from "./plan.ts";

/** How an upstream's checks are shared with the other nodes of a cluster. */
export interface Sharing {
  /** `quorum=majority`: what most of the nodes that look find decides. */
  readonly quorum: boolean;
  /** `observers=`: by how many nodes each server is checked; 0: by all. */
  readonly observers: number;
}

/** The nodes that share checks, as the scheduler needs them. Servers are named by upstream and nginx's text of their address. */
export interface CheckGroup {
  /** Whether this node is one of a server's observers. Asked of checks with `observers=` only. */
  runs(upstream: string, server: string): boolean;
  /** A check of the server has ended: what this node finds may be another thing now. */
  found(upstream: string, server: string): void;
  /** The servers that are checked are others now. */
  planned(plan: BoundPlan): void;
}

export interface Decision {
  readonly upstream: string;
  readonly server: string;
  readonly up: boolean;
  /** This node does not look itself: its own state follows. */
  readonly adopted: boolean;
}
