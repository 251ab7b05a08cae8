/** How far clocks may be apart, ms: older and younger requests count as replayed. */
const CLOCK_WINDOW_MS = 30_000;
/** Runs that are remembered. */
const MOST_RUNS = 4096;

interface Run {
  number: bigint;
  /** Monotonic ms. */
  seenAt: number;
}

/** Tells requests that come a second time: each run counts its own, and what is older than the window is refused by its clock. */
export class ReplayGuard {
  readonly #runs = new Map<bigint, Run>();

  /** Of a request whose signature verified. `time`, `wall`: ms since 1970; `now`: monotonic ms. */
  judge(
    run: bigint,
    number: bigint,
    time: number,
    wall: number,
    now: number,
  ): "fresh" | "replayed" | "clock" | "crowded" {
    if (Math.abs(time - wall) > CLOCK_WINDOW_MS) return "clock";
    const known = this.#runs.get(run);
    if (known === undefined) {
      this.#forget(now);
      if (this.#runs.size >= MOST_RUNS) return "crowded";
      this.#runs.set(run, { number, seenAt: now });
      return "fresh";
    }
    if (number <= known.number) return "replayed";
    known.number = number;
    known.seenAt = now;
    return "fresh";
  }

  #forget(now: number): void {
    if (this.#runs.size < MOST_RUNS) return;
    for (const [run, { seenAt }] of this.#runs) if (now - seenAt > 2 * CLOCK_WINDOW_MS) this.#runs.delete(run);
  }
}
