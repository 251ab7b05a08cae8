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
  assert.deepEqual(replaced, [1, 1]);
  assert.equal(lists.add(0x0003000f, 0x00030010, 3, neverDuplicate), "0.3.0.0-0.3.0.15");
  assert.equal(lists.remove(0x0001fff0, 0x0003000e), false, "the last part is another");
  const table = lists.table();
  assert.deepEqual(
    [0x0001fff0, 0x00020000, 0x00030000].map((address) => findInRanges(table, address)),
    [0, 0, 1],
  );
});
