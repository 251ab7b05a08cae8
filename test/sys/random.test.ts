import assert from "node:assert/strict";
import { test } from "node:test";
import { fillRandom, randomBytes } from "../../src/sys/random.ts";

test("the whole of a buffer is filled, also beyond what one call fills, and nothing beside it", () => {
  const around = Buffer.alloc(1002);
  fillRandom(around.subarray(1, 1001));
  assert.equal(around[0], 0);
  assert.equal(around[1001], 0);
  for (let at = 1; at < 1001; at += 50) assert.ok(around.subarray(at, at + 50).some((byte) => byte !== 0));
  assert.notDeepEqual(randomBytes(16), randomBytes(16));
});
