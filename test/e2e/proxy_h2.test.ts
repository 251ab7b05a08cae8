/** proxy_http_version 2: connections and what they carry, refusals and what becomes of them, bodies and trailers. */
import assert from "node:assert/strict";
import type { ServerHttp2Stream } from "node:http2";
import { type TestContext, test } from "node:test";
import * as h2 from "../../src/wire/h2/frames.ts";
import { httpBackend } from "../support/backend.ts";
import type { RawH2 } from "../support/h2.ts";
import { h2Backend, RawH2Server } from "../support/h2_backend.ts";
import { type Running, startHoldfast } from "../support/holdfast.ts";
import { get, RawConnection, request } from "../support/tcp.ts";
import { waitFor } from "../support/wait.ts";

function start(t: TestContext, port: number, location = "", http = ""): Promise<Running> {
  return startHoldfast(t, {
    config: ([
      listen,
    ]) => `events {} http { upstream u { server 127.0.0.1:${port}; ${location.includes("#local") ? "" : "keepalive 8;"} }
      ${http} log_format calls '$uri $status $upstream_status'; access_log logs/access.log calls;
      server { listen 127.0.0.1:${listen}; proxy_http_version 2; location / { proxy_pass http://u; ${location} } } }`,
  });
}

const STATUS_200 = [[":status", "200"]] as const;
const text = ({ payload }: { payload: Buffer }) => payload.latin1Slice();

/** The number of the stream that the request for `path` is on, once its head has come. */
async function streamOf(connection: RawH2, index: number): Promise<number> {
  const heads = () => connection.frames.filter(({ type }) => type === h2.HEADERS);
  await waitFor(() => heads().length > index, `request ${index}`);
  return heads()[index].stream;
}

const data = (stream: number, body: string, flags = 0) => h2.frameHead(body.length, h2.DATA, flags, stream) + body;

test("a request and its answer in frames, whose body is as long as they say", async (t) => {
  let seen: Record<string, unknown> = {};
  const backend = await h2Backend(t, (stream, headers) => {
    seen = { ...headers };
    let body = "";
    stream.on("data", (piece: Buffer) => {
      body += piece;
    });
    stream.on("end", () => {
      stream.respond({ ":status": 201, "x-from": "server", "set-cookie": ["a=1", "b=2"] });
      stream.end(`got ${body}`);
    });
  });
  const holdfast = await start(t, backend.port, "proxy_set_header X-Set yes; proxy_set_header Connection close;");
  const answer = await request(
    holdfast.port,
    "POST /path?q HTTP/1.1\r\nHost: a\r\nX-Mine: 1\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\nTE: trailers\r\nContent-Length: 5\r\n\r\nhello",
  );
  assert.deepEqual([answer.status, answer.body], [201, "got hello"]);
  assert.match(answer.raw, /x-from: server\r\n/i);
  assert.match(answer.raw, /a=1[\s\S]*b=2/);
  const { ":path": path, ":authority": authority, "content-length": length, ...others } = seen;
  assert.deepEqual([path, authority, length], ["/path?q", "u", "5"]);
  assert.equal(others["x-set"], "yes");
  assert.equal(others["x-mine"], "1");
  for (const name of ["connection", "x-hop", "te", "host"]) assert.equal(others[name], undefined, name);
});

test("a server that wants no table of header compression is told that there is none", async (t) => {
  const backend = await h2Backend(t, (stream) => stream.end("ok"), { headerTableSize: 0 });
  const holdfast = await start(t, backend.port);
  for (let i = 0; i < 3; i++) assert.equal((await get(holdfast.port, "/")).body, "ok");
  assert.doesNotMatch(holdfast.errorLog(), /\[error\]/);
});

test("connections of HTTP/1 and HTTP/2 to the same server are never taken for one another", async (t) => {
  const requests: string[] = [];
  const one = await httpBackend(t, ({ httpVersion }, response) => {
    requests.push(httpVersion);
    response.end("one");
  });
  const holdfast = await startHoldfast(t, {
    config: ([port]) => `events {} http { upstream u { server ${one.address}; keepalive 8; }
      server { listen 127.0.0.1:${port}; location /one { proxy_pass http://u; }
        location /two { proxy_http_version 2; proxy_pass http://u; } } }`,
  });
  assert.equal((await get(holdfast.port, "/one")).body, "one");
  assert.equal((await get(holdfast.port, "/two")).status, 502);
  assert.equal((await get(holdfast.port, "/one")).body, "one");
  assert.deepEqual(requests, ["1.1", "1.1"]);
});

test("after an answer without a body, a 204, one to HEAD and a request without a body the connection is used again", async (t) => {
  const backend = await h2Backend(t, (stream, headers) => {
    if (headers[":path"] === "/none") stream.respond({ ":status": 204 }, { endStream: true });
    else if (headers[":path"] === "/empty")
      stream.respond({ ":status": 200, "content-length": "0" }, { endStream: true });
    else {
      stream.respond({ ":status": 200, "content-length": headers[":method"] === "HEAD" ? "5" : "2" });
      stream.end(headers[":method"] === "HEAD" ? undefined : "ok");
    }
  });
  const holdfast = await start(t, backend.port);
  assert.equal((await get(holdfast.port, "/none")).status, 204);
  assert.equal((await get(holdfast.port, "/empty")).status, 200);
  const head = await request(holdfast.port, "HEAD / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
  assert.match(head.raw, /content-length: 5/i);
  assert.equal((await get(holdfast.port, "/")).body, "ok");
  assert.equal(backend.streams, 4);
  assert.equal(backend.sessions.length, 1);
});

for (const [what, frames] of [
  ["ends before", (id: number) => data(id, "four", h2.FLAG.END_STREAM)],
  ["is longer than", (id: number) => data(id, "four and more", h2.FLAG.END_STREAM)],
] as const) {
  test(`a body that ${what} its Content-Length says is not passed on as whole`, async (t) => {
    const server = await RawH2Server.start(t);
    const holdfast = await start(t, server.port);
    const answer = get(holdfast.port, "/").catch((error: Error) => error);
    const connection = await server.connection(0);
    const id = await streamOf(connection, 0);
    connection.write(connection.head(id, [...STATUS_200, ["content-length", "8"]], 0), frames(id));
    const got = await answer;
    if (!(got instanceof Error)) assert.ok(got.body.length < 8, `${got.status} "${got.body}"`);
    const log = () => holdfast.errorLog();
    await waitFor(() => /upstream (prematurely closed stream|sent response body larger)/.test(log()), "the log");
  });
}

test("Content-Length beside a head that ends the stream is refused, but for an answer to HEAD", async (t) => {
  const server = await RawH2Server.start(t);
  const holdfast = await start(t, server.port);
  const answer = get(holdfast.port, "/").catch((error: Error) => error);
  const connection = await server.connection(0);
  connection.write(connection.head(await streamOf(connection, 0), [...STATUS_200, ["content-length", "8"]]));
  const got = await answer;
  if (!(got instanceof Error)) assert.equal(got.body, "");
  await waitFor(() => holdfast.errorLog().includes("upstream prematurely closed stream"), "the log");
});

test("trailers are no body, and go on only where they are asked for", async (t) => {
  const backend = await h2Backend(t, (stream) => {
    stream.respond({ ":status": 200 }, { waitForTrailers: true });
    stream.on("wantTrailers", () => stream.sendTrailers({ "x-sum": "42" }));
    stream.end("body");
  });
  const quiet = await start(t, backend.port);
  assert.equal((await get(quiet.port, "/")).body, "body");
  const passing = await start(t, backend.port, "proxy_pass_trailers on;");
  const answer = await request(
    passing.port,
    "GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: TE, close\r\n\r\n",
  );
  assert.match(answer.raw, /\r\n0\r\nx-sum: 42\r\n\r\n$/i);
});

test("a request that the server refuses goes to another connection, with what was sent of its body", async (t) => {
  const server = await RawH2Server.start(t);
  const holdfast = await start(t, server.port, "proxy_request_buffering off;");
  const first = get(holdfast.port, "/first");
  const one = await server.connection(0);
  const id = await streamOf(one, 0);
  one.write(one.head(id, STATUS_200));
  await first;
  // Its body comes as it is sent, and a POST is not repeated but for a refusal.
  const answer = request(
    holdfast.port,
    "POST /post HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 4\r\n\r\nbody",
  );
  const refused = await streamOf(one, 1);
  await one.frame(h2.DATA, refused);
  one.write(h2.rstStream(refused, h2.ERROR.REFUSED_STREAM));
  const again = await streamOf(one, 2);
  assert.equal(text(await one.frame(h2.DATA, again)), "body");
  one.write(one.head(again, STATUS_200, 0), data(again, "done", h2.FLAG.END_STREAM));
  assert.deepEqual([(await answer).status, (await answer).body], [200, "done"]);
});

test("a request that the server refuses when all of an unbuffered body has been sent is repeated with its body", async (t) => {
  const server = await RawH2Server.start(t);
  const holdfast = await start(t, server.port, "proxy_request_buffering off;");
  const client = await RawConnection.open(holdfast.port);
  t.after(() => client.close());
  client.write("POST /post HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbo");
  const one = await server.connection(0);
  const refused = await streamOf(one, 0);
  await one.frame(h2.DATA, refused);
  client.write("dy");
  await waitFor(
    () => one.frames.some(({ type, flags }) => type === h2.DATA && (flags & h2.FLAG.END_STREAM) !== 0),
    "the end of the body",
  );
  one.write(h2.rstStream(refused, h2.ERROR.REFUSED_STREAM));
  const again = await streamOf(one, 1);
  const head = await one.frame(h2.HEADERS, again);
  assert.equal(head.flags & h2.FLAG.END_STREAM, 0, "the body is gone");
  assert.equal(text(await one.frame(h2.DATA, again)), "body");
  one.write(one.head(again, STATUS_200, 0), data(again, "done", h2.FLAG.END_STREAM));
  assert.equal((await client.readResponse()).body, "done");
});

test("a server that goes away has the requests repeated that it did not process, and answers the others", async (t) => {
  const server = await RawH2Server.start(t);
  const holdfast = await start(t, server.port);
  const first = get(holdfast.port, "/first");
  const one = await server.connection(0);
  const processed = await streamOf(one, 0);
  const second = request(
    holdfast.port,
    "POST /second HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 4\r\n\r\nbody",
  );
  const unprocessed = await streamOf(one, 1);
  assert.ok(unprocessed > processed);
  one.write(h2.goaway(processed, h2.ERROR.NO_ERROR));
  const two = await server.connection(1);
  const again = await streamOf(two, 0);
  two.write(two.head(again, STATUS_200, 0), data(again, "second", h2.FLAG.END_STREAM));
  one.write(one.head(processed, STATUS_200, 0), data(processed, "first", h2.FLAG.END_STREAM));
  assert.deepEqual([(await first).body, (await second).body], ["first", "second"]);
  await waitFor(() => one.ended, "the connection of the server that goes away to be closed");
});

test("a server that refuses everything has its requests answered with an error", async (t) => {
  const refused: ServerHttp2Stream[] = [];
  const backend = await h2Backend(t, (stream) => {
    refused.push(stream);
    stream.close(h2.ERROR.REFUSED_STREAM);
  });
  const holdfast = await start(t, backend.port);
  for (let i = 0; i < 3; i++) assert.equal((await get(holdfast.port, "/")).status, 502);
  assert.ok(refused.length <= 15, `${refused.length} tries`);
});

test("a large request body waits for the windows of the server, and a large answer for its client", async (t) => {
  const large = Buffer.alloc(3 * 1024 * 1024, "0123456789abcdef");
  const backend = await h2Backend(t, (stream) => {
    let length = 0;
    stream.on("data", (piece: Buffer) => {
      length += piece.length;
    });
    stream.on("end", () => {
      stream.respond({ ":status": 200, "x-length": String(length) });
      stream.end(large);
    });
  });
  for (const location of ["", "proxy_request_buffering off; proxy_buffering off;"]) {
    const holdfast = await start(t, backend.port, `client_max_body_size 0; ${location}`);
    const answer = await request(
      holdfast.port,
      Buffer.concat([
        Buffer.from(`POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: ${large.length}\r\n\r\n`),
        large,
      ]),
    );
    assert.match(answer.raw, new RegExp(`x-length: ${large.length}\r\n`, "i"));
    assert.equal(answer.body.length, large.length);
    assert.ok(answer.body === large.latin1Slice());
  }
});

test("what a larger initial window lets through follows the acknowledgement of that setting", async (t) => {
  const server = await RawH2Server.start(t, h2.settingsFrame([[h2.SETTING.INITIAL_WINDOW_SIZE, 10]]));
  const holdfast = await start(t, server.port);
  const first = get(holdfast.port, "/first");
  const one = await server.connection(0);
  one.write(one.head(await streamOf(one, 0), STATUS_200));
  await first;
  const answer = request(
    holdfast.port,
    `POST /post HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 20\r\n\r\n${"b".repeat(20)}`,
  );
  const stream = await streamOf(one, 1);
  await one.frame(h2.DATA, stream);
  const before = one.frames.length;
  one.write(h2.settingsFrame([[h2.SETTING.INITIAL_WINDOW_SIZE, 100]]));
  await waitFor(() => one.frames.slice(before).some(({ type }) => type === h2.DATA), "the rest of the body");
  assert.deepEqual(
    one.frames.slice(before).map(({ type }) => type),
    [h2.SETTINGS, h2.DATA],
  );
  one.write(one.head(stream, STATUS_200));
  assert.equal((await answer).status, 200);
});

test("over TLS, h2 is asked for by ALPN; a server that speaks HTTP/1 is no server", async (t) => {
  const backend = await httpBackend(t, (_request, response) => response.end("one"));
  const holdfast = await start(t, 1, `} location /x { proxy_pass http://${backend.address};`);
  assert.equal((await get(holdfast.port, "/x")).status, 502);
  await waitFor(() => /upstream sent (too large|unexpected) http2 frame/.test(holdfast.errorLog()), "the log");
});

test("error_page that asks the same server again, whose connection has just ended, gets another one", async (t) => {
  const server = await RawH2Server.start(t);
  const again = "error_page 502 = @again; } location @again { proxy_pass http://u;";
  const holdfast = await start(t, server.port, again);
  const answer = get(holdfast.port, "/");
  const first = await server.connection(0);
  await first.frame(h2.HEADERS);
  first.socket.end();
  const second = await server.connection(1);
  second.write(second.head(await streamOf(second, 0), STATUS_200));
  assert.equal((await answer).status, 200);
});

test("the rest of a frame whose request has ended is not taken for the next request's answer", async (t) => {
  const server = await RawH2Server.start(t);
  const holdfast = await start(t, server.port);
  const other = get(holdfast.port, "/other");
  const connection = await server.connection(0);
  const otherStream = await streamOf(connection, 0);
  const left = await RawConnection.open(holdfast.port);
  left.write("GET /left HTTP/1.1\r\nHost: a\r\n\r\n");
  const leftStream = await streamOf(connection, 1);
  const frame = data(leftStream, "left".repeat(1000), h2.FLAG.END_STREAM);
  connection.write(connection.head(leftStream, STATUS_200, 0), frame.slice(0, 2000));
  await left.until((received) => received.includes("leftleft"));
  left.close();
  await connection.frame(h2.RST_STREAM, leftStream);
  const next = get(holdfast.port, "/next");
  const nextStream = await streamOf(connection, 2);
  connection.write(frame.slice(2000));
  connection.write(connection.head(nextStream, STATUS_200, 0), data(nextStream, "next", h2.FLAG.END_STREAM));
  connection.write(connection.head(otherStream, STATUS_200, 0), data(otherStream, "other", h2.FLAG.END_STREAM));
  const [nextAnswer, otherAnswer] = await Promise.all([next, other]);
  assert.deepEqual([nextAnswer.status, nextAnswer.body, otherAnswer.body], [200, "next", "other"]);
  assert.equal(server.connections.length, 1);
});
