/** Purges of a cache that are made on all nodes of a group, through a real Redis. */
import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { httpBackend } from "../support/backend.ts";
import { type ClusterNode, startCluster } from "../support/cluster.ts";
import { runTool } from "../support/holdfast.ts";
import { noRedis, type Redis, startRedis } from "../support/redis.ts";
import { get, request } from "../support/tcp.ts";
import { waitFor } from "../support/wait.ts";

interface Site {
  readonly nodes: readonly [ClusterNode, ClusterNode];
  readonly redis: Redis;
}

async function startSite(t: TestContext): Promise<Site> {
  const redis = await startRedis(t);
  const backend = await httpBackend(t, (incoming, response) => {
    if (incoming.url?.startsWith("/tagged") === true) response.setHeader("Cache-Tag", "red, round");
    response.end("an answer");
  });
  const [first, second] = await startCluster(t, {
    nodes: 2,
    cluster: `check interval=100 fall=2 rise=2 timeout=5000; store redis://${redis.address};`,
    http: `map $request_method $purge { PURGE 1; default 0; }
      proxy_cache_path cache keys_zone=pages:1m sync; proxy_cache_path own keys_zone=own:1m;`,
    server: `proxy_cache pages; proxy_cache_valid 200 10m; proxy_cache_key $uri; proxy_cache_purge $purge;
      add_header X-Cache $upstream_cache_status; proxy_pass_header Cache-Tag;
      location / { proxy_pass http://${backend.address}; }
      location /own/ { proxy_cache own; proxy_pass http://${backend.address}; }`,
  });
  const site: Site = { nodes: [first, second], redis };
  await connected(site);
  return site;
}

async function connected({ nodes }: Site): Promise<void> {
  for (const node of nodes) await node.sees("the store", ({ store }) => store?.connected === true);
}

async function ask(node: ClusterNode, path: string): Promise<string> {
  return (await get(node.port, path)).header("x-cache") ?? "";
}

/** Has both nodes keep these. */
async function warm({ nodes }: Site, ...paths: string[]): Promise<void> {
  for (const node of nodes) {
    for (const path of paths) {
      await ask(node, path);
      assert.equal(await ask(node, path), "HIT");
    }
  }
}

async function purge(node: ClusterNode, path: string, ...fields: string[]): Promise<number> {
  const lines = [`PURGE ${path} HTTP/1.1`, "Host: localhost", "Connection: close", ...fields, "", ""];
  return (await request(node.port, lines.join("\r\n"))).status;
}

async function isPurged(node: ClusterNode, path: string): Promise<void> {
  await waitFor(async () => (await ask(node, path)) !== "HIT", `${path} is purged on ${node.name}`);
}

test("a purge by key, beginning or tag on one node is made on the others", { skip: noRedis }, async (t) => {
  const site = await startSite(t);
  const [first, second] = site.nodes;
  await warm(site, "/a", "/b", "/img/1", "/img/2", "/tagged", "/own/a", "/tool");
  assert.equal(await purge(first, "/a"), 204);
  await isPurged(second, "/a");
  // What the node does not have itself others may have.
  await ask(second, "/only");
  assert.equal(await purge(first, "/only"), 204);
  await isPurged(second, "/only");
  assert.equal(await purge(second, "/img/*"), 204);
  await isPurged(first, "/img/1");
  await isPurged(first, "/img/2");
  assert.equal(await purge(first, "/any", "Cache-Tag: red"), 204);
  await isPurged(second, "/tagged");
  const { code } = await runTool(first.running, "cache", "purge", "pages", "/tool");
  assert.equal(code, 0);
  await isPurged(second, "/tool");
  // A cache that is not shared is not concerned, nor is what was not purged.
  assert.equal(await purge(first, "/own/a"), 204);
  assert.equal(await purge(first, "/own/a"), 404);
  assert.equal(await ask(second, "/own/a"), "HIT");
  assert.equal(await ask(second, "/b"), "HIT");
  assert.equal(await ask(first, "/b"), "HIT");
});

test("purges wait for a store that is away, and for a node that is", { skip: noRedis }, async (t) => {
  const site = await startSite(t);
  const [first, second] = site.nodes;
  const { redis } = site;
  await warm(site, "/a", "/b", "/c");
  await redis.kill();
  await first.sees("that the store is away", ({ store }) => store?.connected === false);
  assert.equal(await purge(first, "/a"), 204);
  assert.equal(await ask(second, "/a"), "HIT");
  await redis.start();
  await isPurged(second, "/a");
  await second.running.stop();
  assert.equal(await purge(first, "/b"), 204);
  await second.start();
  await isPurged(second, "/b");
  assert.equal(await ask(second, "/c"), "HIT");
  // And what a node was to tell when it ended is told when it begins again.
  await redis.kill();
  await second.sees("that the store is away", ({ store }) => store?.connected === false);
  assert.equal(await purge(second, "/c"), 204);
  await second.running.stop();
  await redis.start();
  assert.equal(await ask(first, "/c"), "HIT");
  await second.start();
  await isPurged(first, "/c");
});

test("a node that cannot know what it missed purges everything, and says so", { skip: noRedis }, async (t) => {
  const site = await startSite(t);
  const [first, second] = site.nodes;
  await warm(site, "/a", "/b");
  assert.equal(await purge(first, "/a"), 204);
  await isPurged(second, "/a");
  await second.running.stop();
  await site.redis.say("FLUSHALL");
  assert.equal(await purge(first, "/any"), 204);
  await second.start();
  await second.running.waitForLog(/cache "pages": the log of purges has begun anew, the whole cache is purged/);
  await isPurged(second, "/b");
});
