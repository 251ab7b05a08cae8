import { defer } from "./guard.ts";

/**
 * A long computation in slices, between which events are handled: a generator that yields wherever it may be
 * interrupted, and returns the result.
 */
export type Sliced<T> = Generator<undefined, T>;

/** The length of a slice, in ms: during a reload no event is handled later than that. */
const SLICE_MS = 5;

/** Runs it without interruption. */
export function whole<T>(work: Sliced<T>): T {
  let step = work.next();
  while (step.done !== true) step = work.next();
  return step.value;
}

/** What needs more slices than these makes so much that stays, that V8 collects garbage over and over again in vain. */
const SMALL = 20;

/** Runs it in slices, with a turn of the event loop between. */
export async function inSlices<T>(work: Sliced<T>): Promise<T> {
  let large = false;
  try {
    for (let slices = 1; ; slices++) {
      const until = performance.now() + SLICE_MS;
      let step = work.next();
      while (step.done !== true && performance.now() < until) step = work.next();
      if (step.done === true) return step.value;
      if (slices === SMALL) {
        large = true;
        saveMemory(false);
      }
      await new Promise<void>((resolve) => defer(resolve, undefined));
    }
  } finally {
    if (large) saveMemory(true);
  }
}

const SAVER = "--memory-saver-mode";

/** Lets the heap grow for a while: with the launcher's --memory-saver-mode a configuration of 5,000 locations takes twice as long. */
function saveMemory(on: boolean): void {
  if (!process.execArgv.includes(SAVER)) return;
  process.getBuiltinModule("node:v8").setFlagsFromString(on ? SAVER : `--no-${SAVER.slice(2)}`);
}
