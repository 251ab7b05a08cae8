/** Limits that the nodes of a group keep together, through a real Redis. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type ClusterNode, startCluster } from "../support/cluster.ts";
import { noRedis, type Redis, startRedis } from "../support/redis.ts";
import { get } from "../support/tcp.ts";
import { waitFor } from "../support/wait.ts";

const CHECK = "check interval=100 fall=2 rise=2 timeout=500;";

function storeOf(redis: Redis, more = ""): string {
  return `${CHECK} store redis://${redis.address} ${more};`;
}

async function connected(nodes: readonly ClusterNode[]): Promise<void> {
  for (const node of nodes) await node.sees("the store", ({ store }) => store?.connected === true);
}

/** Waits until a node has been told by the other of all that has happened there so far. */
async function told(by: ClusterNode, node: ClusterNode): Promise<void> {
  const now = Date.now();
  await waitFor(async () => {
    const [its, own] = [await by.matrix(), await node.matrix()];
    return its.at > now + 500 && own.at > its.at && its.store?.sent === own.store?.received;
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
  // A bucket has room for ten requests.
  assert.equal(await passing(first, "/shared?key=a", 6), 6);
  assert.equal(await passing(first, "/alone?key=a", 6), 6);
  await told(first, second);
  assert.equal(await passing(second, "/shared?key=a", 6), 4);
  assert.equal(await passing(second, "/shared?key=b", 6), 6);
  assert.equal(await passing(second, "/alone?key=a", 6), 6);
  // And back: the bucket is full.
  await waitFor(async () => (await get(first.port, "/shared?key=a")).status === 503, "the first node refuses too");
});
