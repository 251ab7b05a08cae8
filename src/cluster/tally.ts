import type { Opinion, OpinionState } from "./group/opinions.ts";
import type { Votes } from "./judge.ts";

type Count = { -readonly [K in OpinionState]: number };

const NONE: Readonly<Count> = { up: 0, down: 0, unknown: 0 };

/** How many of the other nodes find what, by the key of the subject. Kept by differences: a change costs what it is. */
export class Tally {
  readonly #counts = new Map<string, Count>();

  /** A node's opinion has changed; undefined: there was none, or is none. */
  change(key: string, before: Opinion | undefined, after: Opinion | undefined): void {
    let count = this.#counts.get(key);
    if (count === undefined) {
      count = { ...NONE };
      this.#counts.set(key, count);
    }
    if (before !== undefined) count[before.state]--;
    if (after !== undefined) count[after.state]++;
    if (count.up + count.down + count.unknown === 0) this.#counts.delete(key);
  }

  votes(key: string): Votes {
    return this.#counts.get(key) ?? NONE;
  }

  /** Whether any node looks at it, with a verdict or without. */
  looks(key: string): boolean {
    return this.#counts.has(key);
  }
}
