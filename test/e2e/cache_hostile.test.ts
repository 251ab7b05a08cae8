import assert from "node:assert/strict";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { test } from "node:test";
import { cachedSite } from "../support/cached_site.ts";
import { waitFor } from "../support/wait.ts";

/** What goes wrong around a cache costs no request its answer, and leaves nothing behind. */

const LOCATION = "proxy_cache_valid 200 10m; proxy_cache_key $uri;";

test("a directory in the place of a file is a miss", async (t) => {
  const { ask, files, holdfast } = await cachedSite(
    t,
    (_incoming, response, count) => response.end(`answer ${count}`),
    { location: LOCATION, path: "memory=0" },
  );
  await ask("/a");
  const [file] = files();
  rmSync(file);
  mkdirSync(file);
  for (let i = 2; i < 4; i++) assert.equal(await ask("/a"), `MISS answer ${i}`);
  assert.doesNotMatch(holdfast.errorLog(), /exception/);
  rmSync(file, { recursive: true });
  assert.equal(await ask("/a"), "MISS answer 4");
  assert.equal(await ask("/a"), "HIT answer 4");
});

test("a key that is too long for a file's head passes the cache by", async (t) => {
  const { ask, files, holdfast } = await cachedSite(
    t,
    (_incoming, response, count) => response.end(`answer ${count}`),
    {
      http: "large_client_header_buffers 4 100k;",
      location: "proxy_cache_valid 200 10m; proxy_cache_key $http_x_key; proxy_set_header X-Key '';",
    },
  );
  const long = `X-Key: ${"k".repeat(70_000)}\r\n`;
  for (let i = 1; i < 3; i++) assert.equal(await ask("/", long), `MISS answer ${i}`);
  assert.deepEqual(files(), []);
  assert.doesNotMatch(holdfast.errorLog(), /\[crit\]/);
  assert.equal(await ask("/", `X-Key: ${"k".repeat(60_000)}\r\n`), "MISS answer 3");
  assert.equal(await ask("/", `X-Key: ${"k".repeat(60_000)}\r\n`), "HIT answer 3");
});

test("a response whose chunks are invalid is neither kept nor answered with a kept status", async (t) => {
  const { ask, asked, files } = await cachedSite(
    t,
    (_incoming, { socket }) =>
      socket?.end("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\nno chunk\r\n"),
    { location: "proxy_cache_valid any 1m;" },
  );
  for (let i = 0; i < 2; i++) await assert.rejects(ask("/a"));
  assert.equal(asked.length, 2);
  assert.deepEqual(files(), []);
});

test("a status that takes a stored response's place leaves no file of it", async (t) => {
  const { ask, files } = await cachedSite(
    t,
    (_incoming, response, count) => {
      if (count === 1) response.setHeader("X-Accel-Expires", "@1000000000").end("answer");
      else response.destroy();
    },
    { location: "proxy_cache_key $uri; proxy_cache_valid 502 10m;" },
  );
  assert.equal(await ask("/a"), "MISS answer");
  assert.equal(files().length, 1);
  assert.match(await ask("/a"), /^EXPIRED .*502 Bad Gateway/s);
  assert.deepEqual(files(), []);
  assert.match(await ask("/a"), /^HIT .*502 Bad Gateway/s);
});

test("a purge removes files that it cannot read", async (t) => {
  const { ask, files, send } = await cachedSite(t, (_incoming, response) => response.end("answer"), {
    location: `${LOCATION} proxy_cache_purge PURGE;`,
  });
  await ask("/a");
  const [file] = files();
  const bytes = readFileSync(file);
  writeFileSync(file, bytes.fill(0, 60, 70));
  assert.equal((await send("PURGE", "/*")).status, 200);
  await waitFor(() => !files().includes(file), "the file to be removed");
});

test("a large file that was altered is not served, although a worker holds it open", async (t) => {
  const { ask, files } = await cachedSite(
    t,
    (_incoming, response, count) => response.end(`${count} `.repeat(150_000)),
    { location: LOCATION, workers: 1 },
  );
  await ask("/a");
  for (let i = 0; i < 4; i++) assert.equal(await ask("/a"), `HIT ${"1 ".repeat(150_000)}`);
  const [file] = files();
  const bytes = readFileSync(file);
  bytes[bytes.length - 7] ^= 1;
  writeFileSync(file, bytes);
  assert.equal(await ask("/a"), `MISS ${"2 ".repeat(150_000)}`);
});
