import { logFault } from "../sys/guard.ts";
import { startTimer, type Timer } from "../sys/timers.ts";

/** Work that says itself when it is due again is, after a fault, in so long; ms. */
const FAULT_PAUSE = 10_000;

/** Work that a process does again and again beside what it is there for, as the checker keeps zones and their files. */
export class RepeatedWork {
  readonly #share: number;
  readonly #timers = new Set<Timer>();
  #stopped = false;

  /** `share`: what is done `every` so often, and takes long, takes no more than this part of the time, 1 in `share`. */
  constructor(share = 0) {
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
    const again = async (): Promise<void> => {
      const began = performance.now();
      await contained(work);
      this.#after(Math.max(ms, (performance.now() - began) * this.#share), again);
    };
    this.#after(ms, again);
  }

  /** Does it now, and each time again after as many ms as it said. */
  asDue(work: () => Promise<number>): void {
    const again = async (): Promise<void> => this.#after((await contained(work)) ?? FAULT_PAUSE, again);
    void again();
  }

  /** Resolves after so many ms; never, once it is stopped. */
  pause(ms: number): Promise<void> {
    return new Promise((resolve) => this.#after(ms, resolve));
  }

  #after(ms: number, work: () => void): void {
    if (this.#stopped) return;
    const timer = startTimer(
      ms,
      () => {
        this.#timers.delete(timer);
        work();
      },
      { background: true },
    );
    this.#timers.add(timer);
  }
}

/** Undefined where it failed, which is logged. */
async function contained<T>(work: () => Promise<T>): Promise<T | undefined> {
  try {
    return await work();
  } catch (error) {
    logFault(error);
    return undefined;
  }
}

/** Others' turn. */
export function turn(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}
