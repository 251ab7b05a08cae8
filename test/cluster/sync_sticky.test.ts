/** `sticky learn … sync`: sessions that one node has learned are followed on the others, through a real Redis. */
import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import { httpBackend } from "../support/backend.ts";
import { type ClusterNode, startCluster } from "../support/cluster.ts";
import { noRedis, type Redis, startRedis } from "../support/redis.ts";
import { get } from "../support/tcp.ts";
import { PATIENCE_MS, waitFor } from "../support/wait.ts";

const SERVERS = ["a", "b", "c"];

interface Setup {
  readonly parameters?: string;
  readonly cluster?: string;
}

/** Two nodes in front of three servers, which have a session made by `/new?id=…`, and answer with their names. */
async function start(
  t: TestContext,
  redis: Redis,
  { parameters = "timeout=1h", cluster = "" }: Setup = {},
): Promise<ClusterNode[]> {
  const servers = await Promise.all(
    SERVERS.map(async (name) => {
      const { address } = await httpBackend(t, (request, response) => {
        const id = /^\/new\?id=(.*)/.exec(request.url ?? "")?.[1];
        if (id !== undefined) response.setHeader("Set-Cookie", `sid=${id}`);
        response.end(name);
      });
      return `server ${address} route=${name};`;
    }),
  );
  const nodes = await startCluster(t, {
    nodes: 2,
    cluster: `check interval=100 fall=2 rise=2 timeout=5000; store redis://${redis.address}; ${cluster}`,
    http: `upstream app { ${servers.join(" ")}
      sticky learn create=$upstream_cookie_sid lookup=$cookie_sid zone=sessions:1m ${parameters} sync; }`,
    server: "location / { proxy_pass http://app; }",
  });
  for (const node of nodes) await isConnected(node);
  return nodes;
}

async function isConnected(node: ClusterNode, connected = true): Promise<void> {
  await node.sees(`the store ${connected ? "" : "not "}there`, ({ store }) => store?.connected === connected);
}

async function begin(node: ClusterNode, id: string): Promise<string> {
  return (await get(node.port, `/new?id=${id}`)).body;
}

/** Whether all requests of a session go to that server. */
async function follows(node: ClusterNode, id: string, server: string): Promise<boolean> {
  for (let i = 0; i < 6; i++) if ((await get(node.port, "/", `Cookie: sid=${id}`)).body !== server) return false;
  return true;
}

async function allFollow(node: ClusterNode, sessions: ReadonlyMap<string, string>): Promise<void> {
  for (const [id, server] of sessions) await waitFor(() => follows(node, id, server), `${node.name} to follow ${id}`);
}

async function beginSome(node: ClusterNode, prefix: string, count = 6): Promise<Map<string, string>> {
  const begun = new Map<string, string>();
  for (let i = 0; i < count; i++) begun.set(`${prefix}${i}`, await begin(node, `${prefix}${i}`));
  return begun;
}

test("a session learned on one node is followed on the other, and on one that starts", { skip: noRedis }, async (t) => {
  const redis = await startRedis(t);
  const nodes = await start(t, redis, { parameters: "timeout=1h snapshot=off" });
  const [first, second] = nodes;
  const sessions = await beginSome(first, "one-");
  await allFollow(second, sessions);
  const more = await beginSome(second, "two-");
  await allFollow(first, more);
  assert.equal(new Set([...sessions.values(), ...more.values()]).size, 3);
  await second.running.stop("SIGQUIT");
  const third = await beginSome(first, "three-");
  await second.start();
  await allFollow(second, new Map([...sessions, ...more, ...third]));
});

test("a session that another server has taken over is that one's on all nodes", { skip: noRedis }, async (t) => {
  const redis = await startRedis(t);
  const [first, second] = await start(t, redis);
  for (const [i, node] of [first, second, first, second].entries()) {
    const server = await begin(node, "moving");
    await allFollow(node === first ? second : first, new Map([["moving", server]]));
    assert.ok(await follows(node, "moving", server), String(i));
  }
});

test("while the store is away each node learns by itself, and then both follow all of it", {
  skip: noRedis,
}, async (t) => {
  const redis = await startRedis(t);
  const nodes = await start(t, redis);
  const [first, second] = nodes;
  const before = await beginSome(first, "before-");
  await allFollow(second, before);
  await redis.kill();
  for (const node of nodes) await isConnected(node, false);
  const alone = new Map([...(await beginSome(first, "first-")), ...(await beginSome(second, "second-"))]);
  await redis.start();
  for (const node of nodes) await allFollow(node, new Map([...before, ...alone]));
});

test("a session that is used on one node goes on in the other", { skip: noRedis }, async (t) => {
  const redis = await startRedis(t);
  const [first, second] = await start(t, redis, { parameters: "timeout=2s" });
  // Where this process, or the nodes, are held up for about its timeout, it may end: then another one is tried.
  let number = 0;
  await waitFor(
    async () => {
      const id = `used-${number++}`;
      const server = await begin(first, id);
      const start = performance.now();
      let longest = 0;
      for (let last = start; last - start < 5000 && longest < 1000; ) {
        // Each request to the first node is one use.
        const { body } = await get(first.port, "/", `Cookie: sid=${id}`);
        longest = Math.max(longest, performance.now() - last);
        last = performance.now();
        if (longest < 1000) assert.equal(body, server);
        await pause(20);
      }
      const followed = await follows(second, id, server);
      assert.ok(followed || longest >= 1000, "it has ended in the other node");
      return followed && longest < 1000;
    },
    "a session that is used all the time",
    4 * PATIENCE_MS,
  );
});

test("it goes on through a reload of one node, also with another size of the zone", { skip: noRedis }, async (t) => {
  const redis = await startRedis(t);
  const [first, second] = await start(t, redis);
  const sessions = await beginSome(first, "one-");
  await allFollow(second, sessions);
  assert.equal(await second.running.reload(second.config.replace("sessions:1m", "sessions:2m")), true);
  await allFollow(second, sessions);
  await allFollow(first, await beginSome(second, "two-"));
});
