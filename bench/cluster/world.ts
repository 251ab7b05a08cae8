import { type Due, DueHeap } from "../../src/health/due.ts";
import type { Clock } from "../../src/health/scheduler.ts";

/** ms since 1970 when the simulation begins. */
const EPOCH = 1_700_000_000_000;
/** One way, ms. */
const LATENCY = [0.1, 1] as const;

interface Happening extends Due {
  readonly run: () => void;
}

/** Time and chance of a simulation: what happens, happens in order, and the same for the same seed. */
export class World implements Clock {
  readonly #heap = new DueHeap<Happening>();
  readonly #loss: number;
  #now = 0;
  #state: number;

  /** `loss`: the part of messages that never come. */
  constructor(seed: number, loss: number) {
    this.#state = seed | 0;
    this.#loss = loss;
  }

  now(): number {
    return this.#now;
  }

  wall(): number {
    return EPOCH + this.#now;
  }

  wake(ms: number, callback: () => void): () => void {
    const happening = this.after(ms, callback);
    return () => this.#heap.remove(happening);
  }

  after(ms: number, run: () => void): Happening {
    const happening = { due: 0, place: -1, run };
    this.#heap.set(happening, this.#now + ms);
    return happening;
  }

  /** A message on its way: `run` when it comes, if it does. */
  send(run: () => void): void {
    if (this.random() < this.#loss) return;
    const [least, most] = LATENCY;
    this.after(least + (most - least) * this.random(), run);
  }

  /** Goes on until that time. */
  run(until: number): void {
    for (let next = this.#heap.first; next !== undefined && next.due <= until; next = this.#heap.first) {
      this.#heap.remove(next);
      this.#now = next.due;
      next.run();
    }
    this.#now = until;
  }

  /** From 0 to below 1 (mulberry32). */
  readonly random = (): number => {
    this.#state = (this.#state + 0x6d2b79f5) | 0;
    let t = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}
