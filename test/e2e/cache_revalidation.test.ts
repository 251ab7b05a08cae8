import assert from "node:assert/strict";
import { statSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { cannedBackend } from "../support/backend.ts";
import { cachedSite } from "../support/cached_site.ts";
import { filesBelow } from "../support/files_below.ts";
import { type Running, startHoldfast } from "../support/holdfast.ts";
import { get } from "../support/tcp.ts";

/** Expired responses, and what becomes of them. */

const STALE = { "X-Accel-Expires": "@1" };

function filesOf({ prefix }: Running): string[] {
  return filesBelow(join(prefix, "cache"));
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

test("a 304 with other tags serves the stored response once: a purge of those would not reach it", async (t) => {
  const { ask, asked, files } = await cachedSite(
    t,
    ({ headers }, response, count) => {
      response.setHeader("ETag", '"a"');
      response.setHeader("Cache-Tag", count < 3 ? "one" : "two");
      if (headers["if-none-match"] === undefined) response.writeHead(200, STALE).end(`answer ${count}`);
      else response.writeHead(304).end();
    },
    { location: "proxy_cache_revalidate on; proxy_ignore_headers Cache-Control;" },
  );
  for (const expected of ["MISS answer 1", "REVALIDATED answer 1", "REVALIDATED answer 1"]) {
    assert.equal(await ask("/a"), expected);
  }
  assert.deepEqual(files(), []);
  assert.equal(await ask("/a"), "MISS answer 4");
  assert.equal(asked.length, 4);
});

test("a 304 that answers the client's own condition confirms nothing", async (t) => {
  const { ask, send, asked } = await cachedSite(
    t,
    ({ headers }, response, count) => {
      response.setHeader("ETag", `"${count}"`);
      if (headers["if-none-match"] === '"client"') response.writeHead(304, { "Cache-Control": "max-age=60" }).end();
      else response.writeHead(200, STALE).end(`answer ${count}`);
    },
    { location: "proxy_cache_revalidate on; proxy_cache_max_range_offset 0;" },
  );
  assert.equal(await ask("/a"), "MISS answer 1");
  const own = await send("GET", "/a", 'Range: bytes=0-1\r\nIf-None-Match: "client"\r\n');
  assert.equal(`${own.status} ${own.header("x-cache")}`, "304 EXPIRED");
  assert.equal(await ask("/a"), "EXPIRED answer 3");
  assert.equal(asked.length, 3);
});

test("what a server said that was passed over says nothing of the next one's answer", async (t) => {
  const refusal = "Cache-Control: no-store\r\nX-Accel-Expires: 0\r\nSet-Cookie: a=b\r\nContent-Length: 0";
  const first = await cannedBackend(t, `HTTP/1.1 503 X\r\n${refusal}\r\n\r\n`);
  const second = await cannedBackend(t, "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nanswer");
  const { port } = await startHoldfast(t, {
    config: ([port]) =>
      `user root; http { proxy_cache_path cache keys_zone=one:1m; add_header X-Cache $upstream_cache_status;
        upstream two { server ${first.address}; server ${second.address} backup; }
        server { listen 127.0.0.1:${port}; location / { proxy_pass http://two; proxy_cache one; proxy_cache_valid 1m;
          proxy_next_upstream http_503; } } }`,
  });
  for (const status of ["MISS", "HIT", "HIT"]) assert.equal((await get(port, "/")).header("x-cache"), status);
  assert.equal(first.connections, 1);
});

test("Vary with * among others keeps an answer out", async (t) => {
  const { ask } = await cachedSite(t, (_incoming, response, count) =>
    response.writeHead(200, { Vary: "X-A, *", "Cache-Control": "max-age=60" }).end(`answer ${count}`),
  );
  assert.equal(await ask("/a"), "MISS answer 1");
  assert.equal(await ask("/a"), "MISS answer 2");
});
