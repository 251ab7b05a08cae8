import assert from "node:assert/strict";
import { test } from "node:test";
import { appended, copied } from "../../../../src/http/server/h1/pending.ts";

test("bytes that come one by one are kept in order, and copied seldom", () => {
  const all = Buffer.from("GET /next HTTP/1.1\r\n".repeat(1000), "latin1");
  let pending = copied(all.subarray(0, 1), 1);
  const memories = new Set([pending.buffer]);
  for (let at = 1; at < all.length; at++) {
    pending = appended(pending, all.subarray(at, at + 1));
    memories.add(pending.buffer);
  }
  assert.ok(pending.equals(all));
  assert.ok(memories.size <= 16, `${memories.size} times`);
});

test("what was taken from the front stays away when more comes", () => {
  const pending = appended(copied(Buffer.from("abc"), 3), Buffer.from("def")).subarray(2);
  assert.equal(appended(pending, Buffer.from("ghi".repeat(5))).latin1Slice(), `cdef${"ghi".repeat(5)}`);
});
