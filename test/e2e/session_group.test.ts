import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { isDeepStrictEqual } from "node:util";
import { noRedis, type Redis, startRedis } from "../support/redis.ts";
import { type Shop, type ShopOptions, startShop } from "../support/shop.ts";
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
    await holdfast.waitForLog(/\[notice\].* its store redis:\S+ is back after \d+ s, it was told of 1 session that/);
  }
  const all = { before: 1, apple: 2, pear: 1, plum: 1 };
  for (const one of [shopper, other]) await waitFor(async () => isDeepStrictEqual(await one.cart(), all));
  const lost = shops[0].holdfast.errorLog().match(/lost its store/g);
  assert.equal(lost?.length, 1);
});
