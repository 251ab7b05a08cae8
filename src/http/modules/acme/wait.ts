import { startTimer } from "../../../sys/timers.ts";

/** Resolves in that many ms, or at once when the signal aborts. */
export function wait(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const end = (): void => {
      timer.clear();
      signal.removeEventListener("abort", end);
      resolve();
    };
    const timer = startTimer(signal.aborted ? 0 : ms, end, { background: true });
    signal.addEventListener("abort", end);
  });
}
