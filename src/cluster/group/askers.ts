/** So often two runs have to take turns, and the last time may be so long ago, ms. */
const MOST_TURNS = 3;
const LASTS_MS = 10_000;

interface Asker {
  run: bigint;
  host: string;
  /** The run that asked before that one. */
  before: bigint;
  beforeHost: string;
  turns: number;
  /** Of the last turn, monotonic ms. */
  at: number;
}

/**
 * Finds out where two machines say that they are the same node: a run that another has followed does not come again, unless both
 * go on asking.
 */
export class Askers {
  readonly #known = new Map<string, Asker>();

  /** A node of the configuration has asked. */
  asked(node: string, run: bigint, host: string, now: number): void {
    const known = this.#known.get(node);
    if (known?.run === run) return;
    const returns = known !== undefined && known.before === run;
    const turns = returns ? known.turns + 1 : 0;
    const before = { before: known?.run ?? 0n, beforeHost: known?.host ?? "" };
    this.#known.set(node, { run, host, ...before, turns, at: now });
  }

  /** Where the two are that say that they are that node; undefined while there is one. */
  twice(node: string, now: number): readonly string[] | undefined {
    const known = this.#known.get(node);
    if (known === undefined || known.turns < MOST_TURNS || now - known.at > LASTS_MS) return undefined;
    return [known.host, known.beforeHost].sort();
  }
}
