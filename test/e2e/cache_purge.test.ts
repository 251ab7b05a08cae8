import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import type { IncomingMessage, ServerResponse } from "node:http";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { type CachedSite, type CachedSiteOptions, cachedSite } from "../support/cached_site.ts";
import { answer, fastcgiBackend } from "../support/fastcgi.ts";
import { filesBelow } from "../support/files_below.ts";
import { packetBackend } from "../support/gateways.ts";
import { type Running, startHoldfast } from "../support/holdfast.ts";
import { workersOf } from "../support/processes.ts";
import { request } from "../support/tcp.ts";
import { waitFor } from "../support/wait.ts";

/** Purging: by key, by the beginning of keys, by tag. */

const MAP = "map $request_method $purge { PURGE 1; default 0; }";
const VALID = "proxy_cache_valid 200 10m; proxy_cache_key $uri; proxy_cache_purge $purge;";

type Answer = (incoming: IncomingMessage, response: ServerResponse, count: number) => void;

function purgeable(t: TestContext, answer: Answer, options: CachedSiteOptions = {}): Promise<CachedSite> {
  return cachedSite(t, answer, { http: MAP, location: VALID, ...options });
}

const counted: Answer = (_incoming, response, count) => response.end(`answer ${count}`);

/** Asks so often that every worker has it in memory. */
async function warm({ ask }: CachedSite, path: string): Promise<void> {
  for (let i = 0; i < 8; i++) await ask(path);
}

function filesOf({ prefix }: Running): string[] {
  return filesBelow(join(prefix, "cache")).filter((path) => /\/[0-9a-f]{32}$/.test(path));
}

/** Until nothing is pending: the records are gone from the file. */
async function purged({ prefix }: Running): Promise<void> {
  const path = join(prefix, "cache/.purges.json");
  await waitFor(() => JSON.parse(readFileSync(path, "utf8")).records.length === 0, "the end of the purge");
}

test("a purge takes a key out of the memory of every worker, and is 404 for one that is not there", async (t) => {
  const site = await purgeable(t, counted);
  await warm(site, "/a");
  await warm(site, "/b");
  assert.equal((await site.send("PURGE", "/a")).status, 204);
  assert.equal((await site.send("PURGE", "/a")).status, 404);
  assert.equal((await site.send("PURGE", "/c")).status, 404);
  assert.equal(await site.ask("/a"), "MISS answer 3");
  for (let i = 0; i < 8; i++) assert.equal(await site.ask("/a"), "HIT answer 3");
  assert.equal(await site.ask("/b"), "HIT answer 2");
  assert.deepEqual(site.asked, ["GET /a", "GET /b", "GET /a"]);
});

test("all keys with a beginning are purged at once, and their files are removed", async (t) => {
  const site = await purgeable(t, counted);
  for (const path of ["/img/1", "/img/2", "/image", "/other"]) await warm(site, path);
  assert.equal((await site.send("PURGE", "/img/*")).status, 204);
  for (const [path, answer] of [
    ["/img/1", "MISS answer 5"],
    ["/image", "HIT answer 3"],
    ["/img/1", "HIT answer 5"],
  ]) {
    assert.equal(await site.ask(path), answer);
  }
  await purged(site.holdfast);
  // Nobody has asked for /img/2 again.
  assert.equal(filesOf(site.holdfast).length, 3);
  assert.equal(await site.ask("/img/2"), "MISS answer 6");
  assert.equal((await site.send("PURGE", "/*")).status, 204);
  for (const path of ["/img/1", "/img/2", "/image", "/other"]) assert.match(await site.ask(path), /^MISS/);
});

test("a kept status is purged for good, and the one that is kept after the purge stays", async (t) => {
  const site = await purgeable(t, (_incoming, response) => response.writeHead(503).end("down"), {
    location: `${VALID} proxy_cache_valid 503 10m; proxy_intercept_errors on;`,
    server: "error_page 503 /503; location = /503 { return 503 sorry; }",
  });
  const ask = async (path: string) => {
    assert.equal((await site.send("GET", path)).status, 503);
    return site.asked.length;
  };
  assert.deepEqual([await ask("/img/1"), await ask("/img/1"), await ask("/img/2"), await ask("/a")], [1, 1, 2, 3]);
  assert.equal((await site.send("PURGE", "/img/*")).status, 204);
  assert.deepEqual([await ask("/img/1"), await ask("/img/1")], [4, 4]);
  await purged(site.holdfast);
  assert.deepEqual([await ask("/img/2"), await ask("/img/2"), await ask("/img/1")], [5, 5, 4 + 1]);
});

test("a key is purged with all its variants", async (t) => {
  const site = await purgeable(t, (incoming, response, count) => {
    response.setHeader("Vary", "X-Kind");
    response.end(`${incoming.headers["x-kind"]} ${count}`);
  });
  const kinds = ["one", "two", "three"];
  for (const kind of kinds) for (let i = 0; i < 4; i++) await site.ask("/a", `X-Kind: ${kind}\r\n`);
  assert.equal(site.asked.length, 3);
  for (const kind of kinds) assert.match(await site.ask("/a", `X-Kind: ${kind}\r\n`), /^HIT/);
  assert.equal((await site.send("PURGE", "/a", "X-Kind: two\r\n")).status, 204);
  for (const kind of kinds) assert.match(await site.ask("/a", `X-Kind: ${kind}\r\n`), new RegExp(`^MISS ${kind}`));
  for (const kind of kinds) assert.match(await site.ask("/a", `X-Kind: ${kind}\r\n`), new RegExp(`^HIT ${kind}`));
});

test("answers are purged by the tags that they came with", async (t) => {
  const site = await purgeable(
    t,
    (incoming, response, count) => {
      const [, page, ...tags] = (incoming.url ?? "").split("/");
      if (tags.length > 0)
        response.setHeader(page === "c" ? "Surrogate-Key" : "Cache-Tag", tags.join(page === "c" ? " " : ", "));
      response.end(`${page} ${count}`);
    },
    { location: `${VALID} proxy_hide_header Cache-Tag;` },
  );
  const paths = ["/a/red/round", "/b/blue", "/c/red/blue", "/d"];
  for (const path of paths) await warm(site, path);
  const shown = await site.send("GET", "/a/red/round");
  assert.equal(shown.header("cache-tag"), undefined);
  assert.equal((await site.send("PURGE", "/", "Cache-Tag: round, square\r\n")).status, 204);
  const statuses = async () =>
    (await Promise.all(paths.map((path) => site.ask(path)))).map((text) => text.split(" ")[0]);
  assert.deepEqual(await statuses(), ["MISS", "HIT", "HIT", "HIT"]);
  assert.equal((await site.send("PURGE", "/", "Surrogate-Key: blue nothing\r\n")).status, 204);
  assert.deepEqual(await statuses(), ["HIT", "MISS", "MISS", "HIT"]);
  // A part of a tag is another tag, and a purge of none is a mistake.
  assert.equal((await site.send("PURGE", "/", "Cache-Tag: re\r\n")).status, 204);
  assert.equal((await site.send("PURGE", "/", "Cache-Tag: ,\r\n")).status, 400);
  for (const path of paths) assert.match(await site.ask(path), /^HIT/);
});

for (const [what, purge] of [
  ["a key", (site: CachedSite) => site.send("PURGE", "/a")],
  ["a beginning", (site: CachedSite) => site.send("PURGE", "/*")],
  ["a tag", (site: CachedSite) => site.send("PURGE", "/", "Cache-Tag: slow\r\n")],
] as const) {
  test(`an answer that is under way when ${what} is purged is not kept`, async (t) => {
    let finish = (): void => {};
    const site = await purgeable(t, (_incoming, response, count) => {
      response.setHeader("Cache-Tag", "slow");
      response.write(`answer ${count}`);
      if (count === 1) finish = () => response.end(".");
      else response.end(".");
    });
    const first = site.ask("/a");
    await waitFor(() => site.asked.length === 1, "the request");
    await purge(site);
    if (what !== "a key") await purged(site.holdfast);
    finish();
    assert.equal(await first, "MISS answer 1.");
    assert.equal(await site.ask("/a"), "MISS answer 2.");
    assert.equal(await site.ask("/a"), "HIT answer 2.");
  });
}

test("what was purged does not come back with a restart", async (t) => {
  const site = await purgeable(t, counted, { path: "purger=off" });
  for (const path of ["/a", "/b/1", "/c"]) await site.ask(path);
  await site.send("PURGE", "/b/*");
  assert.equal(filesOf(site.holdfast).length, 3);
  site.holdfast.signal("SIGKILL");
  await site.holdfast.exited;
  const again = await site.start();
  assert.equal(await site.ask("/a"), "HIT answer 1");
  assert.equal(await site.ask("/b/1"), "MISS answer 4");
  assert.equal(await site.ask("/b/1"), "HIT answer 4");
  await again.stop();
  // A list that cannot be understood counts as a purge of everything.
  writeFileSync(join(again.prefix, "cache/.purges.json"), '{"last": 1, "records": [{}]}');
  const last = await site.start();
  assert.match(await site.ask("/a"), /^MISS/);
  assert.match(await site.ask("/b/1"), /^MISS/);
  assert.match(await site.ask("/b/1"), /^HIT/);
  await last.waitForLog(/cache "one": ".*\.purges.json" has no list of purges, the whole cache is purged/);
});

test("more purges than can be pending are refused, and those that include others take their places", async (t) => {
  const site = await purgeable(t, counted, { path: "purger=off" });
  await site.ask("/a/1");
  let refused = 0;
  for (let i = 0; i < 300 && refused === 0; i++) {
    const { status } = await site.send("PURGE", `/x/${i}/*`);
    if (status !== 204) refused = status;
  }
  assert.equal(refused, 503);
  await site.holdfast.waitForLog(/cache "one" has too many purges pending/);
  assert.equal(await site.ask("/a/1"), "HIT answer 1");
  assert.equal((await site.send("PURGE", "/x/*")).status, 204);
  assert.equal((await site.send("PURGE", "/a/*")).status, 204);
  assert.equal(await site.ask("/a/1"), "MISS answer 2");
  assert.equal((await site.send("PURGE", `/${"x".repeat(3000)}*`)).status, 414);
});

test("a purge that was answered is in force although workers are killed meanwhile", async (t) => {
  const site = await purgeable(t, counted);
  const paths = Array.from({ length: 16 }, (_, i) => `/${i}/x`);
  for (const path of paths) await site.ask(path);
  const before = site.asked.length;
  const statuses = paths.map(async (path, i) => {
    if (i === 4) for (const worker of workersOf(site.holdfast.pid)) process.kill(worker, "SIGKILL");
    try {
      return (await site.send("PURGE", path.replace("x", "*"))).status;
    } catch {
      return 0;
    }
  });
  const answered = await Promise.all(statuses);
  await waitFor(() => site.ask("/other").catch(() => undefined), "a worker");
  for (const [i, path] of paths.entries()) {
    const number = Number((await site.ask(path)).split(" ")[2]);
    if (answered[i] === 204) assert.ok(number > before, path);
  }
  await purged(site.holdfast);
});

test("the syntax of ngx_cache_purge: a method and addresses, and a location of its own", async (t) => {
  const site = await cachedSite(t, counted, {
    location: "proxy_cache_valid 200 10m; proxy_cache_key $uri; proxy_cache_purge DELETE from 10.0.0.0/8 127.0.0.1;",
    server: `location ~ ^/purge(/.*) { proxy_cache_purge one $1; }
      location /closed { proxy_pass http://127.0.0.1:1; proxy_cache one; proxy_cache_purge on from 10.0.0.1; }
      location /all { proxy_pass http://127.0.0.1:1; proxy_cache one; proxy_cache_purge on purge_all from all; }`,
  });
  for (const path of ["/a", "/b", "/c"]) await site.ask(path);
  const done = await site.send("DELETE", "/a");
  assert.equal(done.status, 200);
  assert.match(done.body, /Successful purge.*Key : \/a</);
  assert.equal((await site.send("DELETE", "/a")).status, 404);
  assert.equal((await site.send("GET", "/purge/b")).status, 200);
  assert.equal((await site.send("GET", "/purge/b")).status, 404);
  assert.equal((await site.send("PURGE", "/closed")).status, 403);
  assert.equal(await site.ask("/a"), "MISS answer 4");
  assert.equal(await site.ask("/b"), "MISS answer 5");
  assert.equal(await site.ask("/c"), "HIT answer 3");
  assert.equal((await site.send("PURGE", "/all")).status, 200);
  assert.match(await site.ask("/c"), /^MISS/);
});

for (const protocol of ["fastcgi", "uwsgi", "scgi"] as const) {
  test(`${protocol}: answers are purged by key, beginning and tag`, async (t) => {
    let asked = 0;
    const head = "Cache-Tag: red";
    const backend =
      protocol === "fastcgi"
        ? await fastcgiBackend(t, (_request, connection) => {
            connection.write(answer(head, `answer ${++asked}`));
            connection.end();
          })
        : await packetBackend(t, protocol, (_request, { socket }) => {
            socket.end(`${head}\r\n\r\nanswer ${++asked}`);
          });
    const config = `user root; http { ${MAP} GW_cache_path cache keys_zone=one:1m;
      server { listen 127.0.0.1:PORT;
        location / { GW_pass ${backend.address}; GW_cache one; GW_cache_key $uri; GW_cache_valid 1h; GW_cache_purge $purge; }
        location ~ ^/purge(/.*) { GW_cache_purge one $1; } } }`;
    const holdfast = await startHoldfast(t, {
      config: ([port]) => config.replaceAll("GW", protocol).replace("PORT", String(port)),
    });
    const send = async (method: string, path: string, fields = "") => {
      const { status, body } = await request(holdfast.port, `${method} ${path} HTTP/1.0\r\n${fields}\r\n`);
      return status === 200 && method === "GET" ? body : status;
    };
    assert.equal(await send("GET", "/a"), "answer 1");
    assert.equal(await send("GET", "/a"), "answer 1");
    assert.equal(await send("PURGE", "/a"), 204);
    assert.equal(await send("PURGE", "/a"), 404);
    assert.equal(await send("GET", "/a"), "answer 2");
    assert.equal(await send("PURGE", "/*"), 204);
    assert.equal(await send("GET", "/a"), "answer 3");
    assert.equal(await send("PURGE", "/", "Cache-Tag: red\r\n"), 204);
    assert.equal(await send("GET", "/a"), "answer 4");
    assert.match(String(await send("GET", "/purge/a")), /Successful purge/);
    assert.equal(await send("GET", "/purge/a"), 404);
    assert.equal(await send("GET", "/a"), "answer 5");
  });
}
