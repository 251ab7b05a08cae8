import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import type { ResourceLimits } from "node:worker_threads";
import type { ThreadRole } from "./messages.ts";

/**
 * The threads' heaps. Left to itself V8 lets the old generation of a heap grow to hundreds of MiB before it looks how much
 * of it is garbage: that is room for the trees of many reloads. bin/holdfast has it look early (--memory-saver-mode,
 * --initial-old-space-size) and gives the supervisor a small young generation; what follows is for the other threads.
 */

/** A request leaves little behind but garbage: the larger the young generation, the seldomer it is searched for the rest. */
const WORKER_SEMI_SPACE_MB = { least: 16, most: 32 };
const WATCHER_SEMI_SPACE_MB = 4;

/** V8 counts two semi-spaces and as much again for large objects. */
const YOUNG_GENERATION = 3;

/** Called once, before any thread is started: the flags of the command line would hold for every heap. */
export function prepareThreadHeaps(): void {
  setFlagsFromString("--max-semi-space-size=0");
  setFlagsFromString(`--min-semi-space-size=${WORKER_SEMI_SPACE_MB.least}`);
}

export function heapLimits({ kind }: ThreadRole): ResourceLimits {
  const semiSpace = kind === "worker" ? WORKER_SEMI_SPACE_MB.most : WATCHER_SEMI_SPACE_MB;
  return { maxYoungGenerationSizeMb: YOUNG_GENERATION * semiSpace };
}

let collect: (() => void) | undefined;

/** Collects this thread's garbage now, which takes some tens of ms: for a thread that nobody waits for. */
export function collectGarbage(): void {
  if (collect === undefined) {
    setFlagsFromString("--expose-gc");
    const made: unknown = runInNewContext("gc");
    setFlagsFromString("--no-expose-gc");
    collect = typeof made === "function" ? () => void made() : () => {};
  }
  collect();
}
