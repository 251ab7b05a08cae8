/** Request bodies of which not all has come, or that are gone: nobody takes a part for the whole, over HTTP/1 and HTTP/2. */
import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import * as h2 from "../../src/wire/h2/frames.ts";
import { httpBackend } from "../support/backend.ts";
import { selfSigned } from "../support/certificates.ts";
import { answer, fastcgiBackend } from "../support/fastcgi.ts";
import { h2Request, h2Session, RawH2 } from "../support/h2.ts";
import { h2Backend, unary } from "../support/h2_backend.ts";
import { type Running, startHoldfast } from "../support/holdfast.ts";
import { recorder, requestsOf } from "../support/recorder.ts";
import { RawConnection, send } from "../support/tcp.ts";
import { waitFor } from "../support/wait.ts";

const EVIL = "GET /evil HTTP/1.1\r\nHost: y\r\n\r\n";

/** Sends a request with these pieces of a body, which is not ended; `length`: what is announced. Rejects where there is no answer. */
interface Client {
  readonly name: string;
  send(
    t: TestContext,
    holdfast: Running,
    method: string,
    path: string,
    pieces: readonly string[],
    length?: number,
  ): Promise<void>;
}

const clients: Client[] = [
  {
    name: "HTTP/1",
    async send(t, holdfast, method, path, pieces, length) {
      const connection = await RawConnection.open(holdfast.port);
      t.after(() => connection.close());
      const framing = length === undefined ? "Transfer-Encoding: chunked" : `Content-Length: ${length}`;
      const body = pieces.map((piece) =>
        length === undefined ? `${piece.length.toString(16)}\r\n${piece}\r\n` : piece,
      );
      connection.write(`${method} ${path} HTTP/1.1\r\nHost: x\r\n${framing}\r\n\r\n${body.join("")}`);
      await connection.readResponse();
    },
  },
  {
    name: "HTTP/2",
    async send(t, holdfast, method, path, pieces, length) {
      const client = await RawH2.open(t, holdfast.port);
      await client.frame(h2.SETTINGS);
      const fields: [string, string][] = [
        [":method", method],
        [":scheme", "http"],
        [":path", path],
        [":authority", "x"],
      ];
      if (length !== undefined) fields.push(["content-length", String(length)]);
      client.write(h2.SETTINGS_ACK, client.head(1, fields, 0), ...pieces.map((piece) => data(1, piece)));
      const { type } = await waitFor(
        () => client.frames.find(({ type, stream }) => stream === 1 && type !== h2.WINDOW_UPDATE),
        "an answer",
      );
      if (type !== h2.HEADERS) throw new Error(`a frame of type ${type}`);
    },
  },
];

function data(stream: number, text: string, flags = 0): string {
  return h2.frameHead(text.length, h2.DATA, flags, stream) + text;
}

for (const { name, send } of clients) {
  test(`${name}: what came of an unbuffered body is not sent behind the head of an error page's request`, async (t) => {
    const { backend, streams } = await recorder(t);
    const holdfast = await startHoldfast(t, {
      config: ([port, closed]) => `http { upstream u { server ${backend.address}; keepalive 4; }
        proxy_http_version 1.1; proxy_set_header Connection ""; proxy_request_buffering off;
        server { listen ${port}; http2 on;
          location / { proxy_pass http://127.0.0.1:${closed}; error_page 502 /page; }
          location /named { proxy_pass http://127.0.0.1:${closed}; error_page 502 @page; }
          location /page { proxy_pass http://u; }
          location @page { proxy_pass http://u; } } }`,
    });
    await send(t, holdfast, "POST", "/", [EVIL], 1000);
    await send(t, holdfast, "POST", "/", [EVIL]);
    await send(t, holdfast, "GET", "/named", [EVIL], 1000);
    await send(t, holdfast, "POST", "/named", [EVIL], 1000);
    assert.deepEqual(streams.flatMap(requestsOf), ["GET /page ", "GET /page ", "GET /named "]);
    await holdfast.waitForLog(/the request body is gone, so the request cannot be passed on/);
  });

  test(`${name}: a body that was given up on the way is not passed on as whole`, async (t) => {
    const { backend, streams } = await recorder(t);
    const holdfast = await startHoldfast(t, {
      config: ([port]) => `http { proxy_http_version 1.1; proxy_set_header Connection ""; client_max_body_size 50;
        server { listen ${port}; http2 on;
          location / { proxy_pass http://${backend.address}; error_page 413 /page; }
          location /named { proxy_pass http://${backend.address}; error_page 413 @page; }
          location /late { client_body_timeout 1s; proxy_pass http://${backend.address}; post_action /action; }
          location /file { client_body_in_file_only clean; proxy_pass http://${backend.address}; error_page 413 /page; }
          location /page { proxy_pass http://${backend.address}; }
          location /action { proxy_pass http://${backend.address}; proxy_method PUT; }
          location @page { proxy_pass http://${backend.address}; } } }`,
    });
    const pieces = ["0123456789", "a".repeat(60)];
    await send(t, holdfast, "POST", "/", pieces);
    await send(t, holdfast, "POST", "/file", pieces);
    await send(t, holdfast, "GET", "/named", pieces);
    await send(t, holdfast, "POST", "/named", pieces);
    await holdfast.waitForLog(/the request body is gone, so the request cannot be passed on/);
    await assert.rejects(send(t, holdfast, "GET", "/late", ["0123456789"]));
    await waitFor(() => streams.some((stream) => stream.includes("/action")), "the post_action");
    assert.deepEqual(streams.flatMap(requestsOf), ["GET /page ", "GET /page ", "GET /named ", "PUT /action "]);
    assert.doesNotMatch(holdfast.errorLog(), /\[crit\]|\[alert\]/);
  });
}

test("HTTP/2: a post_action goes on when the client resets its stream before it has taken the whole response", async (t) => {
  let acted: string | undefined;
  let answer: (() => void) | undefined;
  let left = () => 0;
  const backend = await httpBackend(t, (request, response) => {
    if (request.url === "/large") {
      response.end(Buffer.alloc(20_000_000, "l"));
      left = () => request.socket.writableLength;
      return;
    }
    let body = "";
    request.on("data", (piece) => {
      body += piece;
    });
    request.on("end", () => {
      if (request.url === "/action") acted = body;
      const end = () => response.writeHead(204).end();
      if (request.url === "/") answer = end;
      else end();
    });
  });
  const holdfast = await startHoldfast(t, {
    config: ([port]) => `http { limit_req_zone $scheme zone=one:1m rate=15r/m;
      server { listen ${port} sndbuf=4k; http2 on;
      location /large { proxy_pass http://${backend.address}; proxy_buffering off; }
      location / { client_body_in_file_only clean; proxy_pass http://${backend.address}; post_action /action; }
      location /action { limit_req zone=one burst=2; proxy_pass http://${backend.address}; } } }`,
  });
  const client = await RawH2.open(t, holdfast.port, [[h2.SETTING.INITIAL_WINDOW_SIZE, h2.MAX_WINDOW]]);
  client.write(h2.SETTINGS_ACK, h2.windowUpdate(0, h2.MAX_WINDOW - h2.DEFAULT_WINDOW), client.get(1, "/large"));
  await client.frame(h2.DATA, 1);
  client.socket.pause();
  client.write(client.get(3, "/", [], 0), data(3, "the body", h2.FLAG.END_STREAM));
  // Until the way to the client is full.
  for (let before = -1; left() !== before; ) {
    before = left();
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
  const second = await RawH2.open(t, holdfast.port);
  second.write(second.get(1, "/action"));
  await second.frame(h2.HEADERS, 1);
  const give = await waitFor(() => answer, "the request with the body");
  acted = undefined;
  give();
  await waitFor(() => / 204 /.test(holdfast.accessLog()), "the first action's line");
  second.write(second.get(3, "/large"));
  await second.frame(h2.HEADERS, 3);
  client.write(h2.rstStream(3, h2.ERROR.CANCEL));
  await holdfast.waitForLog(/delaying request/);
  client.socket.resume();
  assert.equal(await waitFor(() => acted, "the post_action with the body"), "the body");
});

test("HTTP/2: what came of a body while its request waited goes to the server once, or to nobody", async (t) => {
  const backend = await httpBackend(t, (request, response) => {
    let body = "";
    request.on("data", (piece) => {
      body += piece;
    });
    request.on("end", () => response.end(body));
  });
  const other = await h2Backend(t, (stream) => unary(stream, (body) => body));
  const holdfast = await startHoldfast(t, {
    config: ([port]) => `http { proxy_request_buffering off; limit_req_zone $scheme zone=one:1m rate=20r/s;
      upstream old { server ${backend.address}; keepalive 4; } upstream new { server ${other.address}; keepalive 4; }
      upstream none { server 127.0.0.1:1 down; }
      server { listen ${port}; http2 on; limit_req zone=one burst=20;
        location / { proxy_http_version 1.1; proxy_set_header Connection ""; proxy_pass http://old; }
        location /new/ { proxy_http_version 2; proxy_pass http://new; }
        location /none/ { proxy_pass http://none; error_page 502 /; } } }`,
  });
  const session = h2Session(t, holdfast.url);
  const sent = Array.from({ length: 10_000 }, (_, number) => `${number} `).join("");
  // From the second one on there is a connection that can be used at once.
  for (const path of ["/", "/", "/new/", "/new/"]) {
    const { status, body } = await h2Request(session, { ":method": "POST", ":path": path }, sent);
    assert.equal(status, 200, path);
    assert.ok(body === sent, `${path}: another body of ${body.length} bytes`);
  }
  const { status, body } = await h2Request(session, { ":method": "POST", ":path": "/none/" }, sent);
  assert.deepEqual({ status, body }, { status: 502, body: "" });
  assert.doesNotMatch(holdfast.errorLog(), /\[alert\]/);
});

test("HTTP/2: a request whose body turns out to be too long while it waits is not passed on, ended or not", async (t) => {
  const { backend, streams } = await recorder(t);
  let allow: (() => void) | undefined;
  const door = await httpBackend(t, (_request, response) => {
    allow = () => response.writeHead(204).end();
  });
  const holdfast = await startHoldfast(t, {
    config: ([port]) => `http { server { listen ${port}; http2 on;
      location / { auth_request /door; proxy_pass http://${backend.address}; }
      location /door { internal; proxy_pass http://${door.address}; } } }`,
  });
  const client = await RawH2.open(t, holdfast.port);
  const fields: [string, string][] = [["content-length", "4"]];
  client.write(h2.SETTINGS_ACK, client.get(1, "/", fields, 0), data(1, "12345"), data(1, "", h2.FLAG.END_STREAM));
  client.write(`${h2.frameHead(8, h2.PING, 0, 0)}12345678`);
  await client.frame(h2.PING);
  const open = await waitFor(() => allow, "the question");
  open();
  await client.frame(h2.HEADERS, 1);
  await holdfast.waitForLog(/client intended to send body data larger than declared/);
  await waitFor(() => / 400 /.test(holdfast.accessLog()), "a line with 400");
  assert.deepEqual(streams, []);
});

test("the page of a request that was refused for its head is asked for without a body, whatever was announced", async (t) => {
  const { backend, streams } = await recorder(t);
  const { certificate, key } = selfSigned("localhost");
  const holdfast = await startHoldfast(t, {
    files: { "conf/c.pem": certificate, "conf/k.pem": key },
    config: ([port, secure]) => `http { server { listen ${port}; listen ${secure} ssl; http2 on;
      ssl_certificate c.pem; ssl_certificate_key k.pem; error_page 400 497 /page;
      location = /page { proxy_http_version 1.1; proxy_pass http://${backend.address}; } } }`,
  });
  const client = await RawH2.open(t, holdfast.port);
  client.write(h2.SETTINGS_ACK, client.get(1, "/", [["content-length", "4"]]));
  await client.frame(h2.HEADERS, 1);
  const fields = "HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 4\r\n\r\nabcd";
  await send(holdfast.port, `GET /%zz ${fields}`);
  await send(holdfast.port, `GET /%00 ${fields}`);
  await send(holdfast.ports[1], `GET / ${fields}`);
  assert.deepEqual(streams.flatMap(requestsOf), Array(4).fill("GET /page "));
});

test("HTTP/2: client_max_body_size is for all of a body, however much of it waits for the server", async (t) => {
  let release: (() => void) | undefined;
  const backend = await httpBackend(t, (request, response) => {
    if (request.url === "/first") release = () => response.end("first");
    else request.resume().on("end", () => response.end("taken"));
  });
  const holdfast = await startHoldfast(t, {
    config: ([port]) => `http { upstream u { server ${backend.address} max_conns=1; queue 5 timeout=60s; }
      server { listen ${port}; http2 on; client_max_body_size 60k; client_body_buffer_size 16k;
        location / { proxy_http_version 1.1; proxy_request_buffering off; proxy_pass http://u; } } }`,
  });
  const client = await RawH2.open(t, holdfast.port);
  client.write(h2.SETTINGS_ACK, client.get(1, "/first"));
  const answerFirst = await waitFor(() => release, "the first request");
  // What comes with the head is taken at once as far as client_body_buffer_size goes, the rest when there is a server.
  const pieces = [16_000, 2000, 15_000, 16_000, 15_500].map((size) => data(3, "b".repeat(size)));
  client.write(client.get(3, "/", [], 0), ...pieces);
  client.write(`${h2.frameHead(8, h2.PING, 0, 0)}12345678`);
  await client.frame(h2.PING);
  answerFirst();
  await client.frame(h2.HEADERS, 3);
  await holdfast.waitForLog(/client intended to send too large chunked body: 64500 bytes/);
});

test("HTTP/1: a request is answered once, though the body that nobody reads any more turns out to be malformed", async (t) => {
  const { backend, streams } = await recorder(t);
  let allow: (() => void) | undefined;
  const door = await httpBackend(t, (_request, response) => {
    allow = () => response.writeHead(204).end();
  });
  const holdfast = await startHoldfast(t, {
    config: ([port]) => `http { upstream none { server 127.0.0.1:1 down; } server { listen ${port};
      location / { proxy_request_buffering off; proxy_pass http://none; error_page 502 = /page; }
      location /page { auth_request /door; proxy_pass http://${backend.address}; }
      location /door { internal; proxy_pass http://${door.address}; } } }`,
  });
  const connection = await RawConnection.open(holdfast.port);
  t.after(() => connection.close());
  connection.write("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n");
  const open = await waitFor(() => allow, "the question");
  connection.write(`zz\r\n${EVIL}`);
  await holdfast.waitForLog(/client sent invalid chunked body/);
  open();
  assert.match(await connection.until(() => false), /^HTTP\/1\.1 200 OK\r\n.*\r\n\r\nok$/s);
  assert.deepEqual(streams.flatMap(requestsOf), ["GET /page "]);
});

const CHUNKED =
  "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n8\r\nthe body\r\n0\r\n\r\n";

test("a mirrored request announces the length of a chunked body", async (t) => {
  let copy: unknown;
  const application = await fastcgiBackend(t, ({ params, body }, connection) => {
    copy = { length: params.get("CONTENT_LENGTH"), body };
    connection.write(answer("Status: 200 OK"));
  });
  const { backend } = await recorder(t);
  const holdfast = await startHoldfast(t, {
    config: ([port]) => `http { server { listen ${port};
      location / { mirror /copy; proxy_pass http://${backend.address}; }
      location /copy { fastcgi_param CONTENT_LENGTH $content_length; fastcgi_pass ${application.address}; } } }`,
  });
  await send(holdfast.port, CHUNKED);
  assert.deepEqual(await waitFor(() => copy, "the copy"), { length: "8", body: "the body" });
});

test("a request whose body is passed on as it comes updates the cache itself: in the background it would have none", async (t) => {
  const bodies: string[] = [];
  const backend = await httpBackend(t, (request, response) => {
    let body = "";
    request.on("data", (piece) => {
      body += piece;
    });
    request.on("end", () => {
      bodies.push(body);
      response.setHeader("Cache-Control", "max-age=1, stale-while-revalidate=100");
      response.end(`answer ${bodies.length}`);
    });
  });
  const holdfast = await startHoldfast(t, {
    config: ([port]) => `http { proxy_cache_path cache keys_zone=c:1m; server { listen ${port};
      proxy_cache c; proxy_cache_key $uri; proxy_cache_methods POST; proxy_cache_background_update on;
      location / { proxy_http_version 1.1; proxy_request_buffering off; proxy_pass http://${backend.address}; } } }`,
  });
  assert.match(await send(holdfast.port, CHUNKED), /answer 1/);
  await waitFor(async () => {
    await post(t, holdfast.port);
    return bodies.length > 1;
  }, "an update");
  assert.deepEqual(new Set(bodies), new Set(["the body"]));
});

/** A POST whose body comes when it is asked for. */
async function post(t: TestContext, port: number): Promise<void> {
  const connection = await RawConnection.open(port);
  t.after(() => connection.close());
  connection.write("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 8\r\nExpect: 100-continue\r\n\r\n");
  await connection.until((received) => received.includes("100 Continue\r\n\r\n"));
  connection.write("the body");
  await connection.until((received) => received.includes("answer"));
}
