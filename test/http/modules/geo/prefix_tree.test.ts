import assert from "node:assert/strict";
import { test } from "node:test";
import { PrefixTree } from "../../../../src/http/modules/geo/prefix_tree.ts";
import { generator } from "../../../support/reference_nginx.ts";

/** The first `bits` bits of an address. */
function prefix(address: readonly number[], bits: number): Uint32Array {
  return Uint32Array.from(address, (word, i) => {
    const left = Math.min(32, Math.max(0, bits - 32 * i));
    return left === 32 ? word : word & ~(0xffffffff >>> left);
  });
}

for (const width of [1, 4] as const) {
  test(`the most specific of nested networks is found, in addresses of ${32 * width} bits`, () => {
    const random = generator(width);
    const tree = new PrefixTree(width);
    const networks = new Map<string, number>();
    const key = (address: Uint32Array, bits: number): string => `${address.join()}/${bits}`;
    const expected = (address: readonly number[]): number => {
      for (let bits = 32 * width; bits >= 0; bits--) {
        const value = networks.get(key(prefix(address, bits), bits));
        if (value !== undefined) return value;
      }
      return 0;
    };
    // Few values for each word, so that much is in common.
    const word = (): number => [0, 0x80000000, 0xffffffff, 0x0a000000, 0x0a000001, 0xfe000000][random(6)];
    const address = (): number[] => Array.from({ length: width }, word);
    for (let round = 1; round <= 4000; round++) {
      const bits = random(32 * width + 1);
      const network = prefix(address(), bits);
      const name = key(network, bits);
      if (random(3) === 0) {
        assert.equal(tree.remove(network, bits), networks.delete(name), name);
      } else {
        assert.equal(tree.set(network, bits, round), networks.get(name) ?? 0, name);
        networks.set(name, round);
      }
      const sought = address();
      assert.equal(tree.find(Uint32Array.from(sought)), expected(sought), sought.join());
    }
  });
}
