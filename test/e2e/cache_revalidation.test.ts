import assert from "node:assert/strict";
import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { cachedSite } from "../support/cached_site.ts";
import type { Running } from "../support/holdfast.ts";

/** Expired responses, and what becomes of them. */

const STALE = { "X-Accel-Expires": "@1" };

function filesOf({ prefix }: Running): string[] {
  const entries = readdirSync(join(prefix, "cache"), { recursive: true, withFileTypes: true });
  return entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
}

test("a 304 extends the stored response, for all workers, in its file and in memory", async (t) => {
  const { ask, asked, holdfast } = await cachedSite(
    t,
    ({ headers }, response, count) => {
      response.setHeader("ETag", '"a"');
      if (headers["if-none-match"] === undefined) response.writeHead(200, STALE).end(`answer ${count}`);
      else response.writeHead(304, { "Cache-Control": "max-age=60" }).end();
    },
    { location: "proxy_cache_revalidate on;", workers: 3 },
  );
  assert.equal(await ask("/a"), "MISS answer 1");
  const [file] = filesOf(holdfast);
  const { ino, size } = statSync(file);
  assert.equal(await ask("/a"), "REVALIDATED answer 1");
  for (let i = 0; i < 12; i++) assert.equal(await ask("/a"), "HIT answer 1");
  assert.equal(asked.length, 2);
  const after = statSync(file);
  assert.deepEqual([after.ino, after.size], [ino, size]);
  assert.doesNotMatch(holdfast.read("logs/error.log"), /\[(?:crit|alert|error)\]/);
});

test("a file is read while its head is written anew, and nobody takes that for a fault", async (t) => {
  const body = "0123456789".repeat(3000);
  const { ask, holdfast } = await cachedSite(
    t,
    ({ headers }, response) => {
      response.setHeader("ETag", '"a"');
      if (headers["if-none-match"] === undefined) response.writeHead(200, STALE).end(body);
      else response.writeHead(304, STALE).end();
    },
    { location: "proxy_cache_revalidate on;", workers: 3 },
  );
  await ask("/a");
  const [file] = filesOf(holdfast);
  const { ino } = statSync(file);
  await Promise.all(
    Array.from({ length: 8 }, async () => {
      for (let i = 0; i < 20; i++) assert.equal(await ask("/a"), `REVALIDATED ${body}`);
    }),
  );
  assert.equal(statSync(file).ino, ino);
  assert.doesNotMatch(holdfast.read("logs/error.log"), /cache file/);
});
