/** The store of a group: what is said of it, what becomes of strangers' bytes in it, and where there is none. */
import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import type { StoreRow } from "../../src/cluster/sync/store_row.ts";
import { type ClusterNode, startCluster } from "../support/cluster.ts";
import { runHoldfast, runTool, startHoldfast } from "../support/holdfast.ts";
import { freePort } from "../support/ports.ts";
import { checkersOf } from "../support/processes.ts";
import {
  noRedis,
  type Redis,
  startRedis,
  startCluster as startRedisCluster,
  startSentinels,
} from "../support/redis.ts";
import { get } from "../support/tcp.ts";
import { waitFor } from "../support/wait.ts";

const LIMIT = "limit_req_zone $arg_key zone=one:1m rate=1r/m sync; limit_conn_zone $arg_key zone=two:1m sync;";
const SERVER = "location = /limited { limit_req zone=one; limit_conn two 5; empty_gif; }";
const CHANNEL = "holdfast:cluster:test:bus";

/** `timeout`: of the checks, ms. */
function startNodes(t: TestContext, redis: Redis, timeout = 5000): Promise<ClusterNode[]> {
  return startCluster(t, {
    nodes: 2,
    cluster: `check interval=100 fall=2 rise=2 timeout=${timeout}; store redis://someone:secret@${redis.address};`,
    http: LIMIT,
    server: SERVER,
  });
}

async function connected(nodes: readonly ClusterNode[], is = true): Promise<void> {
  for (const node of nodes) await node.sees(is ? "the store" : "no store", ({ store }) => store?.connected === is);
}

async function limited(node: ClusterNode, key: string): Promise<number> {
  return (await get(node.port, `/limited?key=${key}`)).status;
}

async function storeOf(node: ClusterNode): Promise<StoreRow> {
  return JSON.parse((await get(node.port, "/cluster?format=json")).body).store;
}

/** What is on its way for more than a second counts for nothing, and what happens while the store is lost is not told: then it is tried again. */
async function countsIn(by: ClusterNode, node: ClusterNode, name: string): Promise<void> {
  let tried = 0;
  await waitFor(async () => {
    const key = `${name}-${++tried}`;
    const before = await storeOf(node);
    assert.equal(await limited(by, key), 200);
    const at = Date.now();
    // The figures are those of the last second.
    await waitFor(async () => {
      const [its, own] = [await by.matrix(), await node.matrix()];
      const isTold = (own.store?.received ?? 0) > before.received;
      return its.at > at + (isTold ? 500 : 3000) && own.at > its.at;
    });
    return (await limited(node, key)) === 503;
  }, `${node.name} to be told by ${by.name}`);
}

const USER = ["--user", "someone", "on", ">secret", "~*", "&*", "+@all"];

test("a store that is lost is said once, on the page too, and each node goes on alone", {
  skip: noRedis,
}, async (t) => {
  const redis = await startRedis(t, { args: USER });
  const nodes = await startNodes(t, redis);
  const [first, second] = nodes;
  await connected(nodes);
  await countsIn(first, second, "a");
  await redis.kill();
  await connected(nodes, false);
  const { store, troubles } = JSON.parse((await get(first.port, "/cluster?format=json")).body);
  assert.equal(store.store, `redis://${redis.address}`);
  assert.match(store.reason, /ECONNREFUSED|closed/i);
  assert.match(troubles.join("\n"), /^lb1 does not reach the store redis:\/\/127\S+ and goes on alone \(/m);
  assert.match((await get(first.port, "/cluster")).body, /<b>away<\/b>/);
  assert.match((await runTool(first.running, "cluster", "status")).stdout, /AWAY for /);
  assert.equal(await limited(first, "alone"), 200);
  assert.equal(await limited(first, "alone"), 503);
  assert.equal(await limited(second, "alone"), 200);
  // On a slow machine it may be lost once more, and come back.
  const lostAndBack = ({ running }: ClusterNode) => {
    const log = running.errorLog();
    assert.doesNotMatch(log, /secret@|\[alert\]/);
    return [
      log.match(/\[error\][^\n]* lost the store redis:\/\/127[^\n]* of cluster "test": /g)?.length ?? 0,
      log.match(/\[notice\][^\n]* the store [^\n]* is back after \d+ s/g)?.length ?? 0,
    ];
  };
  for (const [lost, back] of nodes.map(lostAndBack)) assert.equal(lost, back + 1);
  await redis.start();
  await connected(nodes);
  await countsIn(second, first, "b");
  for (const [lost, back] of nodes.map(lostAndBack)) assert.equal(lost, back);
});

for (const [what, start] of [
  ["Sentinel", async (t: TestContext) => `redis+sentinel://${(await startSentinels(t)).addresses.join(",")}/mymaster`],
  [
    "Cluster",
    async (t: TestContext) => `redis+cluster://${(await startRedisCluster(t)).map((one) => one.address).join(",")}`,
  ],
] as const) {
  test(`${what} carries what nodes tell each other`, { skip: noRedis }, async (t) => {
    const url = await start(t);
    const nodes = await startCluster(t, {
      nodes: 2,
      cluster: `check interval=100; store ${url};`,
      http: LIMIT,
      server: SERVER,
    });
    await connected(nodes);
    await countsIn(nodes[0], nodes[1], "a");
    await countsIn(nodes[1], nodes[0], "b");
  });
}

test("what strangers publish changes nothing and is counted", { skip: noRedis }, async (t) => {
  const redis = await startRedis(t, { args: USER });
  const nodes = await startNodes(t, redis);
  const [first] = nodes;
  await connected(nodes);
  const head = "HFB\u0001";
  const cases = [
    "",
    "H",
    head,
    `HFB\u0002${"x".repeat(200)}`,
    `${head}${"\u0000".repeat(70)}`,
    `${head}${"\u007f".repeat(300)}`,
    "x".repeat(600_000),
  ];
  for (const bytes of cases) await redis.say("PUBLISH", CHANNEL, bytes);
  for (const node of nodes) {
    await node.sees("all of them refused", ({ store }) => {
      const { form = 0, version = 0, signature = 0 } = store?.refused ?? {};
      return form + signature === cases.length - 1 && version === 1;
    });
    assert.match(node.running.errorLog(), /a message on the channel of cluster "test" at redis:\S+ is no batch/);
    assert.doesNotMatch(node.running.errorLog(), /\[alert\]|\[crit\]/);
  }
  assert.equal(await limited(first, "new"), 200);
});

test("nodes with other secrets share nothing, and say so", { skip: noRedis }, async (t) => {
  const redis = await startRedis(t);
  const nodes = await startCluster(t, {
    nodes: 2,
    cluster: `check interval=100; store redis://${redis.address};`,
    http: LIMIT,
    server: SERVER,
    secret: (node) => `a secret of ${node} alone`,
  });
  await connected(nodes);
  const [first, second] = nodes;
  assert.equal(await limited(first, "a"), 200);
  await second.running.waitForLog(/a message on the channel [^\n]* is not signed with this cluster's secret/);
  assert.equal(await limited(second, "a"), 200);
});

test("a checker that is stopped for a while tells nobody of what is over", { skip: noRedis }, async (t) => {
  const redis = await startRedis(t, { args: USER });
  const nodes = await startNodes(t, redis, 500);
  const [first, second] = nodes;
  await connected(nodes);
  const [checker] = checkersOf(first.running.pid);
  process.kill(checker, "SIGSTOP");
  try {
    assert.equal(await limited(first, "meanwhile"), 200);
    await second.running.waitForLog(/node lb1/);
    // It has been silent for longer than what it would tell is worth.
    await second.sees("that lb1 is down", ({ nodes: rows }) => rows[0].verdict === "down");
    const since = Date.now();
    await waitFor(() => Date.now() - since > 1500, "more than a second");
  } finally {
    process.kill(checker, "SIGCONT");
  }
  await second.sees("lb1 again", ({ nodes: rows }) => rows[0].verdict === "up");
  await countsIn(first, second, "after");
  assert.equal(await limited(second, "meanwhile"), 200);
});

test("sync without a store has no effect, which is said with the line", async (t) => {
  const port = await freePort();
  const config = `events {} http {\n limit_req_zone $arg_key zone=one:1m rate=1r/m sync;\n
    limit_conn_zone $arg_key zone=two:1m sync;\n server { listen 127.0.0.1:${port}; ${SERVER} } }`;
  const { stderr, code } = await runHoldfast(t, { config, args: ["-t"] });
  assert.equal(code, 0);
  for (const [name, line] of [
    ["limit_req_zone", 2],
    ["limit_conn_zone", 4],
  ]) {
    const place = new RegExp(
      `\\[warn\\].*"sync" of "${name}" has no effect: there is no "cluster" with a "store" in .*:${line}`,
    );
    assert.match(stderr, place);
  }
  const running = await startHoldfast(t, { config });
  const node = { port: running.port || port };
  assert.equal((await get(node.port, "/limited?key=a")).status, 200);
  assert.equal((await get(node.port, "/limited?key=a")).status, 503);
});

test("what is wrong with a store line is said with its line, without its password", async (t) => {
  for (const [line, sentence] of [
    [
      "http://u:secret@a",
      /invalid store "http:\/\/a" of cluster "x": it must be redis.*\[,host\[:port\]\.\.\.\]\[\/database\] in /,
    ],
    ["redis://u:secret@a:0", /invalid store "redis:\/\/a:0" of cluster "x": "a:0" is no host\[:port\]/],
    ["redis://a verify=off", /invalid store .*: "ca" and "verify" need TLS/],
    ["redis://a password_file=none", /open\(\) ".*\/conf\/none" failed \(2: No such file or directory\)/],
    ["redis://a queue=1", /invalid parameter "queue=1"/],
  ] as const) {
    const config = `cluster x { node a 127.0.0.1:1; node b 127.0.0.1:2; self a; secret_file secret;\nstore ${line}; } events {}`;
    const files = { "conf/secret": "0123456789abcdef\n" };
    const { stderr, code } = await runHoldfast(t, { config, files, args: ["-t"] });
    assert.equal(code, 1);
    assert.match(stderr, sentence);
    assert.match(stderr, /nginx\.conf:2/);
    assert.doesNotMatch(stderr, /secret@|u:secret/);
  }
});
