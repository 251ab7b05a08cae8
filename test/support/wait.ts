import { setTimeout as sleep } from "node:timers/promises";

/**
 * How long anything a test waits for may take before the test fails, in ms. Generous: beside other work a start alone has
 * taken 20 s.
 */
export const PATIENCE_MS = 60_000;

/**
 * Asks until the answer is neither undefined, null nor false, and resolves to it. Rejects with `what` after `ms`; a
 * function is asked then.
 * For what has no event to wait for: a file that another process writes, a state behind a socket.
 */
export async function waitFor<T>(
  ask: () => T | Promise<T>,
  what: string | (() => string) = "the condition",
  ms = PATIENCE_MS,
): Promise<Exclude<T, undefined | null | false>> {
  const end = performance.now() + ms;
  for (let pause = 2; ; pause = Math.min(pause * 1.5, 50)) {
    const answer = await ask();
    if (answer !== undefined && answer !== null && answer !== false) {
      return answer as Exclude<T, undefined | null | false>;
    }
    if (performance.now() > end) {
      throw new Error(`waited ${ms} ms in vain for ${typeof what === "string" ? what : what()}`);
    }
    await sleep(pause);
  }
}
