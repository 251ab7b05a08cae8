import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { fileURLToPath } from "node:url";
import { cannedBackend, httpBackend } from "../support/backend.ts";
import { bundled, type Running, startHoldfast } from "../support/holdfast.ts";
import { openBy, workersOf } from "../support/processes.ts";
import { get, RawConnection, request } from "../support/tcp.ts";

const THROWING = fileURLToPath(new URL("../support/throwing_main.ts", import.meta.url));
const LOG = `log_format short "$request_method $request_uri $status"; access_log logs/access.log short;`;

function startThrowing(t: TestContext, server: string, http = ""): Promise<Running> {
  return startHoldfast(t, {
    entry: bundled(THROWING),
    files: { "html/file": "a file" },
    config: ([port]) =>
      `worker_processes 1; http { ${LOG} ${http} server { listen 127.0.0.1:${port}; location / { return 200 alive; }
        location /stub { stub_status; access_log off; } ${server} } }`,
  });
}

/** The worker that served before serves still. */
async function lives(holdfast: Running): Promise<void> {
  assert.equal((await get(holdfast.port, "/alive")).body, "alive");
  assert.doesNotMatch(holdfast.errorLog(), /exited/);
  // Only the connection that asks is there, and only its request is at work.
  assert.match(
    (await get(holdfast.port, "/stub")).body,
    /^Active connections: 1 \n(?:.*\n)*Reading: 0 Writing: 1 Waiting: 0/,
  );
}

/** The line an exception under that URI leaves in the log. */
function logged(uri: string): RegExp {
  const place = "\\(/[^\\n]*throwing_main\\.ts:\\d+:\\d+\\)";
  return new RegExp(
    `\\[alert\\] [^\\n]*exception: TypeError: thrown on demand at [^\\n]*${place}[^\\n]*, client: 127\\.0\\.0\\.1, [^\\n]*request: "[A-Z]+ ${uri} HTTP/1\\.1"`,
  );
}

function locations(places: readonly string[]): string {
  return places.map((place) => `location /${place} { throw_at ${place}; try_files /file =404; }`).join(" ");
}

test("an exception before anything was answered is a 500, logged with its stack, and the worker lives", async (t) => {
  const places = ["rewrite", "access", "content", "header_filter", "deferred", "deadline", "callback"];
  const holdfast = await startThrowing(t, locations(places));
  for (const place of places) {
    const connection = await RawConnection.open(holdfast.port);
    connection.write(`GET /${place} HTTP/1.1\r\nHost: a\r\n\r\nGET /never HTTP/1.1\r\nHost: a\r\n\r\n`);
    assert.equal((await connection.readResponse()).status, 500, place);
    assert.equal(await connection.readAll(), "", "what follows on the connection is not answered");
    connection.close();
    await holdfast.waitForLog(logged(`/${place}`));
    await lives(holdfast);
    await holdfast.waitForLog(/^GET \/\w+ 500\n(?:.*\n)*$/, "logs/access.log");
  }
});

test("an exception while a file is open closes it", async (t) => {
  const holdfast = await startThrowing(t, "location /file { throw_at header_filter; }");
  for (let i = 0; i < 5; i++)
    assert.equal((await request(holdfast.port, "GET /file HTTP/1.1\r\nHost: a\r\n\r\n")).status, 500);
  const [worker] = workersOf(holdfast.pid);
  assert.deepEqual(
    openBy(worker).filter((link) => link.endsWith("html/file")),
    [],
  );
});

test("an exception while a body is received is a 500", async (t) => {
  const places = ["body_read", "body_sink"];
  const holdfast = await startThrowing(t, locations(places));
  for (const place of places) {
    const connection = await RawConnection.open(holdfast.port);
    connection.write(`POST /${place} HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n`);
    connection.write("body");
    assert.equal((await connection.readResponse()).status, 500, place);
    connection.close();
    await holdfast.waitForLog(logged(`/${place}`));
    await lives(holdfast);
    await holdfast.waitForLog(new RegExp(`^POST /${place} 500$`, "m"), "logs/access.log");
  }
});

test("an exception where no 500 can be sent any more closes the connection; the request is still logged", async (t) => {
  const places = ["every_header_filter", "body_filter"];
  const holdfast = await startThrowing(t, locations(places));
  for (const place of places) {
    const connection = await RawConnection.open(holdfast.port);
    connection.write(`GET /${place} HTTP/1.1\r\nHost: a\r\n\r\n`);
    assert.doesNotMatch(await connection.readAll(), /a file/);
    connection.close();
    await holdfast.waitForLog(logged(`/${place}`));
    await lives(holdfast);
  }
  await holdfast.waitForLog(/^GET \/every_header_filter 500\n/m, "logs/access.log");
  await holdfast.waitForLog(/^GET \/body_filter 200\n/m, "logs/access.log");
});

test("an exception after the answer costs nothing but its line in the log", async (t) => {
  const places = ["cleanup", "log"];
  const holdfast = await startThrowing(t, locations(places));
  for (const place of places) {
    const connection = await RawConnection.open(holdfast.port);
    connection.write(
      `GET /${place} HTTP/1.1\r\nHost: a\r\n\r\nGET /alive HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`,
    );
    assert.equal((await connection.readResponse()).status, 200, place);
    assert.equal((await connection.readResponse()).body, "alive");
    connection.close();
    await holdfast.waitForLog(logged(`/${place}`));
    await lives(holdfast);
  }
  await holdfast.waitForLog(/^GET \/log 200\n/m, "logs/access.log");
});

test("an exception in a backend's event frees its connection and its place", async (t) => {
  const backend = await cannedBackend(t, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", { keep: true });
  const holdfast = await startThrowing(
    t,
    `location /x { throw_at header_filter; proxy_pass http://u; } location /y { throw_at body_filter; proxy_pass http://u; }
     location /ok { proxy_pass http://u; }`,
    `upstream u { zone u 64k; server ${backend.address} max_conns=1; keepalive 2; }`,
  );
  for (let i = 0; i < 3; i++) {
    assert.equal((await get(holdfast.port, "/x")).status, 500);
    assert.notEqual((await get(holdfast.port, "/y").catch(() => ({ body: "cut" }))).body, "ok");
    assert.equal((await get(holdfast.port, "/ok")).body, "ok");
  }
  await lives(holdfast);
});

test("an exception in a subrequest is its own: the main request is answered", async (t) => {
  const places = ["content", "every_header_filter", "deadline"];
  // The main request is still under way when its mirror throws.
  const backend = await httpBackend(t, async (incoming, response) => {
    await holdfast.waitForLog(new RegExp(`thrown on demand[^\\n]*request: "GET ${incoming.url} `));
    response.end("from there");
  });
  const asking = places.map(
    (place) => `location /auth/${place} { auth_request /${place}; try_files /file =404; }
      location /around/${place} { add_after_body /${place}; addition_types *; try_files /file =404; }
      location /mirror/${place} { mirror /${place}; proxy_pass http://${backend.address}; }`,
  );
  const holdfast = await startThrowing(t, `${locations(places)} ${asking.join(" ")}`);
  for (const place of places) {
    assert.equal((await get(holdfast.port, `/auth/${place}`)).status, 500, place);
    const around = (await get(holdfast.port, `/around/${place}`).catch(() => undefined))?.body;
    if (place === "every_header_filter") assert.equal(around, undefined, "its error's page fails too: cut off");
    else assert.match(around ?? "", /^a file<html>[\s\S]*500 Internal Server Error/, place);
    assert.equal((await get(holdfast.port, `/mirror/${place}`)).body, "from there", place);
    await lives(holdfast);
    await holdfast.waitForLog(new RegExp(`^GET /mirror/${place} 200$`, "m"), "logs/access.log");
  }
});

test("a Host that a server_name's pattern gives up on is a 500 where its servers differ in header limits", async (t) => {
  const holdfast = await startHoldfast(t, {
    config: ([port]) =>
      `worker_processes 1; http { ${LOG}
        server { listen 127.0.0.1:${port}; location / { return 200 first; } }
        server { listen 127.0.0.1:${port}; server_name "~^(?<x>(a|aa)+)\\k<x>!$"; large_client_header_buffers 4 16k; } }`,
  });
  const host = `${"a".repeat(60)}!b`;
  for (let i = 0; i < 6; i++) {
    const answer = await request(holdfast.port, `GET /x HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`);
    assert.equal(answer.status, 500);
  }
  assert.equal((await get(holdfast.port, "/")).body, "first");
  assert.doesNotMatch(holdfast.errorLog(), /exited/);
  await holdfast.waitForLog(
    /\[alert\] [^\n]*, client: 127\.0\.0\.1, [^\n]*request: "GET \/x HTTP\/1\.1", host: "a+!b"/,
  );
  await holdfast.waitForLog(/^(?:GET \/x 500\n){6}GET \/ 200\n/, "logs/access.log");
});
