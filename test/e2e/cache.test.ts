import assert from "node:assert/strict";
import { readFileSync, truncateSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { cachedSite } from "../support/cached_site.ts";
import { RawConnection, request } from "../support/tcp.ts";
import { waitFor } from "../support/wait.ts";

/** The cache of responses. */

test("what a server said once is not asked again while it is fresh", async (t) => {
  const { ask, asked } = await cachedSite(t, (_incoming, response, count) => response.end(`answer ${count}`));
  assert.equal(await ask("/a"), "MISS answer 1");
  for (let i = 0; i < 4; i++) assert.equal(await ask("/a"), "HIT answer 1");
  assert.equal(await ask("/b"), "MISS answer 2");
  assert.equal(await ask("/a"), "HIT answer 1");
  assert.deepEqual(asked, ["GET /a", "GET /b"]);
});

test("a response is a file named by its key's digest, and one that was cut short is never served", async (t) => {
  const { ask, asked, holdfast, files } = await cachedSite(
    t,
    (_incoming, response, count) => response.end(`answer ${count} `.repeat(10_000)),
    { location: "proxy_cache_valid 200 1m; proxy_cache_key $uri;" },
  );
  assert.equal(await ask("/a"), `MISS ${"answer 1 ".repeat(10_000)}`);
  assert.equal(await ask("/a"), `HIT ${"answer 1 ".repeat(10_000)}`);
  // md5 of "/a"
  const [file] = files();
  assert.equal(file, join(holdfast.prefix, "cache/5/bf/0639767f3e9eaad729b54037a7e2abf5"));
  assert.match(readFileSync(file, "latin1"), /^KEY: \/a$/m);
  truncateSync(file, 50_000);
  assert.equal(await ask("/a"), `MISS ${"answer 2 ".repeat(10_000)}`);
  await holdfast.waitForLog(/cache file ".*" is truncated/);
  assert.equal(asked.length, 2);
});

test("an expired response is sent where no server is left", async (t) => {
  const { ask, holdfast } = await cachedSite(
    t,
    (_incoming, response) => response.setHeader("X-Accel-Expires", "@1000000000").end("answer"),
    {
      http: "upstream none { server 127.0.0.1:1 down; }",
      location: "proxy_cache_key $uri; proxy_cache_use_stale error; if ($http_x_none) { proxy_pass http://none; }",
    },
  );
  assert.equal(await ask("/a"), "MISS answer");
  assert.equal(await ask("/a", "X-None: 1\r\n"), "STALE answer");
  await holdfast.waitForLog(/no live upstreams/);
});

test("$upstream_cache_age is how long a response has been in the cache", async (t) => {
  const { send } = await cachedSite(t, (_incoming, response) => response.end("answer"), {
    server: 'add_header X-Cache $upstream_cache_status; add_header X-Age "[$upstream_cache_age]";',
    location: "proxy_cache_valid 1h;",
  });
  assert.equal((await send("GET", "/a")).header("x-age"), "[]");
  const hit = await send("GET", "/a");
  assert.equal(hit.header("x-cache"), "HIT");
  assert.match(hit.header("x-age") ?? "", /^\[\d+\]$/);
});

test("a reload keeps what is in the cache, and refuses another directory or other levels for its zone", async (t) => {
  const { ask, holdfast } = await cachedSite(t, (_incoming, response, count) => response.end(`answer ${count}`));
  const config = holdfast.read("conf/nginx.conf");
  assert.equal(await ask("/a"), "MISS answer 1");
  assert.equal(await holdfast.reload(), true);
  assert.equal(await ask("/a"), "HIT answer 1");
  assert.equal(await holdfast.reload(config.replace("cache_path cache ", "cache_path other ")), false);
  await holdfast.waitForLog(
    /cache "one" uses the "\S+\/other" cache path while previously it used the "\S+\/cache" cache path/,
  );
  assert.equal(await holdfast.reload(config.replace("levels=1:2", "levels=2")), false);
  await holdfast.waitForLog(/cache "one" had previously different levels/);
  assert.equal(await ask("/a"), "HIT answer 1");
});

test("HEAD is answered before the body that is kept has come", async (t) => {
  let finish = (): void => {};
  const { ask, holdfast } = await cachedSite(
    t,
    (_incoming, response) => {
      response.setHeader("Content-Length", 6);
      response.write("ans");
      finish = () => response.end("wer");
    },
    { location: "proxy_cache_valid 200 10m;" },
  );
  const client = await RawConnection.open(holdfast.port);
  client.write("HEAD /a HTTP/1.1\r\nHost: a\r\n\r\n");
  assert.match(await client.until((text) => text.endsWith("\r\n\r\n")), /\r\nContent-Length: 6\r\n/);
  finish();
  await waitFor(async () => (await ask("/a")) === "HIT answer", "the response in the cache");
  client.close();
});

test("what HEAD was answered is no answer to GET, though they have one key", async (t) => {
  const location = "proxy_cache_valid 200 1m; proxy_cache_convert_head off; proxy_cache_key $uri;";
  const { ask, asked, holdfast } = await cachedSite(t, (_incoming, response) => response.end("all of it"), {
    location,
  });
  for (let i = 0; i < 3; i++) {
    const head = await request(holdfast.port, "HEAD /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    assert.equal(head.status, 200);
  }
  assert.equal(await ask("/a"), "MISS all of it");
  assert.equal(await ask("/a"), "HIT all of it");
  assert.deepEqual(asked, ["HEAD /a", "GET /a"]);
});

test("the connection of a HEAD whose answer is kept goes on", async (t) => {
  const { holdfast } = await cachedSite(t, (_incoming, response) => response.setHeader("Content-Length", 4).end(), {
    location: "proxy_cache_valid 200 1m; proxy_cache_convert_head off;",
  });
  const client = await RawConnection.open(holdfast.port);
  t.after(() => client.close());
  for (const path of ["/a", "/b"]) {
    client.write(`HEAD ${path} HTTP/1.1\r\nHost: a\r\n\r\n`);
    assert.match(await client.until((text) => text.endsWith("\r\n\r\n")), /^HTTP\/1.1 200 /);
    client.received = "";
  }
});
