import assert from "node:assert/strict";
import { test } from "node:test";
import { decodeHead, encodeHead } from "../../../src/http/cache/entry_file.ts";
import { MemoryTier } from "../../../src/http/cache/memory_tier.ts";
import { HeaderList } from "../../../src/wire/http1/header_list.ts";

/** What a worker holds in memory of a cache. */

const MIB = 1024 * 1024;
const NONE = new HeaderList();

function headOf(key: string) {
  const text = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n";
  const numbers = { contentLength: 1000, version: 1001, status: 200, bodyBytes: 1000, bodyChecksum: 0, toHead: false };
  const validity = { valid: 1, updating: 0, error: 0, date: 0 };
  const head = decodeHead(
    encodeHead({ key, vary: "", variant: "", purge: 0, family: 0, tags: "", text, ...numbers, ...validity }),
  );
  if (typeof head === "string") throw new Error(head);
  return head;
}

/** A tier of one MiB, whose index has one generation for all until it is another. */
function newTier() {
  const index = { generation: 1, generationAt: () => index.generation };
  const tier = new MemoryTier(MIB, index);
  const put = (key: string) => {
    const contents = { place: 1, generation: index.generation, digest: key };
    tier.put(key, { ...contents, fields: [] }, NONE, { ...contents, head: headOf(key), body: ".".repeat(1000) }, 0);
  };
  const has = (key: string) => tier.get(key, NONE) !== undefined;
  return { index, put, has };
}

test("a flood of keys asked for once leaves what is in use, and stays within its bounds", () => {
  const { put, has } = newTier();
  for (let i = 0; i < 100; i++) put(`/hot/${i}`);
  for (let i = 0; i < 100; i++) assert.ok(has(`/hot/${i}`));
  for (let i = 0; i < 20_000; i++) put(`/flood/${i}`);
  for (let i = 0; i < 100; i++) assert.ok(has(`/hot/${i}`));
  let left = 0;
  for (let i = 0; i < 20_000; i++) if (has(`/flood/${i}`)) left++;
  assert.ok(left > 20 && left < MIB / 1000, `${left}`);
  assert.ok(has("/flood/19999"));
});

test("what has not been used for longest gives way first", () => {
  const { put, has } = newTier();
  for (let i = 0; i < 1000; i++) {
    put(`/${i}`);
    has(`/${i}`);
    has("/0");
  }
  assert.ok(has("/0"));
  assert.ok(!has("/1"));
  assert.ok(has("/999"));
});

test("nothing is valid whose generation has gone, until it comes anew", () => {
  const { index, put, has } = newTier();
  put("/a");
  assert.ok(has("/a"));
  index.generation = 2;
  assert.ok(!has("/a"));
  put("/a");
  assert.ok(has("/a"));
  put("/a");
  assert.ok(has("/a"));
});
