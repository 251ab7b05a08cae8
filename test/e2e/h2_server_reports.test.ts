/** HTTP/2 to servers: what users of other proxies have reported as broken. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { Readable } from "node:stream";
import { type TestContext, test } from "node:test";
import * as h2 from "../../src/wire/h2/frames.ts";
import { encodeField } from "../../src/wire/h2/hpack_encoder.ts";
import { h2Answer, h2Session, type RawH2 } from "../support/h2.ts";
import { h2Backend, RawH2Server } from "../support/h2_backend.ts";
import { type Running, startHoldfast } from "../support/holdfast.ts";
import { get, RawConnection, request } from "../support/tcp.ts";
import { waitFor } from "../support/wait.ts";

function start(t: TestContext, port: number, location = "", http = ""): Promise<Running> {
  return startHoldfast(t, {
    config: ([listen]) => `http { client_max_body_size 0; ${http}
      upstream u { server 127.0.0.1:${port} max_fails=0; keepalive 8; }
      server { listen 127.0.0.1:${listen}; http2 on; proxy_http_version 2; proxy_pass_trailers on;
        location / { proxy_pass http://u; ${location} } location /grpc/ { grpc_pass u; } } }`,
  });
}

const { END_STREAM, END_HEADERS } = h2.FLAG;
const head = (id: number, fields: Readonly<Record<string, string>>, flags = 0): string => {
  const block = Object.entries(fields).map(([name, value]) => encodeField(name, value));
  return h2.frameHead(block.join("").length, h2.HEADERS, END_HEADERS | flags, id) + block.join("");
};
const data = (id: number, body: string, flags = 0): string => h2.frameHead(body.length, h2.DATA, flags, id) + body;
const ok = { ":status": "200" };

/** The stream of the request of that number, from 0, once its head has come. */
async function streamOf(connection: RawH2, index: number): Promise<number> {
  const heads = () => connection.frames.filter(({ type }) => type === h2.HEADERS);
  await waitFor(() => heads().length > index, `request ${index}`);
  return heads()[index].stream;
}

for (const error of [h2.ERROR.NO_ERROR, h2.ERROR.CANCEL]) {
  test(`a whole answer before the request's end, then a reset with error ${error}, is passed on whole`, async (t) => {
    const server = await RawH2Server.start(t);
    const holdfast = await start(t, server.port, "proxy_request_buffering off;");
    // As a server of gRPC answers a call whose client has not said yet that it sends no more.
    const session = h2Session(t, `http://127.0.0.1:${holdfast.port}`);
    const fields = { ":method": "POST", ":path": "/grpc/call", te: "trailers", "content-type": "application/grpc" };
    const call = session.request(fields, { endStream: false });
    const answer = h2Answer(call);
    call.write("message");
    const one = await server.connection(0);
    const id = await streamOf(one, 0);
    await one.frame(h2.DATA, id);
    const trailers = head(id, { "grpc-status": "0" }, END_STREAM);
    one.write(head(id, ok), data(id, "reply".repeat(1000)), trailers, h2.rstStream(id, error));
    await once(call, "trailers");
    call.end();
    const got = await answer;
    assert.deepEqual([got.status, got.body.length, got.trailers["grpc-status"]], [200, 5000, "0"]);
    // And with an upload that has not ended.
    const client = await RawConnection.open(holdfast.port);
    client.write("POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\nbegin");
    const upload = await streamOf(one, 1);
    one.write(head(upload, { ":status": "413" }), data(upload, "too large", END_STREAM), h2.rstStream(upload, error));
    assert.match(await client.until((text) => text.includes("too large")), /^HTTP\/1\.1 413 /);
    client.close();
    const next = get(holdfast.port, "/next");
    const stream = await streamOf(one, 2);
    one.write(head(stream, ok, END_STREAM));
    assert.equal((await next).status, 200);
    assert.equal(server.connections.length, 1);
  });
}

test("a reset behind a whole answer takes nothing from a client that has not read it yet", async (t) => {
  const server = await RawH2Server.start(t);
  const holdfast = await start(t, server.port);
  const session = h2Session(t, `http://127.0.0.1:${holdfast.port}`, { settings: { initialWindowSize: 1000 } });
  const fields = { ":method": "POST", ":path": "/grpc/call", te: "trailers", "content-type": "application/grpc" };
  const call = session.request(fields, { endStream: false });
  const answer = h2Answer(call);
  call.pause();
  call.write("message");
  const one = await server.connection(0);
  const id = await streamOf(one, 0);
  const trailers = head(id, { "grpc-status": "0" }, END_STREAM);
  one.write(head(id, ok), data(id, "x".repeat(10_000)).repeat(20), trailers, h2.rstStream(id, h2.ERROR.NO_ERROR));
  one.write(h2.frameHead(8, h2.PING, 0, 0), "all read");
  await one.frame(h2.PING);
  call.resume();
  await once(call, "trailers");
  call.end();
  const got = await answer;
  assert.deepEqual([got.body.length, got.trailers["grpc-status"]], [200_000, "0"]);
});

test("a reset with NO_ERROR in the middle of an answer is no end of it", async (t) => {
  const server = await RawH2Server.start(t);
  const holdfast = await start(t, server.port);
  const client = await RawConnection.open(holdfast.port);
  client.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  const one = await server.connection(0);
  const id = await streamOf(one, 0);
  one.write(head(id, ok), data(id, "half"));
  await client.until((text) => text.includes("half"));
  one.write(h2.rstStream(id, h2.ERROR.NO_ERROR));
  const text = await client.until(() => false);
  assert.doesNotMatch(text, /\r\n0\r\n\r\n$/);
});

test("requests behind a GOAWAY are repeated although the connection is closed at once", async (t) => {
  const server = await RawH2Server.start(t);
  const holdfast = await start(t, server.port);
  const post = (path: string) =>
    request(holdfast.port, `POST ${path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 4\r\n\r\nbody`);
  const first = post("/first");
  const one = await server.connection(0);
  const processed = await streamOf(one, 0);
  const others = [post("/second"), post("/third")];
  await streamOf(one, 2);
  one.write(head(processed, ok), data(processed, "first", END_STREAM), h2.goaway(processed, h2.ERROR.NO_ERROR));
  one.socket.end();
  const two = await server.connection(1);
  for (let i = 0; i < 2; i++) {
    const id = await streamOf(two, i);
    two.write(head(id, ok), data(id, "again", END_STREAM));
  }
  assert.equal((await first).body, "first");
  for (const other of others) assert.equal((await other).body, "again");
});

test("after a GOAWAY that names no stream yet nothing new goes to that connection, and what is there is answered", async (t) => {
  const server = await RawH2Server.start(t);
  const holdfast = await start(t, server.port);
  const first = get(holdfast.port, "/first");
  const one = await server.connection(0);
  const id = await streamOf(one, 0);
  one.write(h2.goaway(h2.MAX_WINDOW, h2.ERROR.NO_ERROR), head(id, ok), data(id, "fi"));
  const second = get(holdfast.port, "/second");
  const two = await server.connection(1);
  const other = await streamOf(two, 0);
  two.write(head(other, ok), data(other, "second", END_STREAM));
  assert.equal((await second).body, "second");
  one.write(h2.goaway(id, h2.ERROR.NO_ERROR), data(id, "rst", END_STREAM));
  assert.equal((await first).body, "first");
  await waitFor(() => one.ended, "the first connection to be closed");
  assert.doesNotMatch(holdfast.errorLog(), /\[error\]/);
});

test("a connection that its server closes while it carries its next request has that repeated", async (t) => {
  const server = await RawH2Server.start(t);
  const holdfast = await start(t, server.port);
  const first = get(holdfast.port, "/first");
  const one = await server.connection(0);
  one.write(head(await streamOf(one, 0), ok, END_STREAM));
  await first;
  const second = get(holdfast.port, "/second");
  await streamOf(one, 1);
  one.socket.end();
  const two = await server.connection(1);
  two.write(head(await streamOf(two, 0), ok, END_STREAM));
  assert.equal((await second).status, 200);
});

test("an answer without a body may say how long one would be: to HEAD, 204, 304", async (t) => {
  const server = await RawH2Server.start(t);
  const holdfast = await start(t, server.port);
  const asked: readonly (readonly [method: string, status: string])[] = [
    ["HEAD", "200"],
    ["GET", "204"],
    ["GET", "304"],
  ];
  for (const [index, [method, status]] of asked.entries()) {
    const answer = request(holdfast.port, `${method} / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`);
    const one = await server.connection(0);
    const id = await streamOf(one, index);
    one.write(head(id, { ":status": status, "content-length": "5" }, END_STREAM));
    const { status: got, body } = await answer;
    assert.deepEqual([got, body], [Number(status), ""]);
  }
  assert.equal(server.connections.length, 1);
  assert.doesNotMatch(holdfast.errorLog(), /\[error\]/);
});

test("a body behind a 304 goes to nobody, and not to the next response", async (t) => {
  const server = await RawH2Server.start(t);
  const holdfast = await start(t, server.port);
  const client = await RawConnection.open(holdfast.port);
  client.write("GET /one HTTP/1.1\r\nHost: a\r\n\r\n");
  const one = await server.connection(0);
  const id = await streamOf(one, 0);
  one.write(head(id, { ":status": "304", etag: '"e"' }), data(id, "smuggled", END_STREAM));
  const first = await client.until((text) => text.includes("\r\n\r\n"));
  assert.match(first, /^HTTP\/1\.1 304 /);
  const next = get(holdfast.port, "/next");
  const other = await streamOf(one, 1);
  one.write(head(other, ok), data(other, "next", END_STREAM));
  assert.equal((await next).body, "next");
  assert.doesNotMatch(await client.until(() => true), /smuggled/);
  client.close();
});

test("HEAD that is made GET to fill a cache has its body kept", async (t) => {
  let asked = "";
  const backend = await h2Backend(t, (stream, { ":method": method }) => {
    asked += `${method} `;
    stream.respond({ ":status": 200, "content-length": "4" });
    stream.end("kept");
  });
  const cache = "proxy_cache c; proxy_cache_valid 1m; proxy_cache_key $uri; add_header X-Cache $upstream_cache_status;";
  const holdfast = await start(t, backend.port, cache, "proxy_cache_path cache keys_zone=c:1m;");
  const first = await request(holdfast.port, "HEAD /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
  assert.match(first.raw, /content-length: 4\r\n/i);
  await waitFor(async () => (await get(holdfast.port, "/x")).raw.includes("X-Cache: HIT"), "a hit");
  assert.equal((await get(holdfast.port, "/x")).body, "kept");
  assert.match(asked, /^(GET )+$/);
});

test("a server that answers 502 to calls is left alone where grpc_next_upstream has http_502", async (t) => {
  const calls = [0, 0];
  const [bad, good] = await Promise.all(
    ["502", "200"].map((status, i) =>
      h2Backend(t, (stream) => {
        calls[i]++;
        stream.respond(
          { ":status": status, "content-type": "application/grpc", "grpc-status": "0" },
          { endStream: true },
        );
      }),
    ),
  );
  const holdfast = await startHoldfast(t, {
    config: ([
      port,
    ]) => `http { upstream u { server ${bad.address} max_fails=1 fail_timeout=60; server ${good.address}; }
      server { listen 127.0.0.1:${port}; http2 on;
        location / { grpc_pass u; grpc_next_upstream error timeout http_502 non_idempotent; } } }`,
  });
  for (let i = 0; i < 6; i++) {
    const answer = await request(
      holdfast.port,
      "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx",
    );
    assert.equal(answer.status, 200);
  }
  assert.deepEqual(calls, [1, 6]);
});

for (const buffering of ["proxy_buffering off;", "proxy_max_temp_file_size 0;"]) {
  test(`a client that pauses and goes on gets all of a large answer, with ${buffering}`, async (t) => {
    const large = "0123456789abcdef".repeat(2 ** 19);
    const backend = await h2Backend(t, (stream) => {
      stream.respond({ ":status": 200 });
      // In pieces, as Node takes no further stream while it has too much to send.
      Readable.from(large.match(/.{65536}/g) ?? []).pipe(stream);
    });
    const holdfast = await start(t, backend.port, buffering);
    const client = await RawConnection.open(holdfast.port);
    client.write("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    let length = 0;
    for (let pauses = 0; pauses < 5; pauses++) {
      length = (await client.until(({ length: now }) => now > length + 1_000_000)).length;
      client.socket.pause();
      // Meanwhile another request goes over the same connection to its end.
      const other = await get(holdfast.port, "/other");
      assert.ok(other.body === large, `${other.status} ${other.body.slice(0, 100)} ${holdfast.errorLog()}`);
      client.socket.resume();
    }
    const { body } = await client.readResponse();
    assert.ok(body === large, `${body.length} bytes`);
  });
}

test("a server that opens its windows by KiB, and measures the line with PING, takes a large upload", async (t) => {
  const body = "x".repeat(20_000_000);
  const server = await RawH2Server.start(t);
  const holdfast = await start(t, server.port);
  const answer = request(
    holdfast.port,
    `POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
  );
  const one = await server.connection(0);
  const id = await streamOf(one, 0);
  const ping = `${h2.frameHead(8, h2.PING, 0, 0)}measured`;
  let taken = 0;
  const take = (): void => {
    let more = "";
    for (const { type, payload } of one.frames.splice(0)) {
      if (type !== h2.DATA) continue;
      taken += payload.length;
      more += ping;
      for (let left = payload.length; left > 0; left -= 1024) {
        const piece = Math.min(left, 1024);
        more += h2.windowUpdate(id, piece) + h2.windowUpdate(0, piece);
      }
    }
    if (taken === body.length) more += head(id, { ...ok, "x-taken": String(taken) }, END_STREAM);
    if (more !== "") one.write(more);
  };
  one.socket.on("data", take);
  take();
  const { status, raw } = await answer;
  assert.deepEqual([status, /x-taken: 20000000/i.test(raw)], [200, true], holdfast.errorLog());
});

test("a window that is opened by single bytes is not filled with frames of single bytes", async (t) => {
  const server = await RawH2Server.start(t, h2.settingsFrame([[h2.SETTING.INITIAL_WINDOW_SIZE, 0]]));
  const holdfast = await start(t, server.port);
  const first = get(holdfast.port, "/");
  const one = await server.connection(0);
  one.write(head(await streamOf(one, 0), ok, END_STREAM));
  await first;
  const body = "x".repeat(500);
  const answer = request(
    holdfast.port,
    `POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
  );
  const id = await streamOf(one, 1);
  one.write(h2.windowUpdate(id, 1).repeat(body.length));
  const sent = () => one.frames.filter(({ type }) => type === h2.DATA);
  await waitFor(() => sent().reduce((length, { payload }) => length + payload.length, 0) === body.length, "the body");
  // What came in one piece, in a few at most.
  assert.ok(sent().length < 20, `${sent().length} frames`);
  one.write(head(id, ok, END_STREAM));
  assert.equal((await answer).status, 200);
});
