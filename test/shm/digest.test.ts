import assert from "node:assert/strict";
import { test } from "node:test";
import { digest } from "../../src/shm/digest.ts";

test("100,000 similar names have different digests, also in each half", () => {
  const count = 100_000;
  const whole = new Set<string>();
  const first = new Set<string>();
  const second = new Set<string>();
  for (let i = 0; i < count; i++) {
    const text = digest(`10.0.${i >> 8}.${i & 255}:8080`).toString("hex");
    whole.add(text);
    first.add(text.slice(0, 16));
    second.add(text.slice(16));
  }
  assert.deepEqual([whole.size, first.size, second.size], [count, count, count]);
});

test("a digest has 16 bytes, of an empty and of a long text too", () => {
  assert.equal(digest("").length, 16);
  assert.equal(digest("x".repeat(10_000)).length, 16);
  assert.notDeepEqual(digest("x".repeat(10_000)), digest("x".repeat(10_001)));
});
