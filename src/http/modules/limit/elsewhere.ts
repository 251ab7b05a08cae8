/** Keys of one node, and the most of one key, that are believed. */
const MOST_KEYS = 1_000_000;
const MOST_COUNT = 1_000_000;

interface Told {
  count: number;
  /** The round in which it was told last. */
  round: number;
}

interface Node {
  readonly keys: Map<string, Told>;
  round: number;
}

/** How many connections other nodes have of each key, as they have told. */
export class Elsewhere {
  readonly #nodes = new Map<string, Node>();
  readonly #sums = new Map<string, number>();

  count(key: string): number {
    return this.#sums.get(key) ?? 0;
  }

  /** Those that any of them has. */
  keys(): Iterable<string> {
    return this.#sums.keys();
  }

  /** A node has so many of a key. Returns whether that is new. */
  told(name: string, key: string, count: number): boolean {
    let node = this.#nodes.get(name);
    if (node === undefined) {
      if (count === 0) return false;
      node = { keys: new Map(), round: 0 };
      this.#nodes.set(name, node);
    }
    const { keys, round } = node;
    const before = keys.get(key);
    const is = Math.min(count, MOST_COUNT);
    if (before === undefined && (is === 0 || keys.size >= MOST_KEYS)) return false;
    const was = before?.count ?? 0;
    if (is === 0) keys.delete(key);
    else if (before === undefined) keys.set(key, { count: is, round });
    else {
      before.count = is;
      before.round = round;
    }
    this.#add(key, is - was);
    return is !== was;
  }

  /** A node has told all that it has: the rest counts no more. Returns the keys that change by that. */
  endRound(name: string): string[] {
    const node = this.#nodes.get(name);
    if (node === undefined) return [];
    const over: string[] = [];
    for (const [key, { count, round }] of node.keys) {
      if (round === node.round) continue;
      node.keys.delete(key);
      this.#add(key, -count);
      over.push(key);
    }
    node.round++;
    return over;
  }

  /** What that node has told counts no more. Returns the keys that change by that. */
  gone(name: string): string[] {
    const node = this.#nodes.get(name);
    if (node === undefined) return [];
    this.#nodes.delete(name);
    for (const [key, { count }] of node.keys) this.#add(key, -count);
    return [...node.keys.keys()];
  }

  #add(key: string, difference: number): void {
    const sum = this.count(key) + difference;
    if (sum > 0) this.#sums.set(key, sum);
    else this.#sums.delete(key);
  }
}
