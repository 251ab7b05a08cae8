/** After so long without a batch a node counts as gone, ms. */
const SILENT_MS = 3500;
/** How its clock goes is known for so much longer: what the store held back comes when it is there again, ms. */
const KNOWN_MS = 3_600_000;
/** Runs of nodes that are known at a time. */
const MOST_RUNS = 4096;
/** How fast two monotonic clocks may part, as a share of the time. */
const DRIFT = 1e-4;

interface Sender {
  readonly node: string;
  /** The number of its last batch. */
  number: number;
  /** When that came, monotonic ms. */
  at: number;
  /** The least that this node's clock was ahead of the sender's when a batch came: what came without a wait. */
  least: number;
  silent: boolean;
}

/** What is known from a batch's number and time. */
export interface Came {
  /** It is the first of its node, or of a new start of that, or the first after a silence. */
  readonly isNew: boolean;
  /** How many before it did not come. */
  readonly missed: number;
  /** By how much longer it was on its way than the quickest, ms. */
  readonly late: number;
}

/** Who publishes on the channel: what has been missed of whom, and who is gone. */
export class Senders {
  readonly #runs = new Map<string, Sender>();

  /** `behind`: this node's clock less the sender's when it sent, ms. */
  came(node: string, run: bigint, number: number, behind: number, now: number): Came | "repeated" {
    const key = `${run} ${node}`;
    const known = this.#runs.get(key);
    if (known === undefined) {
      if (this.#runs.size >= MOST_RUNS) this.#forget();
      this.#runs.set(key, { node, number, at: now, least: behind, silent: false });
      return { isNew: true, missed: 0, late: 0 };
    }
    if (number <= known.number) return "repeated";
    const missed = number - known.number - 1;
    known.least = Math.min(behind, known.least + (now - known.at) * DRIFT);
    const isNew = known.silent;
    known.silent = false;
    known.number = number;
    known.at = now;
    return { isNew, missed, late: behind - known.least };
  }

  /** The nodes that nothing has been heard of for a while: each is said once. */
  silent(now: number): string[] {
    const over: string[] = [];
    for (const [key, run] of this.#runs) {
      const silence = now - run.at;
      if (silence >= KNOWN_MS) this.#runs.delete(key);
      if (run.silent || silence < SILENT_MS) continue;
      run.silent = true;
      over.push(run.node);
    }
    if (over.length === 0) return over;
    // Another run of it may go on.
    const heard = new Set([...this.#runs.values()].flatMap(({ node, silent }) => (silent ? [] : [node])));
    return [...new Set(over)].filter((node) => !heard.has(node));
  }

  /** The run heard longest ago. */
  #forget(): void {
    let oldest: string | undefined;
    let since = Number.POSITIVE_INFINITY;
    for (const [key, { at }] of this.#runs) {
      if (at >= since) continue;
      oldest = key;
      since = at;
    }
    if (oldest !== undefined) this.#runs.delete(oldest);
  }
}
