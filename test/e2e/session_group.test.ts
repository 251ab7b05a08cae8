import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { isDeepStrictEqual } from "node:util";
import { noRedis, type Redis, startRedis } from "../support/redis.ts";
import { patch, type Shop, type ShopOptions, sessionOf, startShop } from "../support/shop.ts";
import { waitFor } from "../support/wait.ts";

/** A session zone that a group of nodes shares through Redis. */

const KEY = "0123456789abcdef".repeat(4);

async function startNode(t: TestContext, { address }: Redis, { zone = "", ...rest }: ShopOptions = {}): Promise<Shop> {
  const files = { "conf/keys": KEY, ...rest.files };
  // A machine that is busy with other tests is not a store that is away.
  const http = rest.http ?? "session_timeout 10s;";
  return startShop(t, { ...rest, http, zone: `4m store=redis://${address} keys=keys ${zone}`, files });
}

test("two nodes take turns with a cart", { skip: noRedis }, async (t) => {
  const redis = await startRedis(t);
  const shops = [await startNode(t, redis), await startNode(t, redis)];
  const shopper = shops[0].shopper();
  const other = shops[1].shopper(shopper.cookies);
  for (const item of ["apple", "pear", "apple"]) {
    assert.equal((await shopper.send(`/add/${item}`)).status, 200);
    assert.equal((await other.send(`/add/${item}`)).status, 200);
  }
  assert.deepEqual(await shopper.cart(), { apple: 4, pear: 2 });
  assert.deepEqual(await other.cart(), { apple: 4, pear: 2 });
});

test("a cart is filled while Redis is killed and started again", { skip: noRedis }, async (t) => {
  const redis = await startRedis(t);
  const shops = [await startNode(t, redis), await startNode(t, redis)];
  const shopper = shops[0].shopper();
  const other = shops[1].shopper(shopper.cookies);
  await shopper.send("/add/before");
  assert.deepEqual(await other.cart(), { before: 1 });
  await redis.kill();
  await shops[0].holdfast.waitForLog(/\[error\].* session zone "carts": lost its store redis:\/\/127.0.0.1:\d+: /);
  for (const item of ["apple", "apple", "pear"]) assert.equal((await shopper.send(`/add/${item}`)).status, 200);
  assert.equal((await other.send("/add/plum")).status, 200);
  assert.deepEqual(await shopper.cart(), { before: 1, apple: 2, pear: 1 });
  assert.deepEqual(await other.cart(), { before: 1, plum: 1 });
  await redis.start();
  for (const { holdfast } of shops) {
    await holdfast.waitForLog(/ its store redis:\S+ .*it was told of 1 session that/);
  }
  const all = { before: 1, apple: 2, pear: 1, plum: 1 };
  for (const one of [shopper, other]) await waitFor(async () => isDeepStrictEqual(await one.cart(), all));
  const lost = shops[0].holdfast.errorLog().match(/lost its store/g);
  assert.equal(lost?.length, 1);
});

test("Redis that answers nothing costs a request's time once, and nothing that is confirmed", {
  skip: noRedis,
}, async (t) => {
  const redis = await startRedis(t);
  const shop = await startNode(t, redis, { http: "session_timeout 2s;" });
  const shopper = shop.shopper();
  await shopper.send("/add/apple");
  redis.signal("SIGSTOP");
  const began = Date.now();
  for (let number = 0; number < 20; number++) assert.equal((await shopper.send("/add/apple")).status, 200);
  // Each of the two workers waits once.
  assert.ok(Date.now() - began < 15_000, `${Date.now() - began} ms`);
  assert.deepEqual(await shopper.cart(), { apple: 21 });
  redis.signal("SIGCONT");
  await shop.holdfast.waitForLog(/it was told of 1 session that/);
  assert.deepEqual(await shopper.cart(), { apple: 21 });
  const other = (await startNode(t, redis)).shopper(shopper.cookies);
  assert.deepEqual(await other.cart(), { apple: 21 });
});

test("what waits for Redis outlives Holdfast", { skip: noRedis }, async (t) => {
  const redis = await startRedis(t);
  const shop = await startNode(t, redis);
  const shopper = shop.shopper();
  await shopper.send("/add/apple");
  await redis.kill();
  await shopper.send("/add/apple");
  await shopper.send("/add/pear");
  shop.holdfast.signal("SIGKILL");
  await shop.holdfast.stop();
  await shop.start();
  assert.deepEqual(await shopper.cart(), { apple: 2, pear: 1 });
  await shopper.send("/add/plum");
  await redis.start();
  await shop.holdfast.waitForLog(/it was told of 1 session that changed meanwhile/);
  const other = (await startNode(t, redis)).shopper(shopper.cookies);
  assert.deepEqual(await other.cart(), { apple: 2, pear: 1, plum: 1 });
});

test("Redis that has no room is told when it has", { skip: noRedis }, async (t) => {
  const redis = await startRedis(t);
  const shop = await startNode(t, redis);
  const shopper = shop.shopper();
  await shopper.send("/add/apple");
  await redis.say("CONFIG", "SET", "maxmemory", "1");
  for (const item of ["apple", "pear"]) assert.equal((await shopper.send(`/add/${item}`)).status, 200);
  assert.deepEqual(await shopper.cart(), { apple: 2, pear: 1 });
  await shop.holdfast.waitForLog(/\[crit\].* session zone "carts": writing to the store failed: OOM /);
  await redis.say("CONFIG", "SET", "maxmemory", "0");
  const other = (await startNode(t, redis)).shopper(shopper.cookies);
  await waitFor(async () => isDeepStrictEqual(await other.cart(), { apple: 2, pear: 1 }));
});

test("what Redis has lost is put back from a node's copy, and what was deleted or renewed is not", {
  skip: noRedis,
}, async (t) => {
  const redis = await startRedis(t);
  const options: ShopOptions = {
    answer(incoming, response) {
      if (incoming.url === "/login") response.setHeader("X-Session-Renew", "1");
      if (incoming.url === "/logout") response.setHeader("X-Session-Delete", "1");
      if (incoming.url === "/set") patch(response, { cart: "full" });
      response.end(JSON.stringify(sessionOf(incoming)));
    },
  };
  const shops = [await startNode(t, redis, options), await startNode(t, redis, options)];
  const shopper = shops[0].shopper();
  await shopper.send("/set");
  const thief = shops[1].shopper(new Map(shopper.cookies));
  assert.deepEqual(await thief.cart(), { cart: "full" });
  await redis.say("FLUSHALL");
  assert.deepEqual(await shopper.cart(), { cart: "full" });
  await shopper.send("/login");
  assert.deepEqual(await thief.cart(), {});
  const other = shops[1].shopper(shopper.cookies);
  assert.deepEqual(await other.cart(), { cart: "full" });
  const late = shops[1].shopper(new Map(shopper.cookies));
  assert.deepEqual(await late.cart(), { cart: "full" });
  await shopper.send("/logout");
  assert.deepEqual(await late.cart(), {});
});

test("a session that was renewed while Redis was away is so for all", { skip: noRedis }, async (t) => {
  const redis = await startRedis(t);
  const options: ShopOptions = {
    answer(incoming, response) {
      if (incoming.url === "/login") response.setHeader("X-Session-Renew", "1");
      const [, name] = /^\/set\/(\w+)/.exec(incoming.url ?? "") ?? [];
      if (name !== undefined) patch(response, { [name]: true });
      response.end(JSON.stringify(sessionOf(incoming)));
    },
  };
  const shops = [await startNode(t, redis, options), await startNode(t, redis, options)];
  const shopper = shops[0].shopper();
  await shopper.send("/set/a");
  const thief = shops[1].shopper(new Map(shopper.cookies));
  assert.deepEqual(await thief.cart(), { a: true });
  await redis.kill();
  await shopper.send("/login");
  await shopper.send("/set/b");
  assert.deepEqual(await shopper.cart(), { a: true, b: true });
  await redis.start();
  await shops[0].holdfast.waitForLog(/its store redis:\S+ .*it was told of/);
  const other = shops[1].shopper(shopper.cookies);
  await waitFor(async () => isDeepStrictEqual(await other.cart(), { a: true, b: true }));
  assert.deepEqual(await thief.cart(), {});
});

test("changes that wait have a bound", { skip: noRedis }, async (t) => {
  const redis = await startRedis(t);
  const shop = await startNode(t, redis, { zone: "queue=1", workers: 1 });
  const [first, second] = [shop.shopper(), shop.shopper()];
  for (const one of [first, second]) await one.send("/add/apple");
  await redis.kill();
  assert.equal((await first.send("/add/apple")).status, 200);
  assert.equal((await first.send("/add/apple")).status, 200);
  assert.equal((await second.send("/add/apple")).status, 507);
  assert.deepEqual(await first.cart(), { apple: 3 });
  assert.deepEqual(await second.cart(), { apple: 1 });
});

test("nodes without a file of keys know one another's cookies", { skip: noRedis }, async (t) => {
  const redis = await startRedis(t);
  const zone = `4m store=redis://${redis.address}`;
  const shops = [await startShop(t, { zone }), await startShop(t, { zone })];
  const shopper = shops[0].shopper();
  await shopper.send("/add/apple");
  const other = shops[1].shopper(new Map(shopper.cookies));
  await waitFor(async () => isDeepStrictEqual(await other.cart(), { apple: 1 }));
});

test("sessions that end while Redis is away leave their room to others", { skip: noRedis }, async (t) => {
  const redis = await startRedis(t);
  const shop = await startNode(t, redis, { zone: "queue=1 timeout=1s", workers: 1 });
  await redis.kill();
  // The second one meets the first, unless that has ended already.
  const add = async () => (await shop.shopper().send("/add/apple")).status;
  await waitFor(async () => isDeepStrictEqual([await add(), await add()], [200, 507]), "a session that finds no room");
  await waitFor(async () => (await add()) === 200, "room again");
});
