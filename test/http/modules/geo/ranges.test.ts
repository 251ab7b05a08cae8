import assert from "node:assert/strict";
import { test } from "node:test";
import { findInRanges, RangeLists } from "../../../../src/http/modules/geo/ranges.ts";

const HIGHEST = 0xfffffffe;

function neverDuplicate(old: number): void {
  assert.fail(`duplicate of ${old}`);
}

test("a range is cut out of the one that contains it", () => {
  const lists = new RangeLists();
  assert.equal(lists.add(0, HIGHEST, 1, neverDuplicate), undefined);
  assert.equal(lists.add(0x0a000010, 0x0a00001f, 2, neverDuplicate), undefined);
  assert.equal(lists.add(0x0a000010, 0x0a000010, 3, neverDuplicate), undefined);
  assert.equal(lists.add(0x0a00001f, 0x0a00001f, 4, neverDuplicate), undefined);
  const table = lists.table();
  const found = [0, 0x0a00000f, 0x0a000010, 0x0a000011, 0x0a00001e, 0x0a00001f, 0x0a000020, HIGHEST, 0xffffffff];
  assert.deepEqual(
    found.map((address) => findInRanges(table, address)),
    [1, 1, 3, 2, 2, 4, 1, 1, 0],
  );
  assert.equal(table.starts.length, 5, "the parts in each /16 network are put together again");
});

test("ranges are added in any order, and what is between them has no value", () => {
  const lists = new RangeLists();
  for (const first of [40, 0, 60, 20]) lists.add(first, first + 9, first + 1, neverDuplicate);
  const table = lists.table();
  for (let address = 0; address < 80; address++) {
    const start = address - (address % 20);
    assert.equal(findInRanges(table, address), address - start < 10 ? start + 1 : 0, String(address));
  }
});

test("each /16 network that a range reaches into has a part that may be a duplicate, overlap or be deleted", () => {
  const lists = new RangeLists();
  lists.add(0x0001fff0, 0x0003000f, 1, neverDuplicate);
  const replaced: number[] = [];
  assert.equal(
    lists.add(0x0001fff0, 0x0002ffff, 2, (old) => replaced.push(old)),
    undefined,
  );
  assert.deepEqual(replaced, [1], "neighbours with the same value are told of once");
  assert.equal(lists.add(0x0003000f, 0x00030010, 3, neverDuplicate), "0.3.0.0-0.3.0.15");
  assert.equal(lists.remove(0x0001fff0, 0x0003000e), false, "the last part is another");
  const table = lists.table();
  assert.deepEqual(
    [0x0001fff0, 0x00020000, 0x00030000].map((address) => findInRanges(table, address)),
    [0, 0, 1],
  );
});

test("a wide range costs no more than a narrow one", () => {
  const lists = new RangeLists();
  // With a list for each /16 network there would be 33 million additions.
  for (let value = 1; value <= 500; value++) {
    const replaced: number[] = [];
    lists.add(0, 0xffffffff, value, (old) => replaced.push(old));
    assert.deepEqual(replaced, value % 2 === 0 ? [value - 1] : []);
    if (value % 2 === 0) assert.equal(lists.remove(0, 0xffffffff), true);
  }
  assert.equal(lists.table().starts.length, 0);
});

test("what is done to a network inside a wide range leaves the others as they are", () => {
  const lists = new RangeLists();
  lists.add(0x00010000, 0x0004ffff, 1, neverDuplicate);
  lists.add(0x00028000, 0x00028000, 2, neverDuplicate);
  assert.equal(
    lists.add(0x00010000, 0x0004ffff, 3, () => {}),
    "0.2.128.1-0.2.255.255",
  );
  assert.equal(lists.remove(0x00030000, 0x0003ffff), true);
  assert.equal(lists.remove(0x00010000, 0x0002ffff), false, "the second is in pieces");
  lists.add(0x00040000, 0x0004000f, 4, neverDuplicate);
  const table = lists.table();
  assert.deepEqual(
    [0x00010000, 0x0001ffff, 0x00020000, 0x00028000, 0x0002ffff, 0x00030000, 0x0003ffff, 0x00040000, 0x0004ffff].map(
      (address) => findInRanges(table, address),
    ),
    [0, 0, 1, 2, 1, 0, 0, 4, 1],
  );
});

/** The low bits at which a network and a range may begin or end. */
const LOW = [0, 1, 0x8000, 0xfffe, 0xffff];

test("ranges that are added and deleted at random leave each address with its value", () => {
  let seed = 1;
  const random = (below: number): number => {
    seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
    return Math.floor((seed / 2 ** 32) * below);
  };
  const addresses = [0, 1, 2, 3, 4].flatMap((high) => LOW.map((low) => high * 0x10000 + low));
  for (let round = 0; round < 500; round++) {
    const lists = new RangeLists();
    const values = new Map<number, number>();
    for (let value = 1; value < 12; value++) {
      const one = addresses[random(addresses.length)];
      const other = addresses[random(addresses.length)];
      const first = Math.min(one, other);
      const last = Math.max(one, other);
      const old = lists.table();
      if (lists.add(first, last, value, () => {}) !== undefined) break;
      for (const address of addresses) {
        if (address >= first && address <= last) values.set(address, value);
        else assert.equal(findInRanges(old, address), values.get(address) ?? 0);
      }
      if (random(3) > 0) continue;
      assert.equal(lists.remove(first, last), true);
      for (const address of addresses) if (address >= first && address <= last) values.delete(address);
    }
  }
});
