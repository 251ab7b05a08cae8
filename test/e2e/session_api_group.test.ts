import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { certificateDirectory, createCertificate, noOpenssl } from "../support/certificates.ts";
import { startHoldfast } from "../support/holdfast.ts";
import { noRedis, type Redis, startRedis } from "../support/redis.ts";
import { type Shop, type ShopOptions, startShop } from "../support/shop.ts";
import { type RawResponse, request } from "../support/tcp.ts";
import { exchangeOverTls } from "../support/tls.ts";
import { waitFor } from "../support/wait.ts";

/** The session API over a zone that a group of nodes shares, and over TLS. */

interface Node {
  readonly shop: Shop;
  /** One request: `ask("PATCH ID", …)`. */
  ask(line: string, fields?: Readonly<Record<string, string>>, body?: unknown): Promise<RawResponse>;
}

async function startNode(t: TestContext, { address }: Redis, options: ShopOptions = {}): Promise<Node> {
  const shop = await startShop(t, {
    http: "session_timeout 10s;",
    files: { "conf/keys": "0123456789abcdef".repeat(4) },
    server: "location /api/ { session_api carts; allow 127.0.0.1; deny all; }",
    ...options,
    zone: `4m keys=keys store=redis://${address} ${options.zone ?? ""}`,
  });
  return { shop, ask: (line, fields, body) => request(shop.holdfast.port, requestText(line, fields, body)) };
}

function requestText(line: string, fields: Readonly<Record<string, string>> = {}, body?: unknown): string {
  const [method, path = ""] = line.split(" ");
  const text = body === undefined ? "" : JSON.stringify(body);
  const all = {
    Host: "a",
    ...(body === undefined ? {} : { "Content-Type": "application/json", "Content-Length": String(text.length) }),
    ...fields,
    Connection: "close",
  };
  const head = Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`);
  return `${method} /api/${path} HTTP/1.1\r\n${head.join("")}\r\n${text}`;
}

function versionOf(response: RawResponse): string {
  return response.header("x-session-version") ?? "";
}

test("two nodes have the same sessions and versions", { skip: noRedis }, async (t) => {
  const redis = await startRedis(t);
  const [one, other] = [await startNode(t, redis), await startNode(t, redis)];
  const made = await one.ask("POST", {}, { cart: { apple: 1, pear: 1 } });
  assert.equal(made.status, 201);
  const { id, cookie } = JSON.parse(made.body);
  const base = { "X-Session-Version": versionOf(made) };
  const found = await other.ask(`GET ${id}`);
  assert.deepEqual(JSON.parse(found.body), { cart: { apple: 1, pear: 1 } });
  assert.equal(found.header("etag"), `"${versionOf(made)}"`);
  assert.equal((await other.ask(`GET ${id}`, { "If-None-Match": `"${versionOf(made)}"` })).status, 304);

  // Both are made from the first version.
  assert.equal((await one.ask(`PATCH ${id}`, base, { cart: { apple: 2 } })).status, 200);
  const late = await other.ask(`PATCH ${id}`, base, { cart: { apple: 9, plum: 1 } });
  assert.equal(late.status, 200);
  assert.deepEqual(JSON.parse(late.body).conflicts, ["/cart/apple"]);
  const merged = { cart: { apple: 2, pear: 1, plum: 1 } };
  for (const { ask } of [one, other]) assert.deepEqual(JSON.parse((await ask(`GET ${id}`)).body), merged);
  const strict = { ...base, "X-Session-Strict": "1" };
  assert.equal((await one.ask(`PATCH ${id}`, strict, { cart: { apple: 3 } })).status, 409);
  const old = await other.ask(`PUT ${id}`, { "If-Match": `"${versionOf(made)}"` }, {});
  assert.equal(old.status, 412);
  assert.equal(versionOf(old), versionOf(late));
  assert.equal((await one.ask(`PUT ${id}`, { "If-Match": `"${versionOf(late)}"` }, { cart: {} })).status, 200);

  // A visitor with that cookie has it too, wherever he goes.
  const visitor = other.shop.shopper(new Map([["HFSESSION", cookie]]));
  await visitor.send("/add/grape");
  assert.deepEqual(JSON.parse((await one.ask(`GET ${id}`)).body), { cart: { grape: 1 } });

  const renewed = JSON.parse((await other.ask(`POST ${id}/renew`)).body).id;
  for (const { ask } of [one, other]) {
    assert.equal((await ask(`GET ${id}`)).status, 404);
    assert.equal((await ask(`GET ${renewed}`)).status, 200);
  }
  assert.equal((await one.ask(`DELETE ${renewed}`)).status, 204);
  assert.equal((await other.ask(`GET ${renewed}`)).status, 404);
  assert.equal((await other.ask(`PUT ${renewed}`, { "If-Match": "*" }, {})).status, 412);
});

test("while Redis is away what is known goes on, and what is not is said to be out of reach", {
  skip: noRedis,
}, async (t) => {
  // Redis answers before its file has a change where the disk is busy, unless it always waits for it.
  const redis = await startRedis(t, { args: ["--appendfsync", "always"] });
  const [one, other] = [await startNode(t, redis), await startNode(t, redis)];
  const known = JSON.parse((await one.ask("POST", {}, { a: 1 })).body).id;
  const strange = JSON.parse((await other.ask("POST", {}, { b: 1 })).body).id;
  const ended = JSON.parse((await one.ask("POST", {}, { c: 1 })).body).id;
  await redis.kill();
  const got = await one.ask(`GET ${known}`);
  assert.equal(got.body, '{"a":1}');
  // There may be a session under that id: it is not to be taken for an empty one.
  const lost = await one.ask(`GET ${strange}`);
  assert.equal(lost.status, 503);
  assert.match(lost.header("retry-after") ?? "", /^\d+$/);
  assert.equal(typeof JSON.parse(lost.body).error, "string");
  const changed = await one.ask(`PUT ${known}`, { "If-Match": `"${versionOf(got)}"` }, { a: 2 });
  assert.equal(changed.status, 200);
  assert.equal((await one.ask(`PUT ${known}`, { "If-Match": `"${versionOf(got)}"` }, { a: 3 })).status, 412);
  assert.equal((await one.ask(`DELETE ${ended}`)).status, 204);
  const made = JSON.parse((await one.ask("POST", {}, { d: 1 })).body).id;
  await redis.start();
  await waitFor(async () => (await other.ask(`GET ${made}`)).body === '{"d":1}', "what was made");
  await waitFor(async () => (await other.ask(`GET ${known}`)).body === '{"a":2}', "what was changed");
  await waitFor(async () => (await other.ask(`GET ${ended}`)).status === 404, "what was ended");
  await waitFor(async () => (await one.ask(`GET ${strange}`)).body === '{"b":1}', "what the other one knew");
});

test("a change for which there is no room until Redis is back gets 507", { skip: noRedis }, async (t) => {
  const redis = await startRedis(t);
  const { ask } = await startNode(t, redis, { zone: "queue=1", workers: 1 });
  const first = await ask("POST", {}, { a: 1 });
  const second = await ask("POST", {}, { b: 1 });
  await redis.kill();
  const put = (made: RawResponse) =>
    ask(`PUT ${JSON.parse(made.body).id}`, { "If-Match": `"${versionOf(made)}"` }, { c: 1 });
  assert.equal((await put(first)).status, 200);
  const refused = await put(second);
  assert.equal(refused.status, 507);
  assert.match(JSON.parse(refused.body).error, /no room/);
});

test("over TLS, to clients with a certificate alone", { skip: noRedis || noOpenssl }, async (t) => {
  const directory = certificateDirectory(t);
  const ca = createCertificate(directory, "ca", { extensions: ["basicConstraints=critical,CA:TRUE"] });
  const own = createCertificate(directory, "api", { issuer: ca, extensions: ["subjectAltName=IP:127.0.0.1"] });
  const shop = createCertificate(directory, "shop", { issuer: ca });
  const redis = await startRedis(t);
  const { port } = await startHoldfast(t, {
    files: { "conf/ca.pem": ca.certificate, "conf/api.pem": own.certificate, "conf/api.key": own.key },
    config: ([listen]) => `user root; worker_processes 2; http { session_timeout 10s;
      session_zone carts:4m store=redis://${redis.address};
      server { listen 127.0.0.1:${listen} ssl; ssl_certificate api.pem; ssl_certificate_key api.key;
        ssl_client_certificate ca.pem; ssl_verify_client on;
        location /api/ { session_api carts; allow 127.0.0.1; deny all; } } }`,
  });
  const client = { ca: ca.certificate, cert: shop.certificate, key: shop.key, rejectUnauthorized: true };
  const ask = async (line: string, fields?: Record<string, string>, body?: unknown) => {
    const answer = await exchangeOverTls(port, requestText(line, fields, body), client);
    return { answer, status: Number(answer.slice(9, 12)), body: answer.slice(answer.indexOf("\r\n\r\n") + 4) };
  };
  const made = await ask("POST", {}, { cart: { apple: 1 }, much: "x".repeat(40_000) });
  assert.equal(made.status, 201);
  const { id, version } = JSON.parse(made.body);
  assert.ok(made.answer.includes(`\r\nLocation: https://a:${port}/api/${id}\r\n`), made.answer);
  assert.equal(JSON.parse((await ask(`GET ${id}`)).body).much.length, 40_000);
  const patched = await ask(`PATCH ${id}`, { "X-Session-Version": String(version) }, { much: null });
  assert.equal(patched.status, 200);
  assert.equal((await ask(`GET ${id}`)).body, '{"cart":{"apple":1}}');
  const { cert: _cert, key: _key, ...nobody } = client;
  const refused = await exchangeOverTls(port, requestText(`GET ${id}`), nobody);
  assert.match(refused, /^HTTP\/1\.1 400 /);
  assert.doesNotMatch(refused, /apple/);
});
