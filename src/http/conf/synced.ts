import type { Directive } from "../../config/types.ts";
import type { Script } from "../../redis/link.ts";
import type { Cycle } from "../../runtime/cycle.ts";

/**
 * What the nodes of a group share through the group's store, beside sessions: the seam between who has something to share (limits,
 * caches, …) and who carries it (cluster/sync/, in the checker). Workers touch shared memory alone: a part takes from there what
 * has changed, and puts there what others tell.
 *
 * Who has something to share registers a `Synced` while the configuration is built. Where the group has a store, `share` is called
 * in every process, before it serves, and `join` in the checker.
 */
export interface Synced {
  /** What it is, the same on all nodes and nobody else's: `limit_req one`. Up to MOST_TOPIC bytes. */
  readonly topic: string;
  /** Where the configuration says that it is shared. */
  readonly at: Directive;
  /** It is shared indeed. */
  share(): void;
  /** `previous`: what the cycle before had for this topic, which is not told anything any more. */
  join(port: SyncPort, previous: SyncedPart | undefined): SyncedPart;
}

export const MOST_TOPIC = 255;
/** The most bytes of a batch. */
export const MOST_BATCH = 256 * 1024;
/** How often parts are asked for what has changed, ms. */
export const SYNC_TICK_MS = 100;

/** The group, as a part has it. */
export interface SyncPort {
  /** This node's name. */
  readonly self: string;
  /** Messages go to the others and come from them. What is told while it is not up reaches nobody. */
  readonly up: boolean;
  /**
   * Sends a batch to all nodes, at most once. Returns false where it cannot be sent now: the store is away, or has too much to do. The
   * payload's first byte is its version, and belongs to the part.
   */
  publish(payload: Buffer): boolean;
  /** Commands for what is to stay in the store. Keys begin with `prefix`, which is this topic's alone. Rejects while it is away. */
  readonly prefix: string;
  command(key: string, args: readonly (string | Buffer)[]): Promise<unknown>;
  run(script: Script, key: string, args: readonly (string | Buffer)[]): Promise<unknown>;
  /** Signs what is to stay in the store with the cluster's secret, and verifies what lies there; undefined: nobody of the cluster did. */
  seal(bytes: Buffer): Buffer;
  open(sealed: Buffer): Buffer | undefined;
  /** What is to be said of it in the error log. */
  say(level: "error" | "warn" | "notice" | "info", sentence: string): void;
}

/** A batch that a node has published. */
export interface Batch {
  /** Which one. */
  readonly from: string;
  /** It is this node's own one, come back. Only parts with `echoes` get those. */
  readonly own: boolean;
  readonly payload: Buffer;
  /** By how much longer it was on its way than others of that node, ms, whatever their clocks say. */
  readonly late: number;
}

/** What is shared, in the checker. */
export interface SyncedPart {
  /** Whether it is given its own batches too: they are in the one order in which all nodes get all batches. */
  readonly echoes?: boolean;
  /** Called every SYNC_TICK_MS, whether the store is there or not: publishes what has changed. */
  tick(): void;
  /** Returns false where it is no batch, or one of a version that is not understood: it is counted. Must not throw. */
  receive(batch: Batch): boolean;
  /** That node begins to listen, and has not heard what was published before. */
  came?(node: string): void;
  /** Nothing has been heard of that node for a while, or it has begun anew: what it has told counts no more. */
  gone?(node: string): void;
  /** The store is there, at the start or again, or batches were lost: what others have published may have passed by. */
  missed?(): void;
  /** It is not told anything any more. What it has put into shared memory stays, since another checker of this node may go on. */
  stop(): void;
}

class Registered extends Map<string, Synced> {}

const SYNCED = Symbol("synced");

export function registerSynced({ root }: Cycle, synced: Synced): void {
  const known = root.notes.get(SYNCED);
  if (known instanceof Registered) known.set(synced.topic, synced);
  else root.notes.set(SYNCED, new Registered([[synced.topic, synced]]));
}

/** By topic. */
export function syncedOf({ root }: Cycle): ReadonlyMap<string, Synced> {
  const known = root.notes.get(SYNCED);
  return known instanceof Registered ? known : new Registered();
}
