import assert from "node:assert/strict";
import { test } from "node:test";
import { startBrowser } from "../support/browser.ts";
import { have } from "../support/have.ts";
import { runHoldfast } from "../support/holdfast.ts";
import { noRedis, startRedis } from "../support/redis.ts";
import { patch, type Shop, sessionOf, startShop } from "../support/shop.ts";
import { get, request } from "../support/tcp.ts";
import { waitFor } from "../support/wait.ts";

/** `session_status`: what operators see of session zones. */

const PAGE = "location /sessions { session_status; } location /api/ { session_api carts; allow all; }";

/** What it says of the zone `carts`. */
async function statusOf({ holdfast }: Shop) {
  const { body, status } = await get(holdfast.port, "/sessions?format=json");
  assert.equal(status, 200);
  const { carts } = JSON.parse(body).zones;
  return carts;
}

test("sessions, reads, writes, conflicts and refusals are counted over all workers", async (t) => {
  const shop = await startShop(t, {
    zone: "4m max_size=1k timeout=10m",
    server: PAGE,
    answer(incoming, response) {
      if (incoming.url === "/large") patch(response, { large: "x".repeat(2000) });
      if (incoming.url === "/old") patch(response, { cart: 2 }).setHeader("X-Session-Version", "1");
      if (incoming.url === "/set") patch(response, { cart: 1 });
      response.end(JSON.stringify(sessionOf(incoming)));
    },
  });
  const [one, other] = [shop.shopper(), shop.shopper()];
  for (const shopper of [one, other]) assert.equal((await shopper.send("/set")).status, 200);
  for (let i = 0; i < 6; i++) await one.cart();
  assert.equal((await one.send("/large")).status, 413);
  assert.equal((await one.send("/old")).status, 200);
  const { path, bytes, ...rest } = await statusOf(shop);
  assert.equal(path, `${shop.holdfast.prefix}/carts.mdb`);
  assert.ok(bytes > 0 && bytes < 1 << 20, `${bytes}`);
  assert.deepEqual(rest, {
    durability: "async",
    timeout: 600,
    sessions: 2,
    items: 0,
    max_bytes: 4 << 20,
    reads: 8,
    writes: 3,
    touches: 0,
    conflicts: 1,
    refused: 1,
    failed: 0,
    evictions: 0,
    ended: 0,
    store: null,
  });
  const id = one.cookies.get("HFSESSION")?.split(".")[0];
  const { port } = shop.holdfast;
  assert.equal((await request(port, `DELETE /api/${id} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`)).status, 204);
  assert.ok(await shop.holdfast.reload());
  const after = await statusOf(shop);
  assert.deepEqual([after.sessions, after.reads, after.writes], [1, 8, 4]);
});

test("what gives way or ends is counted", async (t) => {
  const shop = await startShop(t, {
    zone: "1m timeout=4s",
    server: `${PAGE} proxy_buffer_size 32k; proxy_buffers 8 32k;`,
    answer: (_, response) => void patch(response, { much: "x".repeat(20_000) }).end(),
  });
  // More than there is room for, before the first of them ends.
  for (let i = 0; i < 80; i++) assert.equal((await shop.shopper().send("/")).status, 200);
  await waitFor(async () => (await statusOf(shop)).evictions > 0, "a session to give way");
  await waitFor(async () => {
    const { sessions, evictions, ended } = await statusOf(shop);
    return sessions === 0 && evictions + ended === 80;
  }, "all to end");
});

test("of a group it is said whether its store is up, and what waits for it", { skip: noRedis }, async (t) => {
  const redis = await startRedis(t, { args: ["--requirepass", "secret"], password: "secret" });
  const shop = await startShop(t, {
    zone: `4m store=redis://:secret@${redis.address} queue=1m`,
    server: PAGE,
    http: "session_timeout 10s;",
  });
  const shopper = shop.shopper();
  await shopper.send("/add/apple");
  const store = async () => (await statusOf(shop)).store;
  await waitFor(async () => (await store()).state === "up", "the store to be known");
  const { since, ...up } = await store();
  assert.ok(Math.abs(Date.parse(since) - Date.now()) < 60_000, since);
  assert.deepEqual(up, {
    url: `redis://${redis.address}`,
    state: "up",
    waiting: 0,
    waiting_bytes: 0,
    max_waiting_bytes: 1 << 20,
  });
  await redis.kill();
  await shopper.send("/add/apple");
  await waitFor(async () => (await store()).state === "away", "the store to be away");
  assert.equal((await store()).waiting, 1);
  const page = (await get(shop.holdfast.port, "/sessions")).body;
  assert.match(page, new RegExp(`<p class="store away"><b>away</b><code>redis://${redis.address}</code>`));
  assert.doesNotMatch(page, /secret/);
  await redis.start();
  await waitFor(async () => {
    const { state, waiting } = await store();
    return state === "up" && waiting === 0;
  }, "the store to be told");
});

test("the page is small, shows no session, and fits on a telephone", { skip: have("chromium") }, async (t) => {
  const shop = await startShop(t, { server: PAGE });
  const shopper = shop.shopper();
  await shopper.send("/add/grape");
  const { headers, body } = await get(shop.holdfast.port, "/sessions");
  assert.equal(new Map(headers).get("content-type"), "text/html");
  assert.ok(body.length < 8192, `${body.length}`);
  for (const secret of ["grape", shopper.cookies.get("HFSESSION") ?? "", "http:", "<script"]) {
    assert.ok(!body.includes(secret), secret);
  }
  const browser = await startBrowser(t);
  for (const width of [390, 1280]) {
    await browser.open(`http://127.0.0.1:${shop.holdfast.port}/sessions`);
    await browser.picture(width);
    assert.equal(await browser.evaluate("document.documentElement.scrollWidth <= innerWidth"), true, `${width}`);
  }
  assert.equal(
    await browser.evaluate("document.querySelector('.main').textContent"),
    "1session, each for 30 min after its last use",
  );
});

test("other methods and formats are refused", async (t) => {
  const shop = await startShop(t, { server: PAGE });
  const { port } = shop.holdfast;
  assert.equal((await request(port, "POST /sessions HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")).status, 405);
  assert.equal((await get(port, "/sessions?format=xml")).status, 200);
  const config = "http { server { location / { session_status xml; } } }";
  const { stderr } = await runHoldfast(t, { config, args: ["-t"] });
  assert.match(stderr, /invalid format "xml" in .*:1/);
});
