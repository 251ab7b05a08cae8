import { logFault } from "../sys/guard.ts";
import { startTimer, type Timer } from "../sys/timers.ts";

/** Work that a process does again and again beside what it is there for, as the checker keeps zones and their files. */
export class RepeatedWork {
  readonly #share: number;
  readonly #timers = new Set<Timer>();
  #stopped = false;

  /** `share`: one that takes long is done so seldom that it takes no more than this part of the time, 1 in `share`. */
  constructor(share: number) {
    this.#share = share;
  }

  get stopped(): boolean {
    return this.#stopped;
  }

  stop(): void {
    this.#stopped = true;
    for (const timer of this.#timers) timer.clear();
  }

  /** Does it every `ms` milliseconds. An exception is logged, and does not end that. */
  every(ms: number, work: () => Promise<void>): void {
    this.#after(ms, ms, work);
  }

  #after(pause: number, ms: number, work: () => Promise<void>): void {
    if (this.#stopped) return;
    const timer = startTimer(
      pause,
      async () => {
        this.#timers.delete(timer);
        const began = performance.now();
        try {
          await work();
        } catch (error) {
          logFault(error);
        }
        this.#after(Math.max(ms, (performance.now() - began) * this.#share), ms, work);
      },
      { background: true },
    );
    this.#timers.add(timer);
  }
}

/** Others' turn. */
export function turn(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}
