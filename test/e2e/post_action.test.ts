import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { cannedBackend, httpBackend, tcpBackend } from "../support/backend.ts";
import { have } from "../support/have.ts";
import { type Running, startHoldfast, startNginx } from "../support/holdfast.ts";
import { freePort } from "../support/ports.ts";
import { get, RawConnection, request } from "../support/tcp.ts";

/** post_action: what is done after the response. Each scenario holds for nginx too. */

type Start = (t: TestContext, locations: string) => Promise<Running>;

const files = { "html/page": "page", "html/post": "hidden", "html/large": "x".repeat(8_000_000) };

function configOf(port: number, locations: string): string {
  return `http { log_format brief "$request_method $request_uri $uri $status $body_bytes_sent <$request_completion>";
    access_log logs/access.log brief; keepalive_timeout 60s; server { listen 127.0.0.1:${port}; root html; ${locations} } }`;
}

const PROGRAMS: readonly (readonly [name: string, start: Start, skip: false | string])[] = [
  ["holdfast", (t, locations) => startHoldfast(t, { config: (p) => configOf(p[0], locations), files }), false],
  ["nginx", (t, locations) => startNginx(t, { config: (p) => configOf(p[0], locations), files }), have("nginx")],
];

function scenario(name: string, run: (t: TestContext, start: Start) => Promise<void>): void {
  for (const [program, start, skip] of PROGRAMS) test(`${name} (${program})`, { skip }, (t) => run(t, start));
}

/** A backend that notes what it is asked. */
async function noting(t: TestContext, status = 200) {
  const asked: string[] = [];
  const backend = await httpBackend(t, (incoming, response) => {
    const { method, url, headers } = incoming;
    asked.push(`${method} ${url} ${headers["x-status"] ?? ""} ${headers["x-sent"] ?? ""}`.trimEnd());
    response.writeHead(status);
    response.end("nobody reads this");
  });
  return { asked, address: backend.address };
}

const BRIEF = "logs/access.log";

scenario("a post_action is served once, tells nothing to the client and has the log line", async (t, start) => {
  const program = await start(
    t,
    "location / { post_action /post; } location = /post { internal; } location = /none { post_action @gone; }",
  );
  const connection = await RawConnection.open(program.port);
  connection.write("GET /page HTTP/1.1\r\nHost: a\r\n\r\n");
  assert.equal((await connection.readResponse()).body, "page");
  connection.write("HEAD /page HTTP/1.1\r\nHost: a\r\n\r\n");
  assert.equal((await connection.readResponse({ head: true })).status, 200);
  connection.write(
    "GET /missing HTTP/1.1\r\nHost: a\r\n\r\nGET /page HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
  );
  assert.equal((await connection.readResponse()).status, 404);
  const last = await connection.readResponse();
  assert.equal(last.body, "page");
  assert.equal(await connection.readAll(), "");
  await program.waitForLog(
    /^GET \/page \/post 200 4 <OK>\nHEAD \/page \/post 200 0 <OK>\nGET \/missing \/post 404 \d+ <OK>\nGET \/page \/post 200 4 <OK>\n$/,
    BRIEF,
  );
  assert.equal((await get(program.port, "/none")).status, 404);
  await program.waitForLog(/could not find named location "@gone"/);
});

scenario("a proxied request has a proxied post_action, which the next request waits for", async (t, start) => {
  const first = await noting(t);
  const after = await noting(t, 503);
  const program = await start(
    t,
    `location /app { proxy_pass http://${first.address}; post_action @after; }
     location @after { proxy_set_header X-Status $status; proxy_set_header X-Sent $body_bytes_sent; proxy_pass http://${after.address}; }`,
  );
  const connection = await RawConnection.open(program.port);
  t.after(() => connection.close());
  connection.write("POST /app HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi");
  assert.equal((await connection.readResponse()).body, "nobody reads this");
  connection.write("GET /app HTTP/1.1\r\nHost: a\r\n\r\n");
  assert.equal((await connection.readResponse()).body, "nobody reads this");
  await program.waitForLog(/^POST \/app \/app 503 \d+ <OK>\nGET \/app \/app 503 \d+ <OK>\n$/, BRIEF);
  assert.equal(after.asked.length, 2);
  assert.match(after.asked[0], /^POST \/app 200 \d+$/);
});

scenario("a post_action that fails harms nobody", async (t, start) => {
  const closed = await freePort();
  const silent = await cannedBackend(t, "");
  const program = await start(
    t,
    `location /one { alias html/page; post_action /refused; } location /two { alias html/page; post_action /silent; }
     location /refused { proxy_pass http://127.0.0.1:${closed}; } location /silent { proxy_pass http://${silent.address}; }`,
  );
  assert.equal((await get(program.port, "/one")).body, "page");
  assert.equal((await get(program.port, "/two")).body, "page");
  await program.waitForLog(/^GET \/one \/refused 502 4 <OK>\nGET \/two \/silent 502 4 <OK>\n$/, BRIEF);
});

scenario("a client that goes away is known to the post_action", async (t, start) => {
  const after = await noting(t);
  let asked = () => {};
  const waits = new Promise<void>((resolve) => {
    asked = resolve;
  });
  const hanging = await tcpBackend(t, async (connection) => {
    await connection.readHeader();
    asked();
    await connection.read(() => false);
  });
  const program = await start(
    t,
    `location /hang { proxy_pass http://${hanging.address}; post_action /after; }
     location /after { proxy_set_header X-Status $status; proxy_pass http://${after.address}; }`,
  );
  const connection = await RawConnection.open(program.port);
  connection.write("GET /hang HTTP/1.1\r\nHost: a\r\n\r\n");
  await waits;
  connection.close();
  await program.waitForLog(/^GET \/hang \/after 200 0 <>\n$/, BRIEF);
  assert.deepEqual(after.asked, ["GET /after 009"]);
});

scenario("a file that the client does not take is followed by the post_action", async (t, start) => {
  const program = await start(t, "location /large { post_action /post; } location /post { }");
  const connection = await RawConnection.open(program.port);
  connection.write("GET /large HTTP/1.1\r\nHost: a\r\n\r\n");
  await connection.until((received) => received.length > 1000);
  connection.close();
  await program.waitForLog(/^GET \/large \/post 200 \d+ <>\n$/, BRIEF);
});

scenario("an answer that breaks off does not look complete after the post_action", async (t, start) => {
  const broken = await cannedBackend(t, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n");
  const program = await start(
    t,
    `location /broken { proxy_http_version 1.1; proxy_pass http://${broken.address}; post_action /post; } location /post { }`,
  );
  const { port } = program;
  const connection = await RawConnection.open(port);
  connection.write("GET /broken HTTP/1.1\r\nHost: a\r\n\r\n");
  const received = await connection.readAll();
  assert.match(received, /part/);
  assert.doesNotMatch(received, /\r\n0\r\n|hidden/);
  await program.waitForLog(/^GET \/broken \/post 200 \d+ <.*>\n$/, BRIEF);
});

scenario("a location that inherits its own post_action runs into the limit of redirects", async (t, start) => {
  const program = await start(t, "post_action /post; location / { } location = /closed { return 444; }");
  assert.equal((await get(program.port, "/page")).body, "page");
  await program.waitForLog(/rewrite or internal redirection cycle while internally redirecting to "\/post"/);
  await program.waitForLog(/^GET \/page \/post 500 4 <OK>\n$/, BRIEF);
  const connection = await RawConnection.open(program.port);
  connection.write("GET /closed HTTP/1.1\r\nHost: a\r\n\r\n");
  assert.equal(await connection.readAll(), "");
  await program.waitForLog(/^GET \/closed \/closed 444 0 <>$/m, BRIEF);
});

scenario("a body that nobody has read is dropped after the post_action", async (t, start) => {
  const program = await start(t, "location / { return 200 ok; post_action /post; } location = /post { }");
  const connection = await RawConnection.open(program.port);
  connection.write("POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nabc");
  assert.equal((await connection.readResponse()).body, "ok");
  connection.write("defGET /b HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
  assert.equal((await connection.readResponse()).body, "ok");
  assert.equal(await connection.readAll(), "");
  assert.equal((await request(program.port, "GET /page HTTP/1.0\r\n\r\n")).body, "ok");
});
