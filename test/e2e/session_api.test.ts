import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { httpBackend } from "../support/backend.ts";
import { runHoldfast, startHoldfast } from "../support/holdfast.ts";
import { get, RawConnection, type RawResponse, request } from "../support/tcp.ts";

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

test("a condition is never passed over", async (t) => {
  const { ask } = await startApi(t);
  const none = { "If-None-Match": "*" };
  const made = await ask(`PATCH ${ID}`, none, { a: 1 });
  assert.equal(made.status, 201);
  assert.equal((await ask(`PATCH ${ID}`, none, { a: 2 })).status, 412);
  const version = `"${versionOf(made)}"`;
  for (const [line, fields] of [
    [`DELETE ${ID}`, none],
    [`PATCH ${ID}`, { "If-None-Match": version, "X-Session-Version": "0" }],
    [`POST ${ID}/renew`, { "If-Match": '"1"' }],
    [`POST ${ID}/touch`, none],
  ] as const) {
    assert.equal((await ask(line, fields, line.startsWith("PATCH") ? { a: 3 } : undefined)).status, 400, line);
  }
  assert.equal((await ask(`GET ${ID}`)).body, '{"a":1}');
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

test("a session is made under a new id, gets another one, and its time begins anew", async (t) => {
  const { ask } = await startApi(t, { zone: "4m timeout=1h" });
  const made = await ask("POST", {}, { cart: 1 });
  assert.equal(made.status, 201);
  const { id, cookie, expires_in: left } = JSON.parse(made.body);
  assert.match(id, /^[\w-]{22}$/);
  assert.ok(made.header("location")?.endsWith(`/api/${id}`));
  assert.equal(cookie.split(".")[0], id);
  assert.ok(left > 3590 && left <= 3600, String(left));
  const renewed = await ask(`POST ${id}/renew`);
  assert.equal(renewed.status, 201);
  const other = JSON.parse(renewed.body).id;
  assert.notEqual(other, id);
  assert.equal((await ask(`GET ${id}`)).status, 404);
  assert.equal((await ask(`GET ${other}`)).body, '{"cart":1}');
  const touched = await ask(`POST ${other}/touch`);
  assert.equal(touched.status, 200);
  assert.equal(versionOf(touched), versionOf(renewed));
  for (const line of [`POST ${ID}/touch`, `POST ${ID}/renew`, `POST ${other}/sell`, `POST ${other}/touch/it`]) {
    assert.equal((await ask(line)).status, 404, line);
  }
});

test("who knows a version is told when it is still the same", async (t) => {
  const { ask } = await startApi(t);
  const version = versionOf(await ask(`PUT ${ID}`, { "If-None-Match": "*" }, { a: 1 }));
  const same = await ask(`GET ${ID}`, { "If-None-Match": `"7", W/"${version}"` });
  assert.equal(same.status, 304);
  assert.equal(same.header("etag"), `"${version}"`);
  assert.equal(same.body, "");
  assert.equal((await ask(`GET ${ID}`, { "If-None-Match": '"7"' })).status, 200);
  assert.equal((await ask(`GET ${ID}`, { "If-Match": '"7"' })).status, 412);
  const head = await ask(`HEAD ${ID}`);
  assert.equal(head.status, 200);
  assert.equal(head.header("content-length"), "7");
});

test("what is wrong with a request is said in JSON", async (t) => {
  const { ask } = await startApi(t, { zone: "4m max_size=1k" });
  const create = { "If-None-Match": "*" };
  const wrong: readonly (readonly [number, string, Record<string, string>?, unknown?])[] = [
    [400, "GET short"],
    [400, `GET ${ID.replace(/A$/, "B")}`],
    [405, "GET"],
    [405, `POST ${ID}`],
    [405, `GET ${ID}/touch`],
    [400, `PUT ${ID}`, create, "[1]"],
    [400, `PUT ${ID}`, create, "{"],
    [400, `PUT ${ID}`, create, ""],
    [400, `PUT ${ID}`, create, '{"a":"\\ud800"'],
    [400, `PUT ${ID}`, { "If-Match": "7" }, {}],
    [400, `PUT ${ID}`, { "If-Match": '"7", "8"' }, {}],
    [415, `PUT ${ID}`, { ...create, "Content-Type": "text/plain" }, {}],
    [415, `PUT ${ID}`, { ...create, "Content-Type": "application/merge-patch+json" }, {}],
    [413, `PUT ${ID}`, create, { a: "x".repeat(1024) }],
    [413, `PUT ${ID}`, create, { a: "x".repeat(9000) }],
  ];
  for (const [status, line, fields, body] of wrong) {
    const response = await ask(line, fields, body);
    assert.equal(response.status, status, `${line}: ${response.body}`);
    assert.equal(typeof JSON.parse(response.body).error, "string", line);
    assert.equal(response.header("content-type"), "application/json");
  }
  assert.equal(
    (await ask(`PUT ${ID}`, { ...create, "Content-Type": "application/json; charset=utf-8" }, {})).status,
    201,
  );
});

test("bodies come in chunks or with Expect, and connections are kept", async (t) => {
  const { holdfast } = await startApi(t, { zone: "4m max_size=1k" });
  const connection = await RawConnection.open(holdfast.port);
  const put = `PUT /api/${ID} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n`;
  connection.write(`${put}If-None-Match: *\r\nTransfer-Encoding: chunked\r\n\r\n`);
  connection.write('4\r\n{"a"\r\n3\r\n:1}\r\n0\r\n\r\n');
  const made = await connection.readResponse();
  assert.equal(made.status, 201);
  const match = `If-Match: "${made.header("x-session-version")}"\r\n`;
  connection.write(`${put}${match}Expect: 100-continue\r\nContent-Length: 7\r\n\r\n`);
  assert.equal((await connection.readResponse()).status, 100);
  connection.write('{"a":2}');
  assert.equal((await connection.readResponse()).status, 200);
  // One that is too large is dropped, whether it says so or not.
  connection.write(
    `${put}If-None-Match: *\r\nTransfer-Encoding: chunked\r\n\r\n${`400\r\n${"x".repeat(1024)}\r\n`.repeat(5)}0\r\n\r\n`,
  );
  assert.equal((await connection.readResponse()).status, 413);
  connection.write(`GET /api/${ID} HTTP/1.1\r\nHost: a\r\n\r\n`);
  assert.equal((await connection.readResponse()).body, '{"a":2}');
  connection.close();
  const old = await request(holdfast.port, `GET /api/${ID} HTTP/1.0\r\n\r\n`);
  assert.equal(old.body, '{"a":2}');
});

test("a visitor whose session the server made through the API gets its cookie", async (t) => {
  let api = 0;
  const backend = await httpBackend(t, async (incoming, response) => {
    const { "x-session-id": id, "x-session-version": version } = incoming.headers;
    if (incoming.url === "/add") {
      const answer = await fetch(`http://127.0.0.1:${api}/api/${id}`, {
        method: "PATCH",
        headers: { "Content-Type": "application/merge-patch+json", "X-Session-Version": String(version) },
        body: '{"cart":"full"}',
      });
      assert.ok(answer.ok);
    }
    response.end(String(incoming.headers["x-session-data"]));
  });
  const holdfast = await startHoldfast(t, {
    config: ([port, inner]) => `user root; worker_processes 2; http { session_zone carts:4m;
      server { listen 127.0.0.1:${inner}; location /api/ { session_api carts; ${GUARD} } }
      server { listen 127.0.0.1:${port}; location / { session carts; proxy_pass http://${backend.address}; } } }`,
  });
  api = holdfast.ports[1];
  const nobody = await get(holdfast.port, "/");
  assert.equal(nobody.header("set-cookie"), undefined);
  const added = await get(holdfast.port, "/add");
  const cookie = added.header("set-cookie")?.split(";")[0];
  assert.match(cookie ?? "", /^HFSESSION=/);
  const next = await request(
    holdfast.port,
    `GET / HTTP/1.1\r\nHost: a\r\nCookie: ${cookie}\r\nConnection: close\r\n\r\n`,
  );
  assert.equal(Buffer.from(next.body, "base64").toString(), '{"cart":"full"}');
});

test("an API that is open to everybody is warned of, and others are not", async (t) => {
  const errors = async (location: string, server = "") => {
    const { stderr } = await runHoldfast(t, {
      args: ["-t"],
      config: `http { session_zone carts:4m; server { listen 127.0.0.1:1; ${server} location /api/ { session_api carts; ${location} } } }`,
    });
    return stderr;
  };
  assert.match(await errors(""), /\[warn\] "session_api" is open to everybody: .* in .*:1/);
  for (const guard of ["allow all;", "deny all;", "auth_basic a; auth_basic_user_file b;"]) {
    assert.doesNotMatch(await errors(guard), /open to everybody/);
    assert.doesNotMatch(await errors("", guard), /open to everybody/);
  }
});
