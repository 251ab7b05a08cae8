import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { type TestContext, test } from "node:test";
import { type Running, startHoldfast } from "../support/holdfast.ts";
import { workersOf } from "../support/processes.ts";
import { noRedis, startRedis } from "../support/redis.ts";
import { type RedisLine, startRedisLine } from "../support/redis_line.ts";
import { RawConnection } from "../support/tcp.ts";
import { waitFor } from "../support/wait.ts";

/** Whatever becomes of a change on its way to Redis: what was confirmed is read, and what was not cannot come back over it. */

function startNode(t: TestContext, { address }: { readonly address: string }): Promise<Running> {
  return startHoldfast(t, {
    config: ([port, page]) => `user root; worker_processes 1; http { session_timeout 200ms;
      session_zone carts:8m store=redis://${address} prefix=carts:;
      session_listen 127.0.0.1:${port} zone=carts;
      server { listen 127.0.0.1:${page}; } }`,
  });
}

async function ask(node: Running, command: string): Promise<string> {
  const connection = await RawConnection.open(node.port);
  connection.write(`${command}\r\nmn\r\n`);
  const answer = await connection.until((received) => received.endsWith("MN\r\n"));
  connection.close();
  return answer.slice(0, -"MN\r\n".length);
}

/** Where Redis has the item "n". */
const N = `carts:${createHash("sha256").update("item\0n").digest("base64url")}`;
/** A change of an item, as Redis is told it. */
const CHANGE = /EVAL.*carts:(?!keys)/s;

/** Sets it, and reads it. */
async function set(node: Running, key: string, value: string): Promise<void> {
  assert.equal(await ask(node, `set ${key} 0 100 ${value.length}\r\n${value}`), "STORED\r\n", value);
  assert.equal(await get(node, key), value);
}

async function get(node: Running, key: string): Promise<string | undefined> {
  return /\r\n(.*)\r\nEND/.exec(await ask(node, `get ${key}`))?.[1];
}

interface Group {
  readonly line: RedisLine;
  /** Reaches Redis over the line. */
  readonly one: Running;
  readonly other: Running;
  /** Waits until the other node has that, too. */
  told(key: string, value: string): Promise<unknown>;
  /** What was on its way arrives: it changes nothing at Redis. */
  arriveInVain(): Promise<void>;
}

async function startGroup(t: TestContext): Promise<Group> {
  const redis = await startRedis(t);
  const line = await startRedisLine(t, redis);
  const one = await startNode(t, line);
  const other = await startNode(t, redis);
  await set(one, "n", "1");
  const told = async (key: string, value: string): Promise<void> => {
    assert.equal(await get(one, key), value);
    await waitFor(async () => (await get(other, key)) === value, `${key} to be ${value} at the other node`);
    assert.equal(await get(one, key), value);
  };
  const inRedis = (): Promise<string> => redis.info("", "GET", N);
  const arriveInVain = async (): Promise<void> => {
    const before = await inRedis();
    assert.ok(line.held > 0);
    await line.arrive();
    assert.equal(await inRedis(), before);
  };
  return { line, one, other, told, arriveInVain };
}

test("Redis has taken a change, and its answer is lost", { skip: noRedis }, async (t) => {
  const { line, one, other, told } = await startGroup(t);
  line.hold("answers", CHANGE);
  await set(one, "n", "2");
  assert.equal(await get(other, "n"), "2");
  await set(one, "n", "3");
  line.cut();
  await told("n", "3");
  assert.equal(await ask(one, "incr n 1"), "4\r\n");
  await told("n", "4");
});

test("a change that Redis gets late comes over no newer one, told before or after it", { skip: noRedis }, async (t) => {
  const { line, one, told, arriveInVain } = await startGroup(t);
  for (const isToldBefore of [true, false]) {
    line.hold("commands", CHANGE);
    const isOnItsWay = async (): Promise<boolean> => {
      await set(one, "n", "2");
      return line.held > 0;
    };
    await waitFor(isOnItsWay, "Redis to be told");
    await set(one, "n", "3");
    if (isToldBefore) {
      line.cut();
      await told("n", "3");
      await arriveInVain();
    } else line.release();
    await told("n", "3");
  }
});

test("a change that a worker had sent when it was killed comes over no newer one", { skip: noRedis }, async (t) => {
  const { line, one, told, arriveInVain } = await startGroup(t);
  for (const isToldBefore of [true, false]) {
    await waitFor(async () => (await get(one, "n")) !== undefined, "a worker");
    line.hold("commands", CHANGE);
    const connection = await RawConnection.open(one.port);
    connection.write("set n 0 100 6\r\nunsure\r\n");
    await waitFor(() => line.held > 0, "the worker tells Redis");
    for (const pid of workersOf(one.pid)) process.kill(pid, "SIGKILL");
    await connection.until(() => false);
    connection.close();
    await set(one, "n", "3");
    if (!isToldBefore) await line.arrive();
    line.cut();
    await told("n", "3");
    if (isToldBefore) await arriveInVain();
    await told("n", "3");
  }
});

test("what is changed while Redis is told of the rest is told as it is in the end", { skip: noRedis }, async (t) => {
  const { line, one, told } = await startGroup(t);
  const keys = ["n", "a", "b", "c"];
  for (let round = 0; round < 4; round++) {
    line.hold("answers");
    for (const key of keys) await set(one, key, `${round}1`);
    // The checker asks again, and Redis does what it says, or a part of it.
    line.release();
    await set(one, keys[round], `${round}2`);
    line.hold(round % 2 === 0 ? "answers" : "commands");
    for (const key of keys) await set(one, key, `${round}3`);
    line.cut();
    await line.arrive();
    for (const key of keys) await told(key, `${round}3`);
  }
});
