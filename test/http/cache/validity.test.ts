import assert from "node:assert/strict";
import { test } from "node:test";
import { isFresh } from "../../../src/http/cache/validity.ts";

test("a response of the future is not fresh: the clock was set back, and nobody knows how old it is", () => {
  const stored = { date: 1_000_000, valid: 1_000_600 };
  assert.equal(isFresh(stored, 1_000_000), true);
  assert.equal(isFresh(stored, 1_000_600), true);
  assert.equal(isFresh(stored, 1_000_601), false);
  // Another process may be a moment ahead.
  assert.equal(isFresh(stored, 999_999), true);
  assert.equal(isFresh(stored, 996_400), false);
});
