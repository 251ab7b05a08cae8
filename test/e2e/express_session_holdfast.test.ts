/** The store of packages/express-session-holdfast on a real session API. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { type TestContext, test } from "node:test";
import { promisify } from "node:util";
import { HoldfastStore, type HoldfastStoreOptions } from "../../packages/express-session-holdfast/index.js";
import { startHoldfast } from "../support/holdfast.ts";
import { freePort } from "../support/ports.ts";

async function startStore(t: TestContext, options: Partial<HoldfastStoreOptions> = {}) {
  const { url } = await startHoldfast(t, {
    config: ([port]) => `user root; worker_processes 1; http { session_zone carts:4m max_size=1k;
      server { listen 127.0.0.1:${port}; location /api/ { session_api carts; allow all; } } }`,
  });
  const store = new HoldfastStore({ url: `${url}/api`, ...options });
  type Done = (error?: unknown) => void;
  return {
    store,
    url,
    get: promisify(store.get.bind(store)),
    set: promisify((sid: string, session: object, done: Done) => store.set(sid, session, done)),
    destroy: promisify((sid: string, done: Done) => store.destroy(sid, done)),
    touch: promisify((sid: string, done: Done) => store.touch(sid, {}, done)),
  };
}

test("a session is kept, whatever its id is like, and destroyed", async (t) => {
  const { store, url, get, set, destroy, touch } = await startStore(t);
  const sid = "of express-session, 32 characters";
  assert.equal(await get(sid), null);
  await set(sid, { cart: { apple: 1 }, name: "Zoë" });
  assert.deepEqual(JSON.parse(JSON.stringify(await get(sid))), { cart: { apple: 1 }, name: "Zoë" });
  assert.equal((await fetch(`${url}/api/${store.idOf(sid)}`)).status, 200);
  assert.equal(store.idOf("AAAAAAAAAAAAAAAAAAAAAA"), "AAAAAAAAAAAAAAAAAAAAAA");
  // Who sets a session without having read it replaces it.
  await set(sid, { other: true });
  assert.deepEqual({ ...(await get(sid)), __holdfast: 0 }, { other: true, __holdfast: 0 });
  await touch(sid);
  await destroy(sid);
  await destroy(sid);
  await touch(sid);
  assert.equal(await get(sid), null);
});

test("two requests that run at the same time do not undo one another's changes", async (t) => {
  const { store, get, set } = await startStore(t);
  await set("tabs", { cart: { apple: 1, pear: 1 }, seen: 1, list: [1] });
  const [one, other] = [await get("tabs"), await get("tabs")];
  one.cart.apple = 2;
  delete one.seen;
  other.cart.plum = 1;
  delete other.cart.pear;
  other.list.push(2);
  await set("tabs", one);
  await set("tabs", other);
  const { cart, list, seen } = await get("tabs");
  assert.deepEqual({ cart, list, seen }, { cart: { apple: 2, plum: 1 }, list: [1, 2], seen: undefined });
  // The same member: the newer value stays, and the store says so.
  other.cart.apple = 7;
  const third = await get("tabs");
  third.cart.apple = 8;
  const conflict = once(store, "conflict");
  await set("tabs", third);
  const late = await get("tabs");
  assert.equal(late.cart.apple, 8);
  await set("tabs", other);
  assert.deepEqual(await conflict, ["tabs", ["/cart/apple"]]);
  assert.equal((await get("tabs")).cart.apple, 8);
});

test("a session that is saved twice, or not changed, is what it was", async (t) => {
  const { get, set } = await startStore(t);
  const fresh: Record<string, unknown> = { a: 1 };
  await set("twice", fresh);
  fresh.b = 2;
  await set("twice", fresh);
  await set("twice", fresh);
  assert.equal(JSON.stringify(await get("twice")), '{"a":1,"b":2}');
  assert.equal(JSON.stringify(fresh), '{"a":1,"b":2}');
});

test("what could not be stored is an error with a code", async (t) => {
  const { get, set, destroy } = await startStore(t, { strict: true });
  await assert.rejects(set("large", { a: "x".repeat(2000) }), {
    name: "HoldfastStoreError",
    code: "ETOOLARGE",
    status: 413,
  });
  await set("strict", { a: 1 });
  const [one, other] = [await get("strict"), await get("strict")];
  one.a = 2;
  other.a = 3;
  await set("strict", one);
  await assert.rejects(set("strict", other), { code: "ECONFLICT", status: 409 });
  // Who logs out meanwhile is not logged in again.
  one.a = 4;
  await destroy("strict");
  await assert.rejects(set("strict", one), { code: "EMISSING", status: 404 });
  const nobody = new HoldfastStore({ url: `http://127.0.0.1:${await freePort()}/api/` });
  await assert.rejects(promisify(nobody.get.bind(nobody))("a"), { code: "EUNAVAILABLE" });
});
