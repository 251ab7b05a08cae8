/** Keyval zones that the nodes of a group have in common, through a real Redis. */
import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { type ClusterNode, startCluster } from "../support/cluster.ts";
import { runTool } from "../support/holdfast.ts";
import { checkersOf } from "../support/processes.ts";
import { noRedis, type Redis, startRedis, startCluster as startRedisCluster } from "../support/redis.ts";
import { get } from "../support/tcp.ts";
import { waitFor } from "../support/wait.ts";

const HASH = "holdfast:cluster:test:keyval one string:{holdfast:cluster:test:keyval one string:}table";

async function keyval(node: ClusterNode, ...words: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await runTool(node.running, "keyval", ...words);
  assert.deepEqual([code, stderr], [0, ""]);
  return stdout;
}

async function value(node: ClusterNode, key: string): Promise<string> {
  return (await get(node.port, `/?key=${key}`)).body;
}

async function has(node: ClusterNode, key: string, wanted: string): Promise<void> {
  await waitFor(async () => (await value(node, key)) === wanted, `${node.name} to have ${key}=${wanted}`);
}

async function isConnected(node: ClusterNode, connected = true): Promise<void> {
  await node.sees(`the store ${connected ? "" : "not "}there`, ({ store }) => store?.connected === connected);
}

function start(t: TestContext, redis: Redis, zone?: string): Promise<ClusterNode[]> {
  return startWith(t, `redis://${redis.address}`, zone);
}

async function startWith(t: TestContext, store: string, zone = "zone=one:1m timeout=1h sync"): Promise<ClusterNode[]> {
  const nodes = await startCluster(t, {
    nodes: 2,
    cluster: `check interval=100 fall=2 rise=2 timeout=5000; store ${store};`,
    http: `keyval_zone ${zone}; keyval $arg_key $found zone=one;`,
    server: "location = / { return 200 $found; } location = /set { set $found $arg_value; return 204; }",
  });
  for (const node of nodes) await isConnected(node);
  return nodes;
}

test("what one node sets, changes or removes, the other has, and a node that starts too", {
  skip: noRedis,
}, async (t) => {
  const redis = await startRedis(t);
  const nodes = await start(t, redis);
  const [first, second] = nodes;
  await keyval(first, "set", "one", "a", "by the first");
  await has(second, "a", "by the first");
  // From a worker.
  await get(second.port, "/set?key=a&value=second");
  await has(first, "a", "second");
  await keyval(first, "set", "one", "b", "kept");
  await has(second, "b", "kept");
  await keyval(second, "del", "one", "a");
  await has(first, "a", "");
  await second.running.stop("SIGQUIT");
  await keyval(first, "set", "one", "c", "while it was away");
  await keyval(first, "del", "one", "b");
  await second.start();
  await has(second, "c", "while it was away");
  assert.deepEqual([await value(second, "a"), await value(second, "b")], ["", ""]);
  await keyval(second, "clear", "one");
  await has(first, "c", "");
  assert.equal(await keyval(first, "ls", "one"), "");
});

test("while the store is away each goes on alone, and then both have the same: what came last", {
  skip: noRedis,
}, async (t) => {
  const redis = await startRedis(t);
  const nodes = await start(t, redis);
  const [first, second] = nodes;
  await keyval(first, "set", "one", "old", "old");
  await keyval(first, "set", "one", "gone", "gone");
  await has(second, "gone", "gone");
  await redis.kill();
  for (const node of nodes) await isConnected(node, false);
  await keyval(first, "set", "one", "a", "first");
  await keyval(second, "set", "one", "b", "second");
  await keyval(first, "set", "one", "both", "earlier");
  await keyval(second, "set", "one", "both", "later");
  await keyval(second, "del", "one", "gone");
  assert.deepEqual([await value(first, "b"), await value(second, "a"), await value(first, "gone")], ["", "", "gone"]);
  // What is not told yet outlives the checker.
  const [checker] = checkersOf(first.running.pid);
  process.kill(checker, "SIGKILL");
  await redis.start();
  for (const node of nodes) {
    await has(node, "a", "first");
    await has(node, "b", "second");
    await has(node, "both", "later");
    await has(node, "gone", "");
    await has(node, "old", "old");
  }
});

test("a store that has lost everything gets it again", { skip: noRedis }, async (t) => {
  const redis = await startRedis(t, { config: [] });
  const nodes = await start(t, redis);
  const [first, second] = nodes;
  for (let i = 0; i < 300; i++) await get(first.port, `/set?key=k${i}&value=v${i}`);
  await has(second, "k299", "v299");
  await redis.kill();
  for (const node of nodes) await isConnected(node, false);
  await redis.start();
  await waitFor(async () => (await redis.say("HLEN", HASH)) === ":300", "the store to have all of it");
  await second.running.stop("SIGQUIT");
  await second.start();
  await has(second, "k0", "v0");
  await has(second, "k299", "v299");
});

test("pairs end on all nodes and in the store", { skip: noRedis }, async (t) => {
  const redis = await startRedis(t);
  const [first, second] = await start(t, redis, "zone=one:1m timeout=1500ms sync");
  await Promise.all([keyval(first, "set", "one", "a", "short"), has(second, "a", "short")]);
  await has(second, "a", "");
  await has(first, "a", "");
  await waitFor(async () => (await redis.say("EXISTS", HASH)) === ":0", "the store to have nothing left");
});

test("something else in the store is not used, and said", { skip: noRedis }, async (t) => {
  const redis = await startRedis(t);
  await redis.say(
    "HSET",
    HASH,
    "a",
    "nonsense",
    "b",
    "",
    "c",
    "\x00".repeat(100),
    "d",
    "\x7f".repeat(8) + "\x01".repeat(90),
  );
  const nodes = await start(t, redis);
  const [first, second] = nodes;
  const sentence = 'the store has something else in the table of keyval zone "one", which is not used, cluster: "test"';
  for (const node of nodes)
    await waitFor(
      () => node.running.errorLog().includes(`[error]`) && node.running.errorLog().includes(sentence),
      sentence,
    );
  assert.equal(await keyval(first, "ls", "one"), "");
  await keyval(first, "set", "one", "d", "works");
  await has(second, "d", "works");
  // Not even a hash.
  await redis.say("DEL", HASH);
  await redis.say("SET", HASH, "text");
  await keyval(first, "set", "one", "e", "told all the same");
  await has(second, "e", "told all the same");
  await waitFor(
    () => /the store refuses what is shared of keyval zone "one": WRONGTYPE /.test(first.running.errorLog()),
    "a line of it",
  );
  assert.doesNotMatch(first.running.errorLog(), /\[alert\]/);
});

test("strangers' bytes on the channel change nothing", { skip: noRedis }, async (t) => {
  const redis = await startRedis(t);
  const [first, second] = await start(t, redis);
  await keyval(first, "set", "one", "a", "value");
  await has(second, "a", "value");
  for (const bytes of ["", "x", "\x01".repeat(9), "\xff".repeat(70_000), "keyval one string", "{}"]) {
    await redis.say("PUBLISH", "holdfast:cluster:test:bus", bytes);
  }
  await second.sees("what was refused", ({ store }) => Object.values(store?.refused ?? {}).some((count) => count > 0));
  await keyval(second, "set", "one", "b", "other");
  await has(first, "b", "other");
  assert.equal(await value(second, "a"), "value");
  assert.doesNotMatch(second.running.errorLog(), /\[alert\]/);
});

test("a smaller zone takes what has room, and says that more has not", { skip: noRedis }, async (t) => {
  const redis = await startRedis(t);
  const nodes = await startCluster(t, {
    nodes: 2,
    cluster: `check interval=100 fall=2 rise=2 timeout=5000; store redis://${redis.address};`,
    http: (node) =>
      `keyval_zone zone=one:${node === "lb1" ? "1m" : "32k"} timeout=1h sync; keyval $arg_key $found zone=one;`,
    server: "location = / { return 200 $found; } location = /set { set $found $arg_value; return 204; }",
  });
  for (const node of nodes) await isConnected(node);
  const [first, second] = nodes;
  for (let i = 0; i < 30; i++) await get(first.port, `/set?key=k${i}&value=${"v".repeat(2000)}`);
  await waitFor(
    () =>
      /\[error\] .*keyval zone "one" has no room for what other nodes have in it: give it a larger size on this node, cluster: "test"/.test(
        second.running.errorLog(),
      ),
    "a line of it",
  );
  await keyval(first, "del", "one", "k0");
  await has(second, "k0", "");
});

test("the store may be a Redis Cluster", { skip: noRedis }, async (t) => {
  const stores = await startRedisCluster(t);
  const [first, second] = await startWith(t, `redis+cluster://${stores.map(({ address }) => address).join(",")}`);
  await keyval(first, "set", "one", "a", "value");
  await has(second, "a", "value");
  await keyval(second, "del", "one", "a");
  await has(first, "a", "");
  await keyval(first, "set", "one", "b", "kept");
  await has(second, "b", "kept");
  await second.running.stop("SIGQUIT");
  await second.start();
  await has(second, "b", "kept");
  assert.doesNotMatch(first.running.errorLog(), /refuses|\[alert\]/);
});

test("without a store sync has no effect, which is a warning", async (t) => {
  const [node] = await startCluster(t, { nodes: 2, http: "keyval_zone zone=one:1m timeout=1h sync;" });
  const { stderr } = await runTool(node.running, "keyval", "ls", "one");
  assert.equal(stderr, "");
  assert.match(
    node.running.errorLog() + node.running.stderr,
    /"sync" of "keyval_zone" has no effect: there is no "cluster" with a "store" in /,
  );
});
