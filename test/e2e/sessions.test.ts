import assert from "node:assert/strict";
import { copyFileSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { isDeepStrictEqual } from "node:util";
import { runHoldfast } from "../support/holdfast.ts";
import { patch, sessionOf, startShop } from "../support/shop.ts";
import { waitFor } from "../support/wait.ts";

/** Session zones: what servers keep in a shopper's session is there whichever server is asked next. */

test("a cart is there on every server, after a reload and after a restart", async (t) => {
  const shop = await startShop(t);
  const shopper = shop.shopper();
  const servers = new Set<string | undefined>();
  for (const item of ["apple", "pear", "apple"]) servers.add((await shopper.send(`/add/${item}`)).header("x-server"));
  assert.equal(servers.size, 2);
  assert.deepEqual(await shopper.cart(), { apple: 2, pear: 1 });
  await shop.holdfast.reload();
  assert.deepEqual(await shopper.cart(), { apple: 2, pear: 1 });
  await shop.holdfast.stop();
  await shop.start();
  assert.deepEqual(await shopper.cart(), { apple: 2, pear: 1 });
});

test("who stores nothing gets no cookie, and who changes it gets no other's session", async (t) => {
  const shop = await startShop(t, { session: "cookie=cart secure httponly samesite=lax expires=1h" });
  const shopper = shop.shopper();
  assert.equal((await shopper.send("/")).header("set-cookie"), undefined);
  const cookie = (await shopper.send("/add/apple")).header("set-cookie");
  assert.match(cookie ?? "", /^cart=[\w-]{22}\.[\w-]{22}; Path=\/; HttpOnly; Max-Age=3600; Secure; SameSite=Lax$/);
  const thief = shop.shopper();
  const [value] = shopper.cookies.values();
  for (const forged of [value.replace(/^./, (one) => (one === "A" ? "B" : "A")), value.slice(0, 22), `${value}A`, ""]) {
    thief.cookies.set("cart", forged);
    assert.deepEqual(await thief.cart(), {});
  }
  thief.cookies.set("cart", value);
  assert.deepEqual(await thief.cart(), { apple: 1 });
});

test("fields of sessions pass neither from clients to servers nor from servers to clients", async (t) => {
  const seen: unknown[] = [];
  const shop = await startShop(t, {
    http: "underscores_in_headers on;",
    answer(incoming, response) {
      const { "x-session-id": id, "x-session-data": data, "x_session-data": other } = incoming.headers;
      seen.push([typeof id === "string" && id !== "evil", data, other]);
      patch(response, { seen: true }).setHeader("X-Session-Version", "0").end();
    },
  });
  const fields = "X-Session-Id: evil\r\nX-Session-Data: e30=\r\nX_Session-Data: e30=\r\nx-session-renew: 1\r\n";
  const response = await shop.shopper().send("/", fields);
  assert.deepEqual(seen, [[true, undefined, undefined]]);
  assert.equal(response.header("x-session-set"), undefined);
  assert.equal(response.header("x-session-version"), undefined);
});

test("a renewed session has another id, and the old one is worth nothing", async (t) => {
  const shop = await startShop(t, {
    answer(incoming, response) {
      if (incoming.url === "/login") response.setHeader("X-Session-Renew", "1");
      if (incoming.url === "/logout") response.setHeader("X-Session-Delete", "1");
      if (incoming.url === "/set") patch(response, { cart: "full" });
      response.end(JSON.stringify(sessionOf(incoming)));
    },
  });
  const shopper = shop.shopper();
  await shopper.send("/set");
  const thief = shop.shopper();
  thief.cookies.set("HFSESSION", shopper.cookies.get("HFSESSION") ?? "");
  await shopper.send("/login");
  assert.notEqual(shopper.cookies.get("HFSESSION"), thief.cookies.get("HFSESSION"));
  assert.deepEqual(await shopper.cart(), { cart: "full" });
  assert.deepEqual(await thief.cart(), {});
  await shopper.send("/logout");
  assert.equal(shopper.cookies.size, 0);
});

test("what a session has no room for is refused, and its old contents stay", async (t) => {
  const shop = await startShop(t, {
    zone: "1m max_size=1k",
    session: "data=100",
    answer(incoming, response) {
      if (incoming.url === "/small") patch(response, { a: "small" });
      if (incoming.url === "/middle") patch(response, { a: "m".repeat(200) });
      if (incoming.url === "/large") patch(response, { a: "l".repeat(2000) });
      if (incoming.url === "/bad") response.setHeader("X-Session-Set", "no base64!");
      if (incoming.url === "/list") patch(response, [1]);
      response.end(JSON.stringify(sessionOf(incoming)));
    },
  });
  const shopper = shop.shopper();
  await shopper.send("/small");
  assert.equal((await shopper.send("/large")).status, 413);
  await shop.holdfast.waitForLog(
    /\[warn\].* session zone "carts": the response makes the session larger than max_size, client/,
  );
  assert.equal((await shopper.send("/bad")).status, 502);
  assert.equal((await shopper.send("/list")).status, 502);
  assert.deepEqual(await shopper.cart(), { a: "small" });
  assert.equal((await shopper.send("/middle")).status, 200);
  // It is larger than what a request carries.
  assert.deepEqual(await shopper.cart(), {});
});

for (const durability of ["memory", "sync"]) {
  test(`session_durability ${durability}: a cart outlives the program`, async (t) => {
    const shop = await startShop(t, { http: `session_durability ${durability};` });
    const inMemory = `/dev/shm/holdfast${join(shop.holdfast.prefix, "carts.mdb").replaceAll("/", "-")}`;
    t.after(() => rmSync(inMemory, { recursive: true, force: true }));
    const shopper = shop.shopper();
    await shopper.send("/add/apple");
    await shopper.send("/add/apple");
    shop.holdfast.signal("SIGKILL");
    await shop.holdfast.stop();
    await shop.start();
    assert.deepEqual(await shopper.cart(), { apple: 2 });
  });
}

test("a store that cannot be opened costs only what needs it, and is used once it can be", async (t) => {
  const shop = await startShop(t, { zone: "4m path=carts", files: { "carts/data.mdb": "this is no database" } });
  const shopper = shop.shopper();
  assert.deepEqual(await shopper.cart(), {});
  assert.equal((await shopper.send("/add/apple")).status, 503);
  await shop.holdfast.waitForLog(/\[crit\].* session zone "carts": opening ".*\/carts" failed: /);
  rmSync(join(shop.holdfast.prefix, "carts/data.mdb"));
  // Each worker looks for itself.
  await waitFor(async () => (await shopper.send("/add/apple")).status === 200);
  await waitFor(async () => JSON.stringify(await shopper.cart()) !== "{}");
});

test("a session that nobody uses ends", async (t) => {
  const shop = await startShop(t, { zone: "4m timeout=1s" });
  const shopper = shop.shopper();
  await waitFor(async () => {
    await shopper.send("/add/apple");
    return isDeepStrictEqual(await shopper.cart(), { apple: 1 });
  }, "a session that has not ended yet");
  const idle = shop.shopper();
  idle.cookies.set("HFSESSION", shopper.cookies.get("HFSESSION") ?? "");
  const before = shopper.cookies.get("HFSESSION");
  await new Promise((resolve) => setTimeout(resolve, 1500));
  assert.deepEqual(await shopper.cart(), {});
  await shopper.send("/add/pear");
  assert.notEqual(shopper.cookies.get("HFSESSION"), before);
  assert.deepEqual(await idle.cart(), {});
});

/** Overwrites what follows the file's first page, which LMDB begins to read with. */
function spoil(path: string): void {
  const bytes = readFileSync(path);
  bytes.fill(0x55, 8192);
  writeFileSync(path, bytes);
}

test("two zones in one directory are refused, however it is written", async (t) => {
  for (const path of ["a.mdb", "./a.mdb/", "b/../a.mdb"]) {
    const config = `http { session_zone a:1m; session_zone b:1m path=${path}; server { location / { session a; } } }`;
    const { stderr, code } = await runHoldfast(t, { args: ["-t"], config });
    assert.equal(code, 1, path);
    assert.match(stderr, /\[emerg\] session zones "a" and "b" have the same path "[^"]*" in /);
    assert.doesNotMatch(stderr, /is not defined/);
  }
});

test("after the system went down a zone goes on from its last snapshot, or else begins empty", async (t) => {
  const shop = await startShop(t);
  const shopper = shop.shopper();
  const path = (name: string): string => join(shop.holdfast.prefix, "carts.mdb", name);
  await shopper.send("/add/apple");
  await shop.holdfast.stop();
  assert.match(readFileSync(path("state"), "utf8"), /^[\w-]+ clean\n$/);

  for (const snapshot of [true, false]) {
    if (snapshot) copyFileSync(path("data.mdb"), path("snapshot.mdb"));
    spoil(path("data.mdb"));
    writeFileSync(path("state"), "another-start-of-the-system 1\n");
    await shop.start();
    const went = snapshot ? "goes on from its last snapshot" : "begins empty";
    await shop.holdfast.waitForLog(
      new RegExp(`\\[warn\\].* the system went down while ".*/carts.mdb" .*the zone ${went}`),
    );
    assert.deepEqual(await shopper.cart(), snapshot ? { apple: 1 } : {});
    await shopper.send("/add/apple");
    await shop.holdfast.stop();
  }
});

test("a full zone lets go of the sessions that nobody has used for longest, and says so", async (t) => {
  const shop = await startShop(t, {
    zone: "1m",
    workers: 1,
    answer(incoming, response) {
      if (incoming.url === "/fill") patch(response, { filling: "x".repeat(2000) });
      response.end(JSON.stringify(sessionOf(incoming).filling === undefined));
    },
  });
  const [first, second] = [shop.shopper(), shop.shopper()];
  await first.send("/fill");
  await second.send("/fill");
  for (let i = 0; i < 600; i++) assert.equal((await shop.shopper().send("/fill")).status, 200);
  const last = shop.shopper();
  await last.send("/fill");
  assert.equal(await first.cart(), true);
  assert.equal(await second.cart(), true);
  assert.equal(await last.cart(), false);
  await shop.holdfast.waitForLog(
    /\[warn\].* session zone "carts": is full: those that would end first give way to new ones/,
  );
});
