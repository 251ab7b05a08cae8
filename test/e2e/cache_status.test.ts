import assert from "node:assert/strict";
import { test } from "node:test";
import { cachedSite } from "../support/cached_site.ts";
import { workersOf } from "../support/processes.ts";
import type { RawResponse } from "../support/tcp.ts";
import { waitFor } from "../support/wait.ts";

/** What clients and operators see of a cache: $upstream_cache_age, Cache-Status, the status page. */

test("the age of a stored response counts from when it was stored, and from what it was then", async (t) => {
  const { send } = await cachedSite(
    t,
    (incoming, response) => {
      if (incoming.url === "/old") response.setHeader("Age", "100");
      response.end();
    },
    { server: "add_header X-Age $upstream_cache_age;" },
  );
  const age = async (path: string) => (await send("GET", path)).header("x-age");
  assert.equal(await age("/"), undefined);
  assert.equal(await age("/old"), undefined);
  const [first, old] = [Number(await age("/")), Number(await age("/old"))];
  assert.ok(first >= 0 && first < 60, String(first));
  assert.ok(old >= 100 && old < 160, String(old));
  await waitFor(async () => Number(await age("/")) > first, "a second to pass");
});

/** The values of Cache-Status, with times near `near` as N. */
function statusesOf({ headers }: RawResponse, near = 600): readonly string[] {
  const ttl = (text: string) => (Math.abs(Number(text) - near) < 60 ? "ttl=N" : `ttl=${text}`);
  return headers
    .filter(([name]) => name === "cache-status")
    .map(([, value]) => value.replace(/ttl=(-?\d+)/, (_, text) => ttl(text)));
}

test("Cache-Status says what the cache did, behind what the server's caches said", async (t) => {
  const { send } = await cachedSite(
    t,
    (incoming, response) => {
      if (incoming.url === "/said") response.setHeader("Cache-Status", "origin; hit");
      if (incoming.url === "/vary") response.setHeader("Vary", "X-Kind");
      if (incoming.url === "/no") response.setHeader("Cache-Control", "no-store");
      response.end();
    },
    {
      location: `proxy_cache_valid 200 10m; proxy_cache_key '$uri "'; proxy_cache_status_header "edge 1" key;
        proxy_cache_bypass $arg_fresh;`,
    },
  );
  const said = async (path: string, fields = "") => statusesOf(await send("GET", path, fields));
  assert.deepEqual(await said("/a"), ['"edge 1"; fwd=uri-miss; fwd-status=200; ttl=N; stored; key="/a \\""']);
  assert.deepEqual(await said("/a"), ['"edge 1"; hit; ttl=N; key="/a \\""']);
  assert.deepEqual(await said("/a?fresh=1"), ['"edge 1"; fwd=bypass; fwd-status=200; ttl=N; stored; key="/a \\""']);
  const [other, own] = await said("/said");
  assert.equal(other, "origin; hit");
  assert.match(own, /^"edge 1"; fwd=uri-miss; fwd-status=200; /);
  assert.deepEqual(await said("/said"), ["origin; hit", '"edge 1"; hit; ttl=N; key="/said \\""']);
  assert.deepEqual(await said("/no"), ['"edge 1"; fwd=uri-miss; fwd-status=200; key="/no \\""']);
  await said("/vary", "X-Kind: 1\r\n");
  const [variant] = await said("/vary", "X-Kind: 2\r\n");
  assert.match(variant, /^"edge 1"; fwd=vary-miss; fwd-status=200; ttl=N; stored; /);
  // No string of a structured field can have such a byte.
  const [unshown] = await said("/%c3%a9");
  assert.equal(unshown, '"edge 1"; fwd=uri-miss; fwd-status=200; ttl=N; stored');
});

test("Cache-Status tells stale responses from those that were confirmed, and those that waited from hits", async (t) => {
  let status = 200;
  const held: (() => void)[] = [];
  const { send, asked } = await cachedSite(
    t,
    (incoming, response) => {
      if (incoming.url === "/slow") {
        held.push(() => response.end());
        return;
      }
      response.statusCode = incoming.headers["if-none-match"] === undefined || status !== 200 ? status : 304;
      response.setHeader("Cache-Control", "max-age=1");
      response.setHeader("ETag", '"a"');
      response.end();
    },
    {
      location: `proxy_cache_valid 200 10m; proxy_cache_status_header on; proxy_cache_revalidate on; proxy_cache_lock on;
        proxy_cache_use_stale http_503;`,
    },
  );
  await send("GET", "/a");
  const next = (text: RegExp) => async () => text.exec(statusesOf(await send("GET", "/a"), 0)[0]);
  await waitFor(next(/^holdfast; fwd=stale; fwd-status=304; ttl=N$/), "a confirmation");
  status = 503;
  await waitFor(next(/^holdfast; fwd=stale; fwd-status=503; ttl=N$/), "a stale response");
  const both = [send("GET", "/slow"), send("GET", "/slow")];
  await waitFor(() => held.length === 1 && asked.length, "the request");
  held[0]();
  const texts = (await Promise.all(both)).map((response) => statusesOf(response)[0]).sort();
  // The second one may have come when the first was answered.
  assert.match(texts[0], /^holdfast; (fwd=uri-miss; |hit; )/);
  assert.match(texts[1], /^holdfast; (fwd=uri-miss; |hit; )/);
});

interface Counts {
  readonly responses: number;
  readonly bytes?: number;
}

interface StatusOfCache {
  readonly entries: number;
  readonly size: number;
  readonly hit_ratio: number | null;
  readonly responses: number;
  readonly pending_purges: number;
  readonly hit: Counts;
  readonly miss: Counts;
  readonly bypass: Counts;
  readonly expired: Counts;
  readonly stale: Counts;
  readonly bytes_served: number;
  readonly responses_written: number;
  readonly memory: Counts;
}

test("the status page counts over all workers, their deaths and reloads", async (t) => {
  const site = await cachedSite(t, (_incoming, response) => response.end("x".repeat(1000)), {
    location:
      "proxy_cache_valid 200 10m; proxy_cache_key $uri; proxy_cache_bypass $arg_fresh; proxy_cache_purge $arg_purge;",
    path: "purger=off",
    server: "location = /status { cache_status json; }",
    workers: 3,
  });
  const page = async (args = "") => (await site.send("GET", `/status${args}`)).body;
  const status = async (): Promise<StatusOfCache> => JSON.parse(await page()).caches.one;
  assert.equal((await status()).hit_ratio, null);
  for (let i = 0; i < 30; i++) await site.ask(`/${i % 3}`);
  await site.ask("/0?fresh=1");
  const before = await status();
  assert.deepEqual(before.hit, { responses: 27, bytes: 27_000 });
  assert.deepEqual([before.miss, before.bypass], [{ responses: 3 }, { responses: 1 }]);
  assert.equal(before.hit_ratio, 0.871);
  assert.deepEqual([before.entries, before.size, before.responses_written], [3, 12_288, 4]);
  assert.ok(before.memory.responses > 0 && (before.memory.bytes ?? 0) > 4000, JSON.stringify(before.memory));

  for (const worker of workersOf(site.holdfast.pid)) process.kill(worker, "SIGKILL");
  await waitFor(() => site.ask("/0").catch(() => undefined), "a worker");
  assert.ok(await site.holdfast.reload());
  await site.send("GET", "/none/*?purge=1");
  const after = await status();
  assert.equal(after.miss.responses, 3);
  assert.ok(after.hit.responses > 27);
  assert.equal(after.bytes_served, after.hit.responses * 1000);
  assert.equal(after.pending_purges, 1);

  const html = await page("?format=html");
  assert.match(html, /<h2>one<\/h2><code>.*\/cache<\/code>/);
  assert.match(html, /<dt>Entries<\/dt><dd>3<\/dd>/);
  assert.equal((await site.send("POST", "/status")).status, 405);
});
