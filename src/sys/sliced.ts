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

/** Runs it in slices, with a turn of the event loop between. */
export async function inSlices<T>(work: Sliced<T>): Promise<T> {
  for (;;) {
    const until = performance.now() + SLICE_MS;
    let step = work.next();
    while (step.done !== true && performance.now() < until) step = work.next();
    if (step.done === true) return step.value;
    await new Promise<void>((resolve) => defer(resolve, undefined));
  }
}
