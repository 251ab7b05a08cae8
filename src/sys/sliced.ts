/**
 * Long work that is done in slices, between which the thread serves: a generator that yields wherever it can be left for
 * a while. What it returns is the result; it may throw as ever.
 */
export type Sliced<T> = Generator<undefined, T>;

/** How long a slice is, in ms: no request waits longer for a reload. */
const SLICE_MS = 5;

/** Does the work in one go. */
export function whole<T>(work: Sliced<T>): T {
  let step = work.next();
  while (step.done !== true) step = work.next();
  return step.value;
}

/** Does the work a slice at a time, with a turn of the loop between. */
export async function inSlices<T>(work: Sliced<T>): Promise<T> {
  for (;;) {
    const until = performance.now() + SLICE_MS;
    let step = work.next();
    while (step.done !== true && performance.now() < until) step = work.next();
    if (step.done === true) return step.value;
    await new Promise<void>((resolve) => setImmediate(resolve));
  }
}
