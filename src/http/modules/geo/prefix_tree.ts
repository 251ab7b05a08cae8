/** Where in a node its parts are; the words of its prefix are last. */
const BITS = 0;
const VALUE = 1;
/** The child for a 0 after the prefix; the next is the one for a 1. 0 for none: the root is nobody's child. */
const CHILDREN = 2;
const WORDS = 4;

/**
 * Values of networks, of which the most specific one that contains an address is found (ngx_radix_tree_t). A node stands
 * for a prefix; one without a value and with a single child is left out, so that there are at most two nodes a network.
 * All nodes are in one typed array, and a node is where in it it begins; the root, the empty prefix, at 0. An address is
 * an array of 32-bit words, the high one first.
 */
export class PrefixTree {
  /** Words in an address: 1 of IPv4, 4 of IPv6. */
  readonly #width: number;
  #nodes: Uint32Array<ArrayBuffer>;
  #end: number;

  constructor(width: 1 | 4) {
    this.#width = width;
    this.#end = WORDS + width;
    this.#nodes = new Uint32Array(8 * this.#end);
  }

  /** Gives a network (host bits 0) a value above 0; returns the one it had, 0 for none. */
  set(address: Uint32Array, bits: number, value: number): number {
    let at = 0;
    while (this.#nodes[at + BITS] < bits) {
      const slot = this.#slot(at, address);
      const child = this.#nodes[slot];
      if (child === 0) {
        at = this.#add(slot, address, bits);
        break;
      }
      const length = this.#nodes[child + BITS];
      const common = this.#common(child, address, Math.min(bits, length), this.#nodes[at + BITS]);
      if (common === length) {
        at = child;
        continue;
      }
      // A node for what both have in common takes the child's place.
      at = this.#add(slot, address, common);
      const nodes = this.#nodes;
      const bit = (nodes[child + WORDS + (common >>> 5)] >>> (31 - (common & 31))) & 1;
      nodes[at + CHILDREN + bit] = child;
    }
    const old = this.#nodes[at + VALUE];
    this.#nodes[at + VALUE] = value;
    return old;
  }

  /** Takes a network's value away; false if it had none. */
  remove(address: Uint32Array, bits: number): boolean {
    const nodes = this.#nodes;
    let at = 0;
    while (nodes[at + BITS] < bits) {
      at = nodes[this.#slot(at, address)];
      if (at === 0) return false;
    }
    if (nodes[at + BITS] !== bits || this.#common(at, address, bits, 0) < bits || nodes[at + VALUE] === 0) return false;
    nodes[at + VALUE] = 0;
    return true;
  }

  /** The value of the most specific network that the address is in; 0 for none. */
  find(address: Uint32Array): number {
    const nodes = this.#nodes;
    const whole = 32 * this.#width;
    let found = 0;
    let at = 0;
    let known = 0;
    do {
      const bits = nodes[at + BITS];
      if (this.#common(at, address, bits, known) < bits) break;
      known = bits;
      const value = nodes[at + VALUE];
      if (value !== 0) found = value;
      at = bits === whole ? 0 : nodes[this.#slot(at, address)];
    } while (at !== 0);
    return found;
  }

  /** How many of the first `limit` bits an address and a node's prefix have in common; of these `known` are known to be. */
  #common(node: number, address: Uint32Array, limit: number, known: number): number {
    const nodes = this.#nodes;
    const from = node + WORDS;
    for (let i = known >>> 5; 32 * i < limit; i++) {
      const differing = nodes[from + i] ^ address[i];
      if (differing !== 0) return Math.min(limit, 32 * i + Math.clz32(differing));
    }
    return limit;
  }

  /** Where the child is on the way from a node to an address. */
  #slot(node: number, address: Uint32Array): number {
    const at = this.#nodes[node + BITS];
    return node + CHILDREN + ((address[at >>> 5] >>> (31 - (at & 31))) & 1);
  }

  /** Puts a new node for the first bits of an address into a slot. */
  #add(slot: number, address: Uint32Array, bits: number): number {
    const node = this.#end;
    this.#end += WORDS + this.#width;
    if (this.#end > this.#nodes.length)
      this.#nodes = new Uint32Array(this.#nodes.buffer.transfer(8 * this.#nodes.length));
    const nodes = this.#nodes;
    nodes[slot] = node;
    nodes[node + BITS] = bits;
    for (let i = 0; i < this.#width; i++) {
      const left = Math.max(0, bits - 32 * i);
      nodes[node + WORDS + i] = left >= 32 ? address[i] : address[i] & ~(0xffffffff >>> left);
    }
    return node;
  }
}
