import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { startHoldfast } from "../support/holdfast.ts";
import { type RawResponse, request } from "../support/tcp.ts";

const ID = "AAAAAAAAAAAAAAAAAAAAAA";
const GUARD = "allow 127.0.0.1; deny all;";

type Ask = (line: string, fields?: Readonly<Record<string, string>>, body?: unknown) => Promise<RawResponse>;

/** `ask("PUT ID", …)`: one request to the API at /api/. A body that is no string is sent as JSON. */
async function startApi(t: TestContext, { zone = "4m", location = GUARD, http = "" } = {}) {
  const holdfast = await startHoldfast(t, {
    config: ([port]) => `user root; worker_processes 2; http { ${http} session_zone carts:${zone};
      server { listen 127.0.0.1:${port}; location /api/ { session_api carts; ${location} } } }`,
  });
  const ask: Ask = (line, fields = {}, body) => {
    const [method, path = ""] = line.split(" ");
    const json = body === undefined || typeof body === "string" ? body : JSON.stringify(body);
    const text = json === undefined ? undefined : Buffer.from(json).latin1Slice();
    const type = method === "PATCH" ? "application/merge-patch+json" : "application/json";
    const all = {
      Host: "a",
      ...(text === undefined ? {} : { "Content-Type": type, "Content-Length": text.length }),
      ...fields,
      Connection: "close",
    };
    const head = Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`);
    return request(holdfast.port, `${method} /api/${path} HTTP/1.1\r\n${head.join("")}\r\n${text ?? ""}`);
  };
  return { holdfast, ask };
}

function versionOf(response: RawResponse): string {
  return response.header("x-session-version") ?? "";
}

test("a session is made, read, replaced and deleted", async (t) => {
  const { holdfast, ask } = await startApi(t);
  assert.equal((await ask(`GET ${ID}`)).status, 404);
  const made = await ask(`PUT ${ID}`, { "If-None-Match": "*" }, { cart: { apple: 1 }, name: "Zoë" });
  assert.equal(made.status, 201);
  assert.equal(made.header("location"), `http://a:${holdfast.port}/api/${ID}`);
  const version = versionOf(made);
  assert.equal(made.header("etag"), `"${version}"`);
  const got = await ask(`GET ${ID}`);
  assert.deepEqual(JSON.parse(got.body), { cart: { apple: 1 }, name: Buffer.from("Zoë").latin1Slice() });
  assert.equal(got.header("content-type"), "application/json");
  assert.equal(got.header("cache-control"), "no-store");
  assert.equal(got.header("etag"), `"${version}"`);
  const left = Number(got.header("x-session-expires-in"));
  assert.ok(left > 1700 && left <= 1800, String(left));
  const replaced = await ask(`PUT ${ID}`, { "If-Match": `"${version}"` }, { other: true });
  assert.equal(replaced.status, 200);
  assert.ok(Number(versionOf(replaced)) > Number(version));
  assert.equal((await ask(`GET ${ID}`)).body, '{"other":true}');
  assert.equal((await ask(`DELETE ${ID}`, { "If-Match": `"${version}"` })).status, 412);
  assert.equal((await ask(`DELETE ${ID}`)).status, 204);
  assert.equal((await ask(`DELETE ${ID}`)).status, 404);
});

test("an old copy never replaces a newer one", async (t) => {
  const { ask } = await startApi(t);
  const old = versionOf(await ask(`PUT ${ID}`, { "If-None-Match": "*" }, { a: 1 }));
  const newer = versionOf(await ask(`PUT ${ID}`, { "If-Match": `"${old}"` }, { a: 2 }));
  const blind = await ask(`PUT ${ID}`, {}, { a: 3 });
  assert.equal(blind.status, 428);
  assert.match(JSON.parse(blind.body).error, /an old copy must not replace a newer one: say If-Match/);
  const late = await ask(`PUT ${ID}`, { "If-Match": `"${old}"` }, { a: 3 });
  assert.equal(late.status, 412);
  assert.equal(versionOf(late), newer);
  assert.equal((await ask(`PUT ${ID}`, { "If-None-Match": "*" }, { a: 3 })).status, 412);
  assert.equal((await ask(`GET ${ID}`)).body, '{"a":2}');
  assert.equal((await ask(`PUT ${ID}`, { "If-Match": "*" }, { a: 4 })).status, 200);
  await ask(`DELETE ${ID}`);
  assert.equal((await ask(`PUT ${ID}`, { "If-Match": "*" }, { a: 5 })).status, 412);
  assert.equal((await ask(`PUT ${ID}`, { "If-Match": `"${newer}"` }, { a: 5 })).status, 412);
  const patched = await ask(`PATCH ${ID}`, { "X-Session-Version": newer }, { a: 5 });
  assert.equal(patched.status, 404);
});

test("patches that know nothing of one another merge by member", async (t) => {
  const { ask } = await startApi(t);
  const made = await ask(`PATCH ${ID}`, { "X-Session-Version": "0" }, { cart: { apple: 1, pear: 1 } });
  assert.equal(made.status, 201);
  const base = { "X-Session-Version": versionOf(made) };
  const one = await ask(`PATCH ${ID}`, base, { cart: { apple: 2 } });
  assert.deepEqual(JSON.parse(one.body).conflicts, []);
  const other = await ask(`PATCH ${ID}`, base, { cart: { apple: 3, pear: null, plum: 1 } });
  assert.equal(other.status, 200);
  assert.deepEqual(JSON.parse(other.body).conflicts, ["/cart/apple"]);
  assert.deepEqual(JSON.parse((await ask(`GET ${ID}`)).body), { cart: { apple: 2, plum: 1 } });
  const strict = await ask(`PATCH ${ID}`, { ...base, "X-Session-Strict": "1" }, { cart: { apple: 4 } });
  assert.equal(strict.status, 409);
  assert.equal(versionOf(strict), versionOf(other));
  const exact = await ask(`PATCH ${ID}`, { "If-Match": `"${base["X-Session-Version"]}"` }, { unrelated: 1 });
  assert.equal(exact.status, 412);
  assert.equal((await ask(`PATCH ${ID}`, { "If-Match": `"${versionOf(other)}"` }, { a: 1 })).status, 200);
  assert.equal((await ask(`PATCH ${ID}`, {}, { a: 1 })).status, 428);
  assert.equal((await ask(`PATCH ${ID}`, { "X-Session-Version": "x" }, { a: 1 })).status, 400);
});
