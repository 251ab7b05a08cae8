import type { LruHash } from "../../shm/lru_hash.ts";

/** Words of a node: how many bits of a key stand for it, the entry of that key (0: none), and its children by the next bit. */
const BITS = 0;
const ENTRY = 1;
const CHILDREN = 2;

/** Filled by `find`: nodes on the way that have entries. */
const passed: number[] = [];

/**
 * An index of entries by the first bits of what is looked for (a Patricia tree), in the zone of the entries themselves. A node
 * has no bits of its own: those of the entries' keys are looked at once the way has been gone. A node without an entry has two
 * children. Everything here wants the zone's lock held.
 */
export class BitTree {
  readonly #entries: LruHash;
  readonly #words: Int32Array;
  readonly #bytes: Buffer;
  /** The word that names the first node. */
  readonly #root: number;
  /** How many bytes of keys come before their bits. */
  readonly #skip: number;

  constructor(entries: LruHash, root: number, skip: number) {
    this.#entries = entries;
    this.#words = entries.zone.words;
    this.#bytes = entries.zone.bytes;
    this.#root = root;
    this.#skip = skip;
  }

  /** Forgets all nodes, whose memory somebody else has taken back. */
  reset(): void {
    this.#words[this.#root] = 0;
  }

  /** Of the entries whose keys the first bits of `key` begin with, the one with most bits that counts; undefined for none. */
  find(key: string, bits: number, counts: (entry: number) => boolean): number | undefined {
    const words = this.#words;
    let found = 0;
    let node = words[this.#root];
    while (node !== 0 && words[node + BITS] <= bits) {
      if (words[node + ENTRY] !== 0) passed[found++] = node;
      if (words[node + BITS] === bits) break;
      node = words[this.#child(node, key)];
    }
    if (found === 0) return undefined;
    const last = passed[found - 1];
    const common = this.#common(words[last + ENTRY], key, words[last + BITS]);
    while (found-- > 0) {
      const at = passed[found];
      if (words[at + BITS] <= common && counts(words[at + ENTRY])) return words[at + ENTRY];
    }
    return undefined;
  }

  /** Puts an entry in, in the place of one that has the same bits; false where there is no memory. */
  add(key: string, bits: number, entry: number): boolean {
    const words = this.#words;
    const near = this.#near(key, bits);
    if (near === undefined) return this.#addNode(this.#root, bits, entry);
    const common = this.#common(words[near.node + ENTRY], key, Math.min(bits, words[near.node + BITS]));
    let slot = this.#root;
    let node = words[slot];
    while (node !== 0 && words[node + BITS] <= common) {
      if (words[node + BITS] === bits) {
        words[node + ENTRY] = entry;
        return true;
      }
      slot = this.#child(node, key);
      node = words[slot];
    }
    if (node === 0) return this.#addNode(slot, bits, entry);
    const branch = this.#entries.allocate();
    if (branch === undefined) return false;
    words[branch + BITS] = common;
    words[branch + ENTRY] = common === bits ? entry : 0;
    words[branch + CHILDREN] = 0;
    words[branch + CHILDREN + 1] = 0;
    const own = common === bits ? undefined : this.#child(branch, key);
    if (own !== undefined && !this.#addNode(own, bits, entry)) {
      this.#entries.free(branch);
      return false;
    }
    words[branch + CHILDREN + this.#bitOf(words[near.node + ENTRY], common)] = node;
    words[slot] = branch;
    return true;
  }

  /** Takes an entry out that is there. */
  remove(key: string, bits: number, entry: number): void {
    const words = this.#words;
    let above = 0;
    let slotAbove = 0;
    let slot = this.#root;
    let node = words[slot];
    while (node !== 0 && words[node + BITS] < bits) {
      above = node;
      slotAbove = slot;
      slot = this.#child(node, key);
      node = words[slot];
    }
    if (node === 0 || words[node + BITS] !== bits || words[node + ENTRY] !== entry) return;
    words[node + ENTRY] = 0;
    if (this.#splice(slot, node) && above !== 0 && words[above + ENTRY] === 0) this.#splice(slotAbove, above);
  }

  /** Puts its only child, or nothing, in a node's place. True where it was nothing. */
  #splice(slot: number, node: number): boolean {
    const words = this.#words;
    const zero = words[node + CHILDREN];
    const one = words[node + CHILDREN + 1];
    if (zero !== 0 && one !== 0) return false;
    words[slot] = zero + one;
    this.#entries.free(node);
    return zero + one === 0;
  }

  /** A node with an entry at the end of the way, or below it. */
  #near(key: string, bits: number): { readonly node: number } | undefined {
    const words = this.#words;
    let node = words[this.#root];
    if (node === 0) return undefined;
    while (words[node + BITS] < bits) {
      const child = words[this.#child(node, key)];
      if (child === 0) break;
      node = child;
    }
    while (words[node + ENTRY] === 0) node = words[node + CHILDREN];
    return { node };
  }

  #addNode(slot: number, bits: number, entry: number): boolean {
    const words = this.#words;
    const node = this.#entries.allocate();
    if (node === undefined) return false;
    words[node + BITS] = bits;
    words[node + ENTRY] = entry;
    words[node + CHILDREN] = 0;
    words[node + CHILDREN + 1] = 0;
    words[slot] = node;
    return true;
  }

  /** Where the child is on the way from a node to a key. */
  #child(node: number, key: string): number {
    const at = this.#words[node + BITS];
    return node + CHILDREN + ((key.charCodeAt(this.#skip + (at >>> 3)) >> (7 - (at & 7))) & 1);
  }

  #bitOf(entry: number, at: number): number {
    return (this.#bytes[this.#entries.keyAt(entry) + this.#skip + (at >>> 3)] >> (7 - (at & 7))) & 1;
  }

  /** How many of the first bits an entry's key has in common with another. */
  #common(entry: number, key: string, bits: number): number {
    const from = this.#entries.keyAt(entry) + this.#skip;
    const bytes = this.#bytes;
    for (let i = 0; 8 * i < bits; i++) {
      const differing = bytes[from + i] ^ key.charCodeAt(this.#skip + i);
      if (differing !== 0) return Math.min(bits, 8 * i + Math.clz32(differing) - 24);
    }
    return bits;
  }
}
