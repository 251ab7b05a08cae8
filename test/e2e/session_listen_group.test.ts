import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { type TestContext, test } from "node:test";
import { type Running, runTool, startHoldfast } from "../support/holdfast.ts";
import { noRedis, type Redis, startRedis } from "../support/redis.ts";
import { RawConnection } from "../support/tcp.ts";
import { waitFor } from "../support/wait.ts";

/** `session_listen` at the nodes of a group, whose items are in Redis. */

function startNode(t: TestContext, { address }: Redis, prefix?: string): Promise<Running> {
  return startHoldfast(t, {
    config: ([port, page]) => `user root; worker_processes 2; http { session_timeout 10s;
      session_zone carts:8m store=redis://${address};
      session_listen 127.0.0.1:${port} zone=carts;
      server { listen 127.0.0.1:${page}; location / { session_status json; }
        location /api/ { session_api carts; allow all; } } }`,
    ...(prefix === undefined ? {} : { prefix }),
  });
}

/** The answers to commands, which end with line ends. */
async function ask(to: Running | RawConnection, commands: string): Promise<string> {
  const connection = to instanceof RawConnection ? to : await RawConnection.open(to.port);
  connection.write(`${commands}mn\r\n`);
  const answer = await connection.until((received) => received.endsWith("MN\r\n"));
  connection.received = "";
  if (connection !== to) connection.close();
  return answer.slice(0, -"MN\r\n".length);
}

const STORED = "STORED\r\n";
const value = (key: string, text: string): string => `VALUE ${key} 0 ${text.length}\r\n${text}\r\nEND\r\n`;
const set = (key: string, text: string, exptime = 100): string =>
  `set ${key} 0 ${exptime} ${text.length}\r\n${text}\r\n`;

test("all nodes have the same items, and of those who compare and set one wins", { skip: noRedis }, async (t) => {
  const redis = await startRedis(t);
  const nodes = [await startNode(t, redis), await startNode(t, redis)];
  const [one, other] = nodes;
  assert.equal(await ask(one, set("a", "first")), STORED);
  assert.equal(await ask(other, "get a\r\n"), value("a", "first"));
  const cas = / (\d+)\r\n/.exec(await ask(one, "gets a\r\n"))?.[1];
  assert.equal(cas, / (\d+)\r\n/.exec(await ask(other, "gets a\r\n"))?.[1]);
  const swap = (text: string): string => `cas a 0 100 ${text.length} ${cas}\r\n${text}\r\n`;
  const swapped = await Promise.all(nodes.map((node, number) => ask(node, swap(`swap${number}`))));
  assert.deepEqual(swapped.sort(), ["EXISTS\r\n", STORED]);
  // As PHP locks its sessions.
  for (let round = 0; round < 20; round++) {
    const locks = await Promise.all(nodes.map((node) => ask(node, "add lock 0 100 1\r\n1\r\n")));
    assert.deepEqual(locks.sort(), ["NOT_STORED\r\n", STORED], `round ${round}`);
    assert.equal(await ask(nodes[round % 2], "delete lock\r\n"), "DELETED\r\n");
    assert.equal(await ask(nodes[(round + 1) % 2], "get lock\r\n"), "END\r\n");
  }
  await ask(one, set("n", "0"));
  const clients = await Promise.all([0, 1, 0, 1, 0, 1].map((node) => RawConnection.open(nodes[node].port)));
  await Promise.all(clients.map((client) => ask(client, "incr n 1\r\nget n\r\n".repeat(20))));
  for (const client of clients) client.close();
  for (const node of nodes) assert.equal(await ask(node, "get n\r\n"), value("n", "120"));
  assert.equal(await ask(one, "get n\r\nget nothing a n\r\n").then((text) => text.match(/VALUE/g)?.length), 3);
  assert.equal(await ask(one, "flush_all\r\n"), "CLIENT_ERROR flush_all not allowed\r\n");
  // No key of an application's is in Redis, nor among the sessions.
  assert.notEqual(await redis.say("KEYS", "holdfast:carts:*"), "*0");
  assert.equal(await redis.say("KEYS", "*lock*"), "*0");
  assert.equal((await runTool(one, "session", "ls", "--json", "carts")).stdout, "");
});

test("an item that ends sooner than the one before comes back from no copy", { skip: noRedis }, async (t) => {
  const redis = await startRedis(t);
  const [one, other] = [await startNode(t, redis), await startNode(t, redis)];
  const key = `holdfast:carts:${createHash("sha256").update("item\0a").digest("base64url")}`;
  for (const command of [set("a", "new", 1), "touch a 1\r\n", "delete a\r\n"]) {
    assert.equal(await ask(one, set("a", "old", 1000)), STORED);
    assert.equal(await ask(other, "get a\r\n"), value("a", "old"));
    assert.match(await ask(one, command), /^(STORED|TOUCHED|DELETED)\r\n$/);
    // It lies in Redis for as long as what the other node has a copy of would live.
    const left = Number((await redis.say("PTTL", key)).slice(1));
    assert.ok(left > 900_000, `${command}${left}`);
    await waitFor(async () => (await ask(one, "get a\r\n")) === "END\r\n", "it to end");
    for (let round = 0; round < 4; round++) assert.equal(await ask(other, "get a\r\n"), "END\r\n", command);
  }
});

test("without Redis items go on from the node's copy, and it is told later, also when Holdfast is killed", {
  skip: noRedis,
}, async (t) => {
  const redis = await startRedis(t);
  let one = await startNode(t, redis);
  const other = await startNode(t, redis);
  await ask(one, set("known", "1") + set("both", "1") + set("gone", "1") + set("short", "1", 1000));
  await ask(other, `get both\r\n${set("strange", "1")}`);
  await redis.kill();
  await one.waitForLog(/lost its store/);
  assert.equal(await ask(one, "get known\r\n"), value("known", "1"));
  assert.equal(await ask(one, "append known 0 0 1\r\n2\r\nincr known 1\r\n"), `${STORED}13\r\n`);
  assert.equal(await ask(one, "delete gone\r\n"), "DELETED\r\n");
  assert.equal(await ask(one, set("short", "2", 1)), STORED);
  // New visitors and locks do not wait; what may be there is not taken for missing.
  assert.equal(await ask(one, "add lock 0 100 1\r\n1\r\n"), STORED);
  assert.equal(await ask(one, "add lock 0 100 1\r\n1\r\n"), "NOT_STORED\r\n");
  for (const command of ["get strange", "gets known strange", "incr strange 1", "delete strange"]) {
    assert.match(await ask(one, `${command}\r\n`), /SERVER_ERROR the session zone is not available\r\n$/, command);
  }
  assert.equal(await ask(one, set("both", "one")), STORED);
  await one.stop("SIGKILL");
  one = await startNode(t, redis, one.prefix);
  assert.equal(await ask(one, "get known\r\n"), value("known", "13"));
  await redis.start();
  await one.waitForLog(/it was told of \d sessions? that/);
  // Each worker asks Redis again when it has seen that it is back.
  const says = (node: Running, key: string, answer: string): Promise<unknown> =>
    waitFor(async () => (await ask(node, `get ${key}\r\n`)) === answer, key);
  await says(other, "known", value("known", "13"));
  await says(other, "both", value("both", "one"));
  for (const key of ["gone", "short"]) await says(other, key, "END\r\n");
  await says(one, "strange", value("strange", "1"));
});

test("of an item that two nodes changed without Redis one stays, whole", { skip: noRedis }, async (t) => {
  const redis = await startRedis(t);
  const nodes = [await startNode(t, redis), await startNode(t, redis)];
  await ask(nodes[0], set("a", "first"));
  await ask(nodes[1], "get a\r\n");
  await redis.kill();
  for (const [number, node] of nodes.entries()) assert.equal(await ask(node, set("a", `node${number}`)), STORED);
  await redis.start();
  for (const node of nodes) await node.waitForLog(/it was told of 1 session that/);
  // A worker answers from its node's copy until it has seen that Redis is back.
  const answers = async () => Promise.all([...nodes, ...nodes, ...nodes].map((node) => ask(node, "get a\r\n")));
  const same = await waitFor(async () => {
    const all = await answers();
    return new Set(all).size === 1 && all[0];
  }, "the same item everywhere");
  assert.match(same, /\r\nnode[01]\r\n/);
});

test("an item that was deleted, and is set anew without Redis, stays when Redis is back", {
  skip: noRedis,
}, async (t) => {
  const redis = await startRedis(t);
  const nodes = [await startNode(t, redis), await startNode(t, redis)];
  const [one, other] = nodes;
  // Deleted at the node that sets it again, or at another one.
  for (const key of ["a", "b"]) assert.equal(await ask(one, set(key, "old")), STORED);
  assert.equal(await ask(one, "delete a\r\n"), "DELETED\r\n");
  assert.equal(await ask(other, "delete b\r\n"), "DELETED\r\n");
  await redis.kill();
  await one.waitForLog(/lost its store/);
  for (const key of ["a", "b"]) {
    assert.equal(await ask(one, set(key, "new")), STORED);
    assert.equal(await ask(one, `get ${key}\r\n`), value(key, "new"));
  }
  await redis.start();
  await one.waitForLog(/it was told of 2 sessions that/);
  for (const node of nodes) {
    for (const key of ["a", "b"]) {
      await waitFor(async () => (await ask(node, `get ${key}\r\n`)) === value(key, "new"), `${key} is there`);
    }
  }
});
