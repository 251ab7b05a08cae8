import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { cachedSite } from "../support/cached_site.ts";
import { dropPages } from "../support/drop_pages.ts";
import { openBy, workersOf } from "../support/processes.ts";
import { RawConnection } from "../support/tcp.ts";
import { waitFor } from "../support/wait.ts";

/** Stored responses that have to be read from the disk. */

const BODY = "0123456789".repeat(30_000);
const FIELDS = { "Accept-Ranges": "bytes", "Content-Length": BODY.length };

test("a response is read from the disk, all of it and ranges", async (t) => {
  const { ask, send, asked, files } = await cachedSite(t, (_incoming, response) =>
    response.writeHead(200, FIELDS).end(BODY),
  );
  await ask("/a");
  const [file] = files();
  dropPages(file);
  assert.equal(await ask("/a"), `HIT ${BODY}`);
  dropPages(file);
  assert.equal(await ask("/a", "Range: bytes=299990-\r\n"), "HIT 0123456789");
  dropPages(file);
  const parts = await send("GET", "/a", "Range: bytes=0-1,100000-100003\r\n");
  assert.equal(parts.status, 206);
  assert.match(parts.body, /\r\n\r\n01\r\n--.*\r\n\r\n0123\r\n--/s);
  dropPages(file);
  assert.equal((await send("HEAD", "/a")).header("content-length"), String(BODY.length));
  assert.equal(asked.length, 1);
});

test("a client that leaves while its response is read or sent leaves nothing open", async (t) => {
  const { ask, asked, files, holdfast } = await cachedSite(t, (_incoming, response) => response.end(BODY.repeat(20)), {
    workers: 1,
  });
  await ask("/a");
  const [file] = files();
  const [worker] = workersOf(holdfast.pid);
  for (let i = 0; i < 10; i++) {
    dropPages(file);
    const client = await RawConnection.open(holdfast.port);
    client.write("GET /a HTTP/1.1\r\nHost: a\r\n\r\n");
    if (i % 2 === 1) await client.until((received) => received.length > 0);
    client.close();
  }
  await waitFor(() => !openBy(worker).some((path) => path.startsWith(join(holdfast.prefix, "cache"))), "closed files");
  assert.equal(await ask("/a"), `HIT ${BODY.repeat(20)}`);
  assert.equal(asked.length, 1);
});

test("a head that is longer than what is read at first is read again", async (t) => {
  const { ask, asked } = await cachedSite(
    t,
    (_incoming, response) => response.writeHead(200, { "X-Long": "x".repeat(12_000) }).end("long"),
    { location: "proxy_cache_valid 1m; proxy_buffer_size 128k; proxy_buffers 8 128k; proxy_busy_buffers_size 256k;" },
  );
  assert.equal(await ask("/a"), "MISS long");
  assert.equal(await ask("/a"), "HIT long");
  assert.equal(asked.length, 1);
});
