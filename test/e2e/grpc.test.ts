/** grpc_pass: the four kinds of calls, trailers, back pressure, cancellation, many calls on one connection. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { createSecureServer, type ServerHttp2Stream } from "node:http2";
import { type TestContext, test } from "node:test";
import { selfSigned } from "../support/certificates.ts";
import { h2Answer, h2Request, h2Session } from "../support/h2.ts";
import { type H2Backend, h2Backend, unary } from "../support/h2_backend.ts";
import { type Running, startHoldfast } from "../support/holdfast.ts";
import { request } from "../support/tcp.ts";
import { waitFor } from "../support/wait.ts";

function start(t: TestContext, backend: H2Backend, locations: string, http = ""): Promise<Running> {
  return startHoldfast(t, {
    config: ([port]) => `events {} http { upstream calls { server ${backend.address}; } ${http}
      log_format calls '$request_uri $status $upstream_status $upstream_addr'; access_log logs/access.log calls;
      server { listen 127.0.0.1:${port}; http2 on; client_max_body_size 0; ${locations} } }`,
  });
}

const url = ({ port }: Running) => `http://127.0.0.1:${port}`;
const call = (path: string) => ({
  ":method": "POST",
  ":path": path,
  "content-type": "application/grpc",
  te: "trailers",
});

test("a unary call reaches the server as it is, and its answer and trailer come back", async (t) => {
  let seen: Record<string, unknown> = {};
  const backend = await h2Backend(t, (stream, headers) => {
    seen = { ...headers };
    unary(stream, (body) => `got ${body}`);
  });
  const holdfast = await start(
    t,
    backend,
    `location / { grpc_pass grpc://calls; grpc_set_header X-Set $request_method; grpc_set_header Host name; }`,
  );
  const session = h2Session(t, url(holdfast));
  const fields = { ...call("/shop.Cart/Add?x=%2f"), "grpc-timeout": "1S", cookie: ["a=1", "b=2"] };
  const { status, headers, body, trailers } = await h2Request(session, fields, "hello");
  assert.deepEqual([status, headers["content-type"], body], [200, "application/grpc", "got hello"]);
  assert.equal(trailers["grpc-status"], "0");
  assert.equal(seen[":method"], "POST");
  assert.equal(seen[":path"], "/shop.Cart/Add?x=%2f");
  assert.equal(seen[":authority"], "name");
  assert.equal(seen[":scheme"], "http");
  assert.equal(seen.te, "trailers");
  assert.equal(seen["x-set"], "POST");
  assert.equal(seen["grpc-timeout"], "1S");
  assert.equal(seen.cookie, "a=1; b=2");
});

test("a call that fails has its status in its only header block", async (t) => {
  const backend = await h2Backend(t, (stream) => {
    stream.respond({ ":status": 200, "content-type": "application/grpc", "grpc-status": "12" }, { endStream: true });
  });
  const holdfast = await start(t, backend, "location / { grpc_pass calls; }");
  const { headers, body } = await h2Request(h2Session(t, url(holdfast)), call("/a.B/C"), "x");
  assert.deepEqual([headers["grpc-status"], body], ["12", ""]);
});

test("messages of a client's and of a server's stream go on as they come, in both directions at once", async (t) => {
  const backend = await h2Backend(t, (stream) => {
    stream.respond({ ":status": 200, "content-type": "application/grpc" }, { waitForTrailers: true });
    stream.on("data", (piece: Buffer) => stream.write(`<${piece}>`));
    stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": "0" }));
    stream.on("end", () => stream.end("over"));
  });
  const holdfast = await start(t, backend, "location / { grpc_pass calls; }");
  const stream = h2Session(t, url(holdfast)).request(call("/chat.Talk/Both"), { endStream: false });
  const answer = h2Answer(stream);
  let heard = "";
  stream.on("data", (text: string) => {
    heard += text;
  });
  for (const word of ["one", "two", "three"]) {
    stream.write(word);
    await waitFor(() => heard.endsWith(`<${word}>`), `an answer to "${word}" before the next is sent`);
  }
  stream.end();
  const { body, trailers } = await answer;
  assert.deepEqual([body, trailers["grpc-status"]], ["<one><two><three>over", "0"]);
});

test("many calls share a connection, which is used again", async (t) => {
  const held: ServerHttp2Stream[] = [];
  const backend = await h2Backend(t, (stream) => held.push(stream));
  const holdfast = await start(t, backend, "location / { grpc_pass calls; }");
  const session = h2Session(t, url(holdfast));
  const answers = Array.from({ length: 50 }, (_, i) => h2Request(session, call(`/a.B/${i}`), `body ${i}`));
  await waitFor(() => held.length === 50, "all calls at the server");
  for (const stream of held) unary(stream, (body) => body);
  assert.deepEqual(
    (await Promise.all(answers)).map(({ body, trailers }) => `${body} ${trailers["grpc-status"]}`),
    answers.map((_, i) => `body ${i} 0`),
  );
  const more = h2Request(session, call("/a.B/more"), "x");
  await waitFor(() => held.length === 51, "the next call at the server");
  unary(held[50], (body) => body);
  await more;
  assert.equal(backend.sessions.length, 1);
});

test("keepalive_streams 1 gives each call a connection of its own", async (t) => {
  const held: ServerHttp2Stream[] = [];
  const backend = await h2Backend(t, (stream) => held.push(stream));
  const holdfast = await start(
    t,
    backend,
    "location / { grpc_pass alone; }",
    `upstream alone { server ${backend.address}; keepalive 10; keepalive_streams 1; }`,
  );
  const session = h2Session(t, url(holdfast));
  const answers = Array.from({ length: 5 }, (_, i) => h2Request(session, call(`/a.B/${i}`), "x"));
  await waitFor(() => held.length === 5, "all calls at the server");
  assert.equal(backend.sessions.length, 5);
  for (const stream of held) unary(stream, (body) => body);
  await Promise.all(answers);
});

test("no more calls at a time go over a connection than the server takes", async (t) => {
  const held: ServerHttp2Stream[] = [];
  const backend = await h2Backend(t, (stream) => held.push(stream), { maxConcurrentStreams: 3 });
  const holdfast = await start(t, backend, "location / { grpc_pass calls; }");
  const session = h2Session(t, url(holdfast));
  const first = h2Request(session, call("/first"), "x");
  await waitFor(() => held.length === 1, "the first call");
  unary(held[0], (body) => body);
  await first;
  const answers = Array.from({ length: 7 }, (_, i) => h2Request(session, call(`/a.B/${i}`), "x"));
  await waitFor(() => held.length === 8, "all calls at the server");
  for (const stream of held.slice(1)) unary(stream, (body) => body);
  for (const { trailers } of await Promise.all(answers)) assert.equal(trailers["grpc-status"], "0");
  assert.ok(backend.sessions.length >= 3, `${backend.sessions.length} connections`);
});

test("a client that cancels a call has it cancelled at the server, and the connection goes on", async (t) => {
  const held: ServerHttp2Stream[] = [];
  const backend = await h2Backend(t, (stream, headers) => {
    if (headers[":path"] === "/held") held.push(stream);
    else unary(stream, (body) => body);
  });
  const holdfast = await start(t, backend, "location / { grpc_pass calls; }");
  const session = h2Session(t, url(holdfast));
  const stream = session.request(call("/held"), { endStream: false });
  stream.on("error", () => {});
  stream.write("first message");
  await waitFor(() => held.length === 1, "the call at the server");
  const closed = once(held[0], "close");
  stream.close(8);
  await closed;
  assert.equal(held[0].rstCode, 8);
  assert.equal((await h2Request(session, call("/next"), "x")).trailers["grpc-status"], "0");
  assert.equal(backend.sessions.length, 1);
});

test("a client that does not read holds its own call up, not the others of the connection", async (t) => {
  let sent = 0;
  const piece = Buffer.alloc(16 * 1024, "x");
  const backend = await h2Backend(t, (stream, headers) => {
    if (headers[":path"] !== "/large") {
      unary(stream, (body) => body);
      return;
    }
    stream.respond({ ":status": 200 });
    const pump = (): void => {
      while (sent < 2000 * piece.length) {
        sent += piece.length;
        if (!stream.write(piece)) {
          stream.once("drain", pump);
          return;
        }
      }
      stream.end();
    };
    pump();
  });
  const holdfast = await start(t, backend, "location / { grpc_pass calls; }");
  const session = h2Session(t, url(holdfast));
  const slow = session.request(call("/large"), { endStream: true });
  slow.on("error", () => {});
  await once(slow, "response");
  let before = -1;
  await waitFor(() => {
    const stopped = before === sent;
    before = sent;
    return stopped;
  }, "the server to be held up");
  assert.ok(sent < 8 * 1024 * 1024, `${sent} bytes of 32 MB were taken from the server`);
  for (let i = 0; i < 3; i++) assert.equal((await h2Request(session, call("/other"), "x")).body, "x");
  let length = 0;
  slow.on("data", (bytes: Buffer) => {
    length += bytes.length;
  });
  await once(slow, "end");
  assert.equal(length, 2000 * piece.length);
  assert.equal(backend.sessions.length, 1);
});

test("pieces of all sizes reach a server byte for byte, whether its windows are small or large", async (t) => {
  const hash = () => createHash("sha256");
  for (const initialWindowSize of [1000, 16 * 1024 * 1024]) {
    const seen = hash();
    const backend = await h2Backend(
      t,
      (stream) => {
        stream.on("data", (piece: Buffer) => seen.update(piece));
        stream.on("end", () => {
          stream.respond({ ":status": 200, "content-type": "application/grpc" }, { waitForTrailers: true });
          stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": "0" }));
          stream.end();
        });
      },
      { initialWindowSize },
    );
    const holdfast = await start(t, backend, "location / { grpc_pass grpc://calls; }");
    const sent = hash();
    const stream = h2Session(t, url(holdfast)).request(call("/a.B/Upload"), { endStream: false });
    const answer = h2Answer(stream);
    const sizes = [1, 100, 8191, 8192, 8193, 30_000, 65_536, 70_000, 3, 16_384];
    for (let round = 0; round < 10; round++) {
      for (const [number, size] of sizes.entries()) {
        const piece = Buffer.alloc(size, `${round} ${number} ${size} `);
        sent.update(piece);
        if (!stream.write(piece)) await once(stream, "drain");
      }
    }
    stream.end();
    assert.equal((await answer).trailers["grpc-status"], "0");
    assert.equal(seen.digest("hex"), sent.digest("hex"));
  }
});

test("a client of HTTP/1 is answered too, its trailer included", async (t) => {
  const backend = await h2Backend(t, (stream) => unary(stream, (body) => `got ${body}`));
  const holdfast = await start(t, backend, "location / { grpc_pass calls; }");
  const answer = await request(
    holdfast.port,
    "POST /a HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: TE, close\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
  );
  assert.equal(answer.status, 200);
  assert.equal(answer.body, "got hello");
});

test("a status for gRPC clients takes the place of an error made here", async (t) => {
  const backend = await h2Backend(t, (stream) => unary(stream, (body) => body));
  const holdfast = await start(
    t,
    backend,
    `location / { grpc_pass none; error_page 502 = /unavailable; }
     location = /unavailable { internal; default_type application/grpc; add_header grpc-status 14 always;
       add_header grpc-message unavailable always; return 204; }`,
    "upstream none { server 127.0.0.1:1; }",
  );
  const { status, headers } = await h2Request(h2Session(t, url(holdfast)), call("/a.B/C"), "x");
  assert.deepEqual([status, headers["grpc-status"], headers["grpc-message"]], [204, "14", "unavailable"]);
});

test("grpcs:// asks for h2 by ALPN, and verifies the server", async (t) => {
  const { certificate, key } = selfSigned("shop.test");
  const server = createSecureServer({ cert: certificate, key });
  let protocol: string | false | undefined;
  server.on("session", (session) => {
    protocol = session.alpnProtocol;
    session.on("stream", (stream) => unary(stream, (body) => body));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => server.close());
  const at = server.address();
  const port = typeof at === "object" && at !== null ? at.port : 0;
  const holdfast = await startHoldfast(t, {
    files: { "conf/c.pem": certificate },
    config: ([listen]) => `events {} http { server { listen 127.0.0.1:${listen}; http2 on;
      location / { grpc_pass grpcs://127.0.0.1:${port}; grpc_ssl_verify on; grpc_ssl_name shop.test;
        grpc_ssl_trusted_certificate c.pem; } } }`,
  });
  const { trailers } = await h2Request(h2Session(t, url(holdfast)), call("/a.B/C"), "x");
  assert.equal(trailers["grpc-status"], "0");
  assert.equal(protocol, "h2");
});
