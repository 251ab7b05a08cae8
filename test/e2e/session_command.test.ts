import assert from "node:assert/strict";
import { test } from "node:test";
import { isDeepStrictEqual } from "node:util";
import { type Outcome, runTool } from "../support/holdfast.ts";
import { noRedis, startRedis } from "../support/redis.ts";
import { patch, type Shop, type Shopper, startShop } from "../support/shop.ts";
import { waitFor } from "../support/wait.ts";

/** `holdfast session …`, which asks at the control socket. */

function session({ holdfast }: Shop, ...words: readonly string[]): Promise<Outcome> {
  return runTool(holdfast, "session", ...words);
}

function idOf({ cookies }: Shopper): string {
  return cookies.get("HFSESSION")?.split(".")[0] ?? "";
}

/** By id, as `session ls --json` has them. */
async function listed(shop: Shop): Promise<Map<string, Record<string, unknown>>> {
  const { stdout, stderr } = await session(shop, "ls", "--json", "carts");
  assert.equal(stderr, "");
  const lines = stdout.split("\n").filter((line) => line !== "");
  return new Map(lines.map((line) => JSON.parse(line)).map((one) => [one.id, one]));
}

test("sessions are listed without what is in them, shown, and ended", async (t) => {
  const shop = await startShop(t);
  const shoppers = [shop.shopper(), shop.shopper()];
  for (const one of shoppers) await one.send("/add/apple");
  const list = await session(shop, "ls", "carts");
  assert.equal(list.stderr, "");
  assert.equal(list.code, 0);
  const [heading, ...rows] = list.stdout.trimEnd().split("\n");
  assert.match(heading, /^STATE +SIZE +AGE +LEFT {2}ID$/);
  for (const row of rows) assert.match(row, /^stored +20 +\d +1[78]\d\d {2}[\w-]{22}$/);
  assert.deepEqual(rows.map((row) => row.slice(-22)).sort(), shoppers.map(idOf).sort());
  assert.deepEqual([...(await listed(shop)).keys()].sort(), shoppers.map(idOf).sort());

  const id = idOf(shoppers[0]);
  const shown = await session(shop, "show", "carts", id);
  assert.ok(shown.stdout.startsWith(`id      ${id}\nstate   stored\nversion 1`), shown.stdout);
  assert.match(shown.stdout, /\ncreated 2\S+Z, \d s ago\nends {4}2\S+Z, in 1\d\d\d s\nsize {4}20 bytes\n\n/);
  assert.deepEqual(JSON.parse(shown.stdout.slice(shown.stdout.indexOf("\n\n"))), { cart: { apple: 1 } });
  const json = JSON.parse((await session(shop, "show", "--json", "carts", id)).stdout);
  assert.deepEqual(json.data, { cart: { apple: 1 } });

  assert.equal((await session(shop, "drop", "carts", id)).stdout, `dropped: ${id}\n`);
  assert.deepEqual(await shoppers[0].cart(), {});
  assert.deepEqual(await shoppers[1].cart(), { apple: 1 });
  const again = await session(shop, "drop", "carts", id);
  assert.deepEqual([again.code, again.stderr], [1, `holdfast: there is no session "${id}" in zone "carts"\n`]);
});

test("what is in a session comes as it is, and cannot write to the terminal", async (t) => {
  const value = { name: "Zoë 购物车", evil: "\u001b[2J\u009b2J\u007f\n\nstate" };
  const shop = await startShop(t, { answer: (_, response) => void patch(response, value).end() });
  const shopper = shop.shopper();
  await shopper.send("/");
  for (const words of [["show"], ["show", "--json"]]) {
    const { stdout } = await session(shop, ...words, "carts", idOf(shopper));
    const text = Buffer.from(stdout, "latin1").toString();
    assert.doesNotMatch(text.replaceAll("\n", ""), /\p{Cc}/u);
    const data = words.length > 1 ? JSON.parse(text).data : JSON.parse(text.slice(text.indexOf("{")));
    assert.deepEqual(data, value);
  }
});

test("what is wrong is said in a sentence, and no cookie is repeated", async (t) => {
  const shop = await startShop(t);
  const shopper = shop.shopper();
  await shopper.send("/add/apple");
  const cookie = shopper.cookies.get("HFSESSION") ?? "";
  for (const [words, sentence] of [
    [["ls", "two"], 'there is no session zone "two" (there are: carts)'],
    [[], "session: ls, show or drop?"],
    [["purge", "carts"], 'session: there is no "purge", but ls, show and drop'],
    [["ls"], "session ls: which zone?"],
    [["drop", "carts"], "session drop: which id?"],
    [["ls", "carts", "x"], 'session ls: what is "x"?'],
    [["show", "carts", cookie], "that is no session's id, which has 22 characters of A-Z a-z 0-9 - _"],
  ] as const) {
    const { code, stdout, stderr } = await session(shop, ...words);
    assert.deepEqual({ code, stdout, stderr }, { code: 1, stdout: "", stderr: `holdfast: ${sentence}\n` });
  }
});

test("many sessions are listed, each once", async (t) => {
  const shop = await startShop(t);
  const ids = new Set<string>();
  for (let number = 0; number < 450; number++) {
    const shopper = shop.shopper();
    await shopper.send("/add/apple");
    ids.add(idOf(shopper));
  }
  assert.deepEqual(new Set((await listed(shop)).keys()), ids);
});

test("of a group's zone, what its store has is shown, and what it is still to be told", {
  skip: noRedis,
}, async (t) => {
  const redis = await startRedis(t);
  const options = {
    zone: `4m store=redis://${redis.address} keys=keys`,
    files: { "conf/keys": "0123456789abcdef".repeat(4) },
    http: "session_timeout 3s;",
  };
  const shops = [await startShop(t, options), await startShop(t, options)];
  const [one, other] = [shops[0].shopper(), shops[0].shopper()];
  await one.send("/add/apple");
  const { data } = JSON.parse((await session(shops[1], "show", "--json", "carts", idOf(one))).stdout);
  assert.deepEqual(data, { cart: { apple: 1 } });
  await redis.kill();
  for (const shopper of [one, other]) await shopper.send("/add/pear");
  const waiting = await listed(shops[0]);
  assert.deepEqual(
    [one, other].map((shopper) => waiting.get(idOf(shopper))?.state),
    ["waits", "waits"],
  );
  assert.equal(waiting.size, 2);
  const shown = await session(shops[0], "show", "carts", idOf(other));
  assert.match(shown.stdout, /\nstate {3}waits for the store of its group\n/);
  assert.equal((await session(shops[0], "drop", "carts", idOf(one))).code, 0);
  assert.equal((await listed(shops[0])).size, 1);
  await redis.start();
  await waitFor(async () => (await listed(shops[0])).get(idOf(other))?.state === "stored");
  // Until that node has its store back too, it knows neither.
  const [gone, kept] = [one, other].map(({ cookies }) => shops[1].shopper(new Map(cookies)));
  await waitFor(async () => isDeepStrictEqual(await kept.cart(), { pear: 1 }));
  // What was dropped may be told after what waits.
  await waitFor(async () => isDeepStrictEqual(await gone.cart(), {}));
});
