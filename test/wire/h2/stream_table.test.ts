/** The streams of a connection by their numbers. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { StreamTable } from "../../../src/wire/h2/stream_table.ts";

test("a table of streams has what a Map has, however long some of them live", () => {
  // true: a stream begins; a number: the one at that place among those that live ends.
  const step = fc.oneof(
    { arbitrary: fc.constant(true as const), weight: 5 },
    { arbitrary: fc.nat({ max: 200 }), weight: 4 },
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 1000, size: "max" }), (steps) => {
      const table = new StreamTable<{ readonly id: number }>();
      const model = new Map<number, { readonly id: number }>();
      let last = -1;
      for (const what of steps) {
        if (what === true) {
          last += 2;
          const stream = { id: last };
          table.add(stream);
          model.set(last, stream);
        } else {
          const stream = [...model.values()][what % Math.max(1, model.size)];
          if (stream === undefined) continue;
          model.delete(stream.id);
          assert.equal(table.remove(stream), true);
          assert.equal(table.remove(stream), false);
        }
        assert.equal(table.size, model.size);
      }
      for (let id = 1; id <= last; id += 2) assert.equal(table.get(id), model.get(id));
      assert.deepEqual(new Set(table.all()), new Set(model.values()));
      assert.equal(table.any === undefined, model.size === 0);
    }),
    { numRuns: 200 },
  );
});

test("another stream of the same number is not removed in its place", () => {
  const table = new StreamTable<{ readonly id: number }>();
  const stream = { id: 7 };
  table.add(stream);
  assert.equal(table.remove({ id: 7 }), false);
  assert.equal(table.get(7), stream);
  assert.equal(table.get(9), undefined);
});
