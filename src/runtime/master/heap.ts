import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import type { ResourceLimits } from "node:worker_threads";
import type { ChildRole } from "../messages.ts";

/**
 * Heap sizes. By default V8 lets the old generation grow to hundreds of MiB before it collects it, which would keep the
 * trees of many reloads. bin/holdfast makes it collect early (--memory-saver-mode, --initial-old-space-size) and gives
 * the master a small young generation; the children's is set here.
 */

/** A request leaves almost nothing but garbage: the larger the young generation, the fewer scavenges. */
const WORKER_SEMI_SPACE_MB = { least: 16, most: 32 };
const CHECKER_SEMI_SPACE_MB = 4;

/** V8 counts two semi-spaces and as much again for large objects. */
const YOUNG_GENERATION = 3;

/** To call before a child is started: the flags of the command line would hold for the children's heaps too. */
export function prepareChildHeaps(): void {
  setFlagsFromString("--max-semi-space-size=0");
  setFlagsFromString(`--min-semi-space-size=${WORKER_SEMI_SPACE_MB.least}`);
}

export function heapLimits({ kind }: ChildRole): ResourceLimits {
  const semiSpace = kind === "worker" ? WORKER_SEMI_SPACE_MB.most : CHECKER_SEMI_SPACE_MB;
  return { maxYoungGenerationSizeMb: YOUNG_GENERATION * semiSpace };
}

let gc: (() => void) | undefined;

/** Collects the master's garbage now, which takes some tens of ms. */
export function collectGarbage(): void {
  if (gc === undefined) {
    setFlagsFromString("--expose-gc");
    const made: unknown = runInNewContext("gc");
    setFlagsFromString("--no-expose-gc");
    gc = typeof made === "function" ? () => void made() : () => {};
  }
  gc();
}
