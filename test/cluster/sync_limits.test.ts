/** Limits that the nodes of a group keep together, through a real Redis. */
import assert from "node:assert/strict";
import type { ServerResponse } from "node:http";
import { test } from "node:test";
import { httpBackend } from "../support/backend.ts";
import { type ClusterNode, startCluster } from "../support/cluster.ts";
import { checkersOf } from "../support/processes.ts";
import { noRedis, type Redis, startRedis } from "../support/redis.ts";
import { get } from "../support/tcp.ts";
import { waitFor } from "../support/wait.ts";

const CHECK = "check interval=100 fall=2 rise=2 timeout=5000;";

function storeOf(redis: Redis, more = ""): string {
  return `${CHECK} store redis://${redis.address} ${more};`;
}

async function connected(nodes: readonly ClusterNode[]): Promise<void> {
  for (const node of nodes) await node.sees("the store", ({ store }) => store?.connected === true);
}

/** Waits until a node has been told by the other of all that has happened there so far, unless that takes longer than it counts. */
async function told(by: ClusterNode, node: ClusterNode): Promise<void> {
  const now = Date.now();
  await waitFor(async () => {
    const [its, own] = [await by.matrix(), await node.matrix()];
    return its.at > now + 1200 && own.at > its.at;
  }, `${node.name} to be told by ${by.name}`);
}

/** How many of so many requests pass. */
async function passing(node: ClusterNode, path: string, requests: number): Promise<number> {
  let passed = 0;
  for (let i = 0; i < requests; i++) if ((await get(node.port, path)).status === 200) passed++;
  return passed;
}

test("what one node lets pass counts in the others", { skip: noRedis }, async (t) => {
  const redis = await startRedis(t);
  const nodes = await startCluster(t, {
    nodes: 2,
    cluster: storeOf(redis),
    http: "limit_req_zone $arg_key zone=one:1m rate=1r/m sync; limit_req_zone $arg_key zone=alone:1m rate=1r/m;",
    server: `location = /shared { limit_req zone=one burst=9 nodelay; empty_gif; }
      location = /alone { limit_req zone=alone burst=9 nodelay; empty_gif; }`,
  });
  await connected(nodes);
  const [first, second] = nodes;
  let key = "";
  let tried = 0;
  // What is on its way for more than a second counts for nothing: then it is tried again.
  await waitFor(async () => {
    key = `a${++tried}`;
    // A bucket has room for ten requests.
    assert.equal(await passing(first, `/shared?key=${key}`, 6), 6);
    assert.equal(await passing(first, `/alone?key=${key}`, 6), 6);
    await told(first, second);
    return (await passing(second, `/shared?key=${key}`, 6)) === 4;
  }, "what passed in one node to count in the other");
  assert.equal(await passing(second, "/shared?key=b", 6), 6);
  assert.equal(await passing(second, `/alone?key=${key}`, 6), 6);
  // And back: the bucket is full.
  await waitFor(async () => (await get(first.port, `/shared?key=${key}`)).status === 503, "the first node refuses too");
});

test("connections that one node has count in the others, until it gives them back or is gone", {
  skip: noRedis,
}, async (t) => {
  const redis = await startRedis(t);
  const held: ServerResponse[] = [];
  t.after(() => {
    for (const response of held) response.end("done");
  });
  const backend = await httpBackend(t, (_request, response) => void held.push(response));
  const nodes = await startCluster(t, {
    nodes: 2,
    cluster: storeOf(redis),
    http: "limit_conn_zone $arg_key zone=conn:1m sync;",
    server: `location = /held { limit_conn conn 3; proxy_pass http://${backend.address}; }
      location = /quick { limit_conn conn 3; empty_gif; }`,
  });
  await connected(nodes);
  const [first, second] = nodes;
  const quick = async (node: ClusterNode, key: string) => (await get(node.port, `/quick?key=${key}`)).status;
  const hold = (key: string) => Promise.allSettled([1, 2, 3].map(() => get(first.port, `/held?key=${key}`)));
  const over = hold("a");
  await waitFor(() => held.length === 3, "the server has all three");
  await waitFor(async () => (await quick(second, "a")) === 503, "they count in the second node");
  assert.equal(await quick(second, "b"), 200);
  assert.equal(await quick(first, "a"), 503);
  held.pop()?.end("done");
  await waitFor(async () => (await quick(second, "a")) === 200, "one is over");
  for (const response of held.splice(0)) response.end("done");
  await over;
  // A reload and another checker know what there is.
  const kept = hold("c");
  await waitFor(async () => (await quick(second, "c")) === 503, "others count");
  assert.equal(await second.running.reload(), true);
  assert.equal(await quick(second, "c"), 503);
  process.kill(checkersOf(second.running.pid)[0], "SIGKILL");
  await waitFor(async () => (await quick(second, "c")) === 503, "the next checker is told of them");
  for (const response of held.splice(0)) response.end("done");
  await kept;
  await waitFor(async () => (await quick(second, "c")) === 200, "the next checker is told of their end");
  // The node ends with what it had: its checker at once, its workers when their requests are over.
  const cut = hold("b");
  await waitFor(async () => (await quick(second, "b")) === 503, "three others count");
  first.running.signal("SIGKILL");
  await waitFor(async () => (await quick(second, "b")) === 200, "those of a node that is gone count no more");
  for (const response of held) response.end("done");
  await cut;
  await first.running.exited;
});
