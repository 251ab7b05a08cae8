import assert from "node:assert/strict";
import type { ServerResponse } from "node:http";
import { test } from "node:test";
import { cachedSite } from "../support/cached_site.ts";
import { RawConnection } from "../support/tcp.ts";
import { waitFor } from "../support/wait.ts";

/** An update of an expired response that fails, hangs or dies leaves nothing "updating". */

const BACKGROUND = "proxy_cache_use_stale updating; proxy_cache_background_update on;";
const STALE = { "X-Accel-Expires": "@1" };
const FRESH = { "X-Accel-Expires": "100" };

function cutShort(response: ServerResponse): void {
  response.writeHead(200, { "Content-Length": 100, ...FRESH });
  response.write("short", () => response.destroy());
}

test("requests get the expired response while one of them has it updated", async (t) => {
  const held: ServerResponse[] = [];
  const { ask, asked } = await cachedSite(
    t,
    (_incoming, response, count) => {
      if (count === 1) response.writeHead(200, STALE).end("old");
      else held.push(response);
    },
    { location: "proxy_cache_use_stale updating;", workers: 2 },
  );
  assert.equal(await ask("/a"), "MISS old");
  const first = ask("/a");
  await waitFor(() => held.length === 1);
  for (let i = 0; i < 8; i++) assert.equal(await ask("/a"), "UPDATING old");
  held[0].writeHead(200, FRESH).end("new");
  assert.equal(await first, "EXPIRED new");
  for (let i = 0; i < 8; i++) assert.equal(await ask("/a"), "HIT new");
  assert.equal(asked.length, 2);
});

test("an expired response is not held back by its update in the background", async (t) => {
  const held: ServerResponse[] = [];
  const body = "old ".repeat(100_000);
  const { ask, asked, holdfast } = await cachedSite(
    t,
    (_incoming, response, count) => {
      if (count === 1) response.writeHead(200, STALE).end(body);
      else held.push(response);
    },
    { location: BACKGROUND, workers: 2 },
  );
  await ask("/a");
  const client = await RawConnection.open(holdfast.port);
  t.after(() => client.close());
  client.write("GET /a HTTP/1.1\r\nHost: a\r\n\r\n");
  const response = await client.readResponse();
  assert.equal(response.header("x-cache"), "STALE");
  assert.equal(response.body, body);
  await waitFor(() => held.length === 1);
  assert.equal(await ask("/a"), `UPDATING ${body}`);
  held[0].writeHead(200, FRESH).end("new");
  await waitFor(async () => (await ask("/a")) === "HIT new");
  assert.equal(asked.length, 2);
});

test("the update goes on when the client leaves that has had it begun", async (t) => {
  const held: ServerResponse[] = [];
  const { ask, asked, holdfast } = await cachedSite(
    t,
    (_incoming, response, count) => {
      if (count === 1) response.writeHead(200, STALE).end("old");
      else held.push(response);
    },
    { location: BACKGROUND },
  );
  await ask("/a");
  const client = await RawConnection.open(holdfast.port);
  client.write("GET /a HTTP/1.1\r\nHost: a\r\n\r\n");
  await client.readResponse();
  await waitFor(() => held.length === 1);
  client.close();
  // The one worker has seen that when it answers a client that comes later.
  assert.match(await ask("/a"), / old$/);
  held[0].writeHead(200, FRESH).end("new");
  await waitFor(async () => (await ask("/a")) === "HIT new");
  assert.equal(asked.length, 2);
});

test("a worker that is killed while it updates leaves the entry to others", async (t) => {
  const pids: number[] = [];
  const { ask } = await cachedSite(
    t,
    ({ headers }, response, count) => {
      if (count === 1) response.writeHead(200, STALE).end("old");
      else if (pids.push(Number(headers["x-pid"])) > 1) response.writeHead(200, FRESH).end("new");
    },
    { location: `${BACKGROUND} proxy_set_header X-Pid $pid;`, workers: 2 },
  );
  await ask("/a");
  void ask("/a").catch(() => {});
  const [owner] = await waitFor(() => pids.length > 0 && pids);
  process.kill(owner, "SIGKILL");
  await waitFor(async () => (await ask("/a").catch(() => "")) === "HIT new");
  assert.equal(pids.length, 2);
});

test("an update that is refused, cut short or answered with an error is tried again", async (t) => {
  const { ask, asked } = await cachedSite(
    t,
    (_incoming, response, count) => {
      if (count === 1) response.writeHead(200, STALE).end("old");
      else if (count === 2) response.destroy();
      else if (count === 3) cutShort(response);
      else if (count === 4) response.writeHead(500).end("error");
      else if (count === 5) response.writeHead(200, { "X-Accel-Redirect": "/b", ...FRESH }).end();
      else if (count === 6) response.writeHead(200, { "X-Accel-Buffering": "no", ...FRESH }).end("unbuffered");
      else response.writeHead(200, FRESH).end("new");
    },
    { location: BACKGROUND, server: "location = /b { return 403; }" },
  );
  assert.equal(await ask("/a"), "MISS old");
  await waitFor(
    async () => {
      const said = await ask("/a");
      if (said !== "HIT new") assert.match(said, /^(?:STALE|UPDATING) old$/);
      return said === "HIT new";
    },
    () => `the last update: ${asked.length}`,
  );
  assert.equal(asked.length, 7);
});

test("use_stale does not begin the life of a response anew", async (t) => {
  const { ask } = await cachedSite(
    t,
    (_incoming, response, count) => {
      if (count === 1) response.writeHead(200, { ...STALE, "Cache-Control": "stale-if-error=9999999999" }).end("old");
      else if (count < 5) response.writeHead(503, { "Cache-Control": "max-age=100" }).end("error");
      else if (count === 5) response.destroy();
      else response.writeHead(200, FRESH).end("new");
    },
    { location: "proxy_cache_use_stale http_503; proxy_cache_valid any 1m;" },
  );
  assert.equal(await ask("/a"), "MISS old");
  for (let i = 0; i < 4; i++) assert.equal(await ask("/a"), "STALE old");
  assert.equal(await ask("/a"), "EXPIRED new");
  assert.equal(await ask("/a"), "HIT new");
});
