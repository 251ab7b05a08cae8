/** Keys with numbers, as nodes tell each other of limits. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { KeyCountsWriter, readKeyCounts } from "../../src/wire/key_counts.ts";

function read(bytes: Buffer): (readonly [string, number])[] | undefined {
  const found: [string, number][] = [];
  return readKeyCounts(bytes, (key, count) => found.push([key, count])) ? found : undefined;
}

test("what was written is read again, in batches of about the size that is enough", () => {
  const key = fc.string({
    maxLength: 300,
    unit: fc.integer({ min: 0, max: 255 }).map((code) => String.fromCharCode(code)),
  });
  const pairs = fc.array(fc.tuple(key, fc.integer({ min: 0, max: 0xffffffff })), { maxLength: 50 });
  fc.assert(
    fc.property(pairs, (all) => {
      const writer = new KeyCountsWriter(1000);
      const batches: Buffer[] = [];
      for (const [one, count] of all) if (writer.add(one, count)) batches.push(writer.take());
      if (!writer.empty) batches.push(writer.take());
      assert.deepEqual(
        batches.flatMap((batch) => read(batch) ?? []),
        all,
      );
      assert.ok(batches.every(({ length }) => length < 1000 + 6 + 300));
    }),
  );
});

test("the longest key makes a batch by itself", () => {
  const writer = new KeyCountsWriter(1000);
  const key = "k".repeat(65_535);
  assert.equal(writer.add(key, 7), true);
  assert.deepEqual(read(writer.take()), [[key, 7]]);
  assert.equal(writer.empty, true);
});

test("other bytes are refused as a whole", () => {
  const writer = new KeyCountsWriter(1000);
  writer.add("one", 1);
  writer.add("two", 2);
  const bytes = writer.take();
  for (let length = 0; length < bytes.length; length++) {
    const cut = read(bytes.subarray(0, length));
    // Between two keys it is a shorter batch.
    assert.ok(cut === undefined || [1, 10].includes(length), String(length));
  }
  assert.equal(read(Buffer.from([2, ...bytes.subarray(1)])), undefined);
  fc.assert(fc.property(fc.uint8Array({ maxLength: 100 }), (any) => void read(Buffer.from(any))));
});
