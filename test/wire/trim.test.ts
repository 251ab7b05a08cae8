import assert from "node:assert/strict";
import { test } from "node:test";
import { trim } from "../../src/wire/trim.ts";

test("blanks go from both ends, and stay inside", () => {
  assert.equal(trim("  a  b "), "a  b");
  assert.equal(trim("\ta\t"), "\ta\t");
  assert.equal(trim(" \ta \t", " \t"), "a");
  assert.equal(trim("   "), "");
  assert.equal(trim(""), "");
});
