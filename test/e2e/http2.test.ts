/** HTTP/2 towards clients: over TLS and with prior knowledge, flow control, bodies, ends. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { type TestContext, test } from "node:test";
import * as h2 from "../../src/wire/h2/frames.ts";
import { httpBackend } from "../support/backend.ts";
import { selfSigned } from "../support/certificates.ts";
import { h2Request, h2Session, RawH2 } from "../support/h2.ts";
import { type Running, startHoldfast } from "../support/holdfast.ts";
import { get } from "../support/tcp.ts";
import { waitFor } from "../support/wait.ts";

const LARGE = "0123456789abcdef".repeat(40_000);

async function start(t: TestContext, locations = "", http = "", globals = ""): Promise<Running> {
  const { certificate, key } = selfSigned("localhost");
  return startHoldfast(t, {
    files: { "conf/c.pem": certificate, "conf/k.pem": key, "html/large": LARGE, "html/small": "small\n" },
    config: ([port, secure]) => `${globals} events {} http { ${http} access_log logs/access.log;
      server { listen 127.0.0.1:${port}; listen 127.0.0.1:${secure} ssl; http2 on;
        ssl_certificate c.pem; ssl_certificate_key k.pem; root html;
        location = /echo { return 200 "$server_protocol|$http2|$request|$http_x|$http_cookie|$host"; }
        ${locations} } }`,
  });
}

const cleartext = (holdfast: Running) => `http://127.0.0.1:${holdfast.ports[0]}`;

test("over TLS by ALPN, in clear by prior knowledge, beside HTTP/1 on the same port", async (t) => {
  const holdfast = await start(t);
  for (const url of [cleartext(holdfast), `https://127.0.0.1:${holdfast.ports[1]}`]) {
    const session = h2Session(t, url);
    const host = new URL(url).host;
    const { status, body } = await h2Request(session, { ":path": "/echo?a=b", x: "y", cookie: ["a=1", "b=2"] });
    assert.equal(status, 200);
    const protocol = url.startsWith("https") ? "h2" : "h2c";
    assert.equal(body, `HTTP/2.0|${protocol}|GET /echo?a=b HTTP/2.0|y|a=1; b=2|${host.split(":")[0]}`);
    assert.equal((await h2Request(session, { ":path": "/large" })).body, LARGE);
    assert.equal((await h2Request(session, { ":path": "/small", ":method": "HEAD" })).headers["content-length"], "6");
    assert.equal((await h2Request(session, { ":path": "/none" })).status, 404);
  }
  assert.equal((await get(holdfast.port, "/small")).body, "small\n");
});

test("many requests at a time on one connection, each with its own answer", async (t) => {
  const backend = await httpBackend(t, (request, response) => {
    setImmediate(() => response.end(`for ${request.url}`));
  });
  const holdfast = await start(t, `location /p/ { proxy_pass http://${backend.address}; }`);
  const session = h2Session(t, cleartext(holdfast));
  const answers = await Promise.all(Array.from({ length: 100 }, (_, i) => h2Request(session, { ":path": `/p/${i}` })));
  assert.deepEqual(
    answers.map(({ body }) => body),
    answers.map((_, i) => `for /p/${i}`),
  );
});

test("bodies of requests reach the server, buffered and as they come, with and without a length", async (t) => {
  const backend = await httpBackend(t, (request, response) => {
    let length = 0;
    request.on("data", (bytes: Buffer) => {
      length += bytes.length;
    });
    request.on("end", () => response.end(`${request.method} ${length} ${request.headers["content-length"]}`));
  });
  const holdfast = await start(
    t,
    `location /b { proxy_pass http://${backend.address}; }
     location /u { proxy_request_buffering off; proxy_http_version 1.1; proxy_pass http://${backend.address}; }`,
    "client_max_body_size 1m;",
  );
  const session = h2Session(t, cleartext(holdfast));
  for (const path of ["/b", "/u"]) {
    const fields = { ":path": path, ":method": "POST" };
    assert.equal(
      (await h2Request(session, fields, LARGE)).body,
      `POST ${LARGE.length} ${path === "/b" ? LARGE.length : undefined}`,
    );
    const sized = { ...fields, "content-length": LARGE.length };
    assert.equal((await h2Request(session, sized, LARGE)).body, `POST ${LARGE.length} ${LARGE.length}`);
    assert.equal((await h2Request(session, fields, "")).body, "POST 0 0");
    assert.equal(
      (
        await h2Request(session, { ...fields, "content-length": 2_000_000 }, Buffer.alloc(2_000_000)).catch(
          () => undefined,
        )
      )?.status ?? 413,
      413,
    );
  }
  assert.equal((await h2Request(session, { ":path": "/echo" })).status, 200);
});

test("a slow client slows the server down, and others on the connection go on", async (t) => {
  let written = 0;
  const backend = await httpBackend(t, (_request, response) => {
    const more = (): void => {
      while (written < 64 * 1024 * 1024) {
        written += 64 * 1024;
        if (!response.write(Buffer.alloc(64 * 1024))) {
          response.once("drain", more);
          return;
        }
      }
      response.end();
    };
    more();
  });
  const holdfast = await start(t, `location /p { proxy_max_temp_file_size 0; proxy_pass http://${backend.address}; }`);
  const connection = await RawH2.open(t, holdfast.port);
  connection.write(connection.get(1, "/p"));
  const received = (stream: number) =>
    connection.frames
      .filter((frame) => frame.type === h2.DATA && frame.stream === stream)
      .reduce((sum, { payload }) => sum + payload.length, 0);
  await waitFor(() => received(1) === h2.DEFAULT_WINDOW, "a whole window");
  connection.write(h2.windowUpdate(0, 100_000), connection.get(3, "/small"));
  assert.equal((await connection.frame(h2.DATA, 3)).payload.toString(), "small\n");
  assert.equal(received(1), h2.DEFAULT_WINDOW);
  assert.ok(written < 32 * 1024 * 1024, `${written} bytes were taken from the server`);
  connection.write(h2.windowUpdate(1, 50_000));
  await waitFor(() => received(1) === h2.DEFAULT_WINDOW + 50_000, "as much as the window was opened");
});

test("a head and pieces of a body that are longer than what is put together at once", async (t) => {
  const holdfast = await start(
    t,
    `location /long { add_header X-A $arg_h; add_header X-B $arg_h; add_header X-C $arg_h; http2_chunk_size 128k; try_files /large =404; }`,
    "large_client_header_buffers 4 64k;",
  );
  const connection = await RawH2.open(t, holdfast.port, [
    [h2.SETTING.MAX_FRAME_SIZE, h2.MAX_FRAME_SIZE],
    [h2.SETTING.INITIAL_WINDOW_SIZE, 2 * LARGE.length],
  ]);
  connection.write(h2.windowUpdate(0, 2 * LARGE.length), connection.get(1, `/long?h=${"X".repeat(30_000)}`));
  connection.write(connection.get(3, `/long?h=${"X".repeat(8_000)}`));
  for (const [stream, length] of [
    [1, 90_000],
    [3, 24_000],
  ]) {
    assert.ok((await connection.frame(h2.HEADERS, stream)).payload.length > length);
  }
  const received = () =>
    connection.frames
      .filter(({ type, stream }) => type === h2.DATA && stream === 1)
      .map(({ payload }) => payload.toString())
      .join("");
  await waitFor(() => received().length >= LARGE.length, "the whole body");
  assert.equal(received(), LARGE);
});

test("what is urgent is sent first, by the field Priority and by PRIORITY_UPDATE", async (t) => {
  const holdfast = await start(t);
  const connection = await RawH2.open(t, holdfast.port, [[h2.SETTING.INITIAL_WINDOW_SIZE, 2 * LARGE.length]]);
  const received = (stream: number) =>
    connection.frames
      .filter((frame) => frame.type === h2.DATA && frame.stream === stream)
      .reduce((sum, { payload }) => sum + payload.length, 0);
  const sum = () => received(1) + received(3) + received(5);
  connection.write(connection.get(1, "/large"));
  await waitFor(() => sum() === h2.DEFAULT_WINDOW, "the whole window of the connection");
  connection.write(
    connection.get(3, "/large", [["priority", "u=5"]]),
    connection.get(5, "/large", [["priority", "u=1, i"]]),
  );
  await connection.frame(h2.HEADERS, 5);
  connection.write(h2.windowUpdate(0, 50_000));
  await waitFor(() => received(5) === 50_000, "the most urgent one alone");
  const update = (stream: number, value: string) =>
    `${h2.frameHead(4 + value.length, h2.PRIORITY_UPDATE, 0, 0)}\0\0\0${String.fromCharCode(stream)}${value}`;
  connection.write(update(5, "u=7"), update(3, "u=0"), h2.windowUpdate(0, 40_000));
  await waitFor(() => received(3) === 40_000, "another that has become more urgent");
  assert.equal(sum(), h2.DEFAULT_WINDOW + 90_000);
});

test("a stream that its client resets ends its request alone", async (t) => {
  let gone = 0;
  const backend = await httpBackend(t, (request, response) => {
    if (request.url === "/p/quick") response.end("quick");
    else response.on("close", () => gone++);
  });
  const holdfast = await start(t, `location /p { proxy_pass http://${backend.address}; }`);
  const session = h2Session(t, cleartext(holdfast));
  const stream = session.request({ ":path": "/p/slow" });
  stream.on("error", () => {});
  assert.equal((await h2Request(session, { ":path": "/p/quick" })).body, "quick");
  stream.close(8);
  await waitFor(() => gone === 1, "the server to see that");
  await holdfast.waitForLog(/client canceled stream 1/);
  assert.equal((await h2Request(session, { ":path": "/p/quick" })).body, "quick");
  await waitFor(() => /"GET \/p\/slow HTTP\/2.0" 499 0/.test(holdfast.read("logs/access.log")), "its line in the log");
});

test("keepalive_requests and keepalive_timeout end a connection with GOAWAY", async (t) => {
  const holdfast = await start(t, "", "keepalive_requests 2;");
  const session = h2Session(t, cleartext(holdfast));
  const goaway = once(session, "goaway");
  assert.equal((await h2Request(session, { ":path": "/small" })).status, 200);
  assert.equal((await h2Request(session, { ":path": "/small" })).status, 200);
  assert.equal((await goaway)[0], 0);
});

test("malformed requests get 400, and the connection goes on", async (t) => {
  const holdfast = await start(t);
  const heads: readonly (readonly (readonly [string, string])[])[] = [
    [
      [":method", "GET"],
      [":scheme", "http"],
      [":authority", "a"],
    ],
    [
      [":method", "GET"],
      [":scheme", "http"],
      [":path", "small"],
      [":authority", "a"],
    ],
    [
      [":method", "G T"],
      [":scheme", "http"],
      [":path", "/small"],
      [":authority", "a"],
    ],
    [
      [":method", "GET"],
      [":scheme", "http"],
      [":path", "/small"],
    ],
    [
      [":method", "GET"],
      [":scheme", "http"],
      [":path", "/small"],
      [":authority", "a"],
      ["Upper", "1"],
    ],
    [
      [":method", "GET"],
      [":scheme", "http"],
      [":path", "/small"],
      [":authority", "a"],
      ["a:b", "1"],
    ],
    [
      [":method", "GET"],
      [":scheme", "http"],
      [":path", "/small"],
      [":authority", "a"],
      ["x", "a\r\nb: c"],
    ],
    [
      [":method", "GET"],
      [":scheme", "http"],
      [":path", "/small\r\nx: y"],
      [":authority", "a"],
    ],
    [
      [":method", "GET"],
      [":scheme", "http"],
      [":path", "/small"],
      [":authority", "a"],
      ["connection", "close"],
    ],
    [
      [":method", "GET"],
      [":scheme", "http"],
      [":path", "/small"],
      [":authority", "a"],
      ["transfer-encoding", "chunked"],
    ],
    [
      [":method", "GET"],
      [":scheme", "http"],
      [":path", "/small"],
      [":authority", "a"],
      ["te", "gzip"],
    ],
    [
      [":method", "GET"],
      [":scheme", "http"],
      [":path", "/small"],
      [":authority", "a"],
      ["host", "b"],
    ],
    [
      [":method", "GET"],
      [":scheme", "http"],
      [":path", "/small"],
      ["x", "y"],
      [":authority", "a"],
    ],
    [
      [":method", "GET"],
      [":scheme", "http"],
      [":path", "/small"],
      [":authority", "a"],
      [":path", "/other"],
    ],
    [
      [":method", "GET"],
      [":scheme", "http"],
      [":path", "/small"],
      [":authority", "a"],
      ["content-length", "5"],
    ],
    [
      [":method", "GET"],
      [":scheme", "http"],
      [":path", "/small"],
      [":authority", "a"],
      ["content-length", "x"],
    ],
  ];
  const connection = await RawH2.open(t, holdfast.port);
  for (const [i, head] of heads.entries()) {
    const stream = 2 * i + 1;
    connection.write(connection.head(stream, head));
    // Index 12 of the static table: ":status: 400".
    assert.equal((await connection.frame(h2.HEADERS, stream)).payload[0], 0x8c, JSON.stringify(head));
  }
  connection.write(connection.get(101, "/small"));
  assert.equal((await connection.frame(h2.DATA, 101)).payload.toString(), "small\n");
});

test("what breaks the protocol ends the connection with the error's code", async (t) => {
  const holdfast = await start(t);
  const get1 = (connection: RawH2) => connection.get(1, "/small");
  const cases: readonly (readonly [what: string, bytes: (connection: RawH2) => string, code: number])[] = [
    ["DATA on stream 0", () => `${h2.frameHead(1, h2.DATA, 0, 0)}x`, h2.ERROR.PROTOCOL_ERROR],
    ["DATA on an idle stream", () => `${h2.frameHead(1, h2.DATA, 0, 5)}x`, h2.ERROR.PROTOCOL_ERROR],
    ["an even stream", (connection) => connection.get(2, "/small"), h2.ERROR.PROTOCOL_ERROR],
    ["a stream again", (connection) => get1(connection) + get1(connection), h2.ERROR.PROTOCOL_ERROR],
    ["PUSH_PROMISE", () => `${h2.frameHead(4, h2.PUSH_PROMISE, 4, 1)}\0\0\0\x02`, h2.ERROR.PROTOCOL_ERROR],
    ["a short PING", () => `${h2.frameHead(7, h2.PING, 0, 0)}1234567`, h2.ERROR.FRAME_SIZE_ERROR],
    ["SETTINGS of odd length", () => `${h2.frameHead(5, h2.SETTINGS, 0, 0)}12345`, h2.ERROR.FRAME_SIZE_ERROR],
    ["a window of nothing", () => h2.windowUpdate(0, 0), h2.ERROR.PROTOCOL_ERROR],
    ["a window too large", () => h2.windowUpdate(0, h2.MAX_WINDOW), h2.ERROR.FLOW_CONTROL_ERROR],
    ["CONTINUATION of nothing", () => h2.frameHead(0, h2.CONTINUATION, 4, 1), h2.ERROR.PROTOCOL_ERROR],
    ["an unknown index", () => `${h2.frameHead(1, h2.HEADERS, 5, 1)}\xff`, h2.ERROR.FRAME_SIZE_ERROR],
    [
      "a part of an index without end",
      () => `${h2.frameHead(9, h2.HEADERS, 5, 1)}\xff\xff\xff\xff`,
      h2.ERROR.COMPRESSION_ERROR,
    ],
    [
      "a part of a length without end",
      () => `${h2.frameHead(9, h2.HEADERS, 5, 1)}\x42\xff\xff\xff\xff`,
      h2.ERROR.COMPRESSION_ERROR,
    ],
    ["an index beyond the tables", () => `${h2.frameHead(1, h2.HEADERS, 5, 1)}\xbe`, h2.ERROR.COMPRESSION_ERROR],
    [
      "a frame between HEADERS and CONTINUATION",
      () => `${h2.frameHead(1, h2.HEADERS, 1, 1)}\x82${h2.frameHead(8, h2.PING, 0, 0)}12345678`,
      h2.ERROR.PROTOCOL_ERROR,
    ],
    [
      "fields without end",
      () =>
        `${h2.frameHead(16384, h2.HEADERS, 1, 1)}${"\x82".repeat(16384)}`.repeat(1) +
        `${h2.frameHead(16384, h2.CONTINUATION, 0, 1)}${"\x82".repeat(16384)}`.repeat(8),
      h2.ERROR.ENHANCE_YOUR_CALM,
    ],
  ];
  for (const [what, bytes, code] of cases) {
    const connection = await RawH2.open(t, holdfast.port);
    connection.write(bytes(connection));
    const { payload } = await connection.frame(h2.GOAWAY);
    assert.equal(payload.readUInt32BE(4), code, what);
    await waitFor(() => connection.ended, `${what}: the end`);
  }
  assert.equal((await h2Request(h2Session(t, cleartext(holdfast)), { ":path": "/small" })).status, 200);
});

test("a client that wants no table of header compression is told that there is none", async (t) => {
  const holdfast = await start(t);
  const connection = await RawH2.open(t, holdfast.port, [[h2.SETTING.HEADER_TABLE_SIZE, 0]]);
  connection.write(connection.get(1, "/small"), connection.get(3, "/small"));
  const [first, second] = [await connection.frame(h2.HEADERS, 1), await connection.frame(h2.HEADERS, 3)];
  assert.deepEqual([...first.payload.subarray(0, 2)], [0x20, 0x88]);
  assert.equal(second.payload[0], 0x88);
  const session = h2Session(t, cleartext(holdfast), { settings: { headerTableSize: 0 } });
  assert.equal((await h2Request(session, { ":path": "/small" })).body, "small\n");
});

test("each request may have its PRIORITY frames: a page with many pictures is no flood", async (t) => {
  const holdfast = await start(t);
  const connection = await RawH2.open(t, holdfast.port);
  for (let i = 0; i < 10; i++) {
    const stream = 2 * i + 1;
    const priority = `${h2.frameHead(7, h2.PRIORITY_UPDATE, 0, 0)}\0\0\0${String.fromCharCode(stream)}u=1`;
    connection.write(connection.get(stream, "/small"), priority.repeat(100));
    assert.equal((await connection.frame(h2.DATA, stream)).payload.toString(), "small\n");
  }
});

test("a header block that does not end is given up, and so is its connection", async (t) => {
  const holdfast = await start(t, "", "client_header_timeout 100ms;");
  const connection = await RawH2.openAnswered(t, holdfast.port, "/small");
  const block = connection.get(3, "/small").slice(h2.FRAME_HEAD);
  connection.write(h2.frameHead(block.length, h2.HEADERS, h2.FLAG.END_STREAM, 3) + block);
  assert.equal((await connection.frame(h2.RST_STREAM, 3)).payload.readUInt32BE(0), h2.ERROR.PROTOCOL_ERROR);
  assert.equal((await connection.frame(h2.GOAWAY)).payload.readUInt32BE(4), h2.ERROR.PROTOCOL_ERROR);
  await waitFor(() => connection.ended, "the end");
});

test("trailers that do not end are given up, and their request alone", async (t) => {
  const backend = await httpBackend(t, () => {});
  const upload = `location /p { proxy_pass http://${backend.address}; proxy_request_buffering off; }`;
  const holdfast = await start(t, upload, "client_header_timeout 100ms;");
  const connection = await RawH2.openAnswered(t, holdfast.port, "/small");
  const trailers = connection.head(3, [["x-test", "ok"]]).slice(h2.FRAME_HEAD);
  connection.write(
    connection.get(3, "/p", [], 0),
    h2.frameHead(trailers.length, h2.HEADERS, h2.FLAG.END_STREAM, 3) + trailers,
  );
  assert.equal((await connection.frame(h2.RST_STREAM, 3)).payload.readUInt32BE(0), h2.ERROR.PROTOCOL_ERROR);
  await holdfast.waitForLog(/client timed out .* while reading trailers/);
  connection.write(h2.frameHead(0, h2.CONTINUATION, h2.FLAG.END_HEADERS, 3), connection.get(5, "/small"));
  assert.equal((await connection.frame(h2.DATA, 5)).payload.toString(), "small\n");
  assert.ok(!connection.frames.some(({ type, stream }) => type === h2.HEADERS && stream === 3));
  await holdfast.waitForLog(/"GET \/p HTTP\/2.0" 400 0/, "logs/access.log");
});

test("client_header_timeout ends with a header block, not while the answer is waited for", async (t) => {
  let answer: (() => void) | undefined;
  const backend = await httpBackend(t, (request, response) => {
    request.resume().on("end", () => {
      answer = () => response.end("late");
    });
  });
  const holdfast = await start(
    t,
    `location /p { proxy_pass http://${backend.address}; }`,
    "client_header_timeout 100ms;",
  );
  const connection = await RawH2.openAnswered(t, holdfast.port, "/small");
  const trailers = connection.head(3, [["x-test", "ok"]]).slice(h2.FRAME_HEAD);
  connection.write(
    connection.get(3, "/p", [], 0),
    h2.frameHead(trailers.length, h2.HEADERS, h2.FLAG.END_STREAM, 3) + trailers,
    h2.frameHead(0, h2.CONTINUATION, h2.FLAG.END_HEADERS, 3),
  );
  const give = await waitFor(() => answer, "the request at the server");
  // Another connection's time, which began later, is over.
  const other = await RawH2.open(t, holdfast.port);
  await waitFor(() => other.ended, "the end of the other one");
  give();
  assert.equal((await connection.frame(h2.DATA, 3)).payload.toString(), "late");
  connection.write(connection.get(5, "/small"));
  assert.equal((await connection.frame(h2.DATA, 5)).payload.toString(), "small\n");
});

test("floods end their connection, and others are served", async (t) => {
  const holdfast = await start(t);
  const others = h2Session(t, cleartext(holdfast));
  const floods: readonly (readonly [what: string, bytes: (connection: RawH2, i: number) => string])[] = [
    ["rapid reset", (connection, i) => connection.get(2 * i + 1, "/small") + h2.rstStream(2 * i + 1, h2.ERROR.CANCEL)],
    ["PING", () => `${h2.frameHead(8, h2.PING, 0, 0)}12345678`],
    ["SETTINGS", () => h2.settingsFrame([])],
    ["PRIORITY", (_connection, i) => `${h2.frameHead(5, h2.PRIORITY, 0, 2 * i + 1)}\0\0\0\0\0`],
    ["empty DATA", (connection, i) => (i === 0 ? connection.get(1, "/small", [], 0) : h2.frameHead(0, h2.DATA, 0, 1))],
    ["empty CONTINUATION", (_connection, i) => `${h2.frameHead(0, i === 0 ? h2.HEADERS : h2.CONTINUATION, 0, 1)}`],
    ["unknown frames", () => h2.frameHead(0, 0xbe, 0, 0)],
  ];
  for (const [what, bytes] of floods) {
    const connection = await RawH2.open(t, holdfast.port);
    let goaway = false;
    // Hundreds of thousands of frames answer some floods.
    connection.onFrame = ({ type }) => {
      goaway ||= type === h2.GOAWAY;
      connection.frames.length = 0;
    };
    const over = (): boolean => connection.ended || goaway;
    for (let i = 0, sent = 0; !over() && sent < 64 * 1024 * 1024; ) {
      let text = "";
      for (const until = i + 2000; i < until; i++) text += bytes(connection, i);
      sent += text.length;
      const waits = !connection.socket.write(Buffer.from(text, "latin1"));
      if (waits) await Promise.race([once(connection.socket, "drain"), once(connection.socket, "close")]);
      await new Promise(setImmediate);
    }
    assert.ok(over(), `${what} for 64 MiB`);
    connection.socket.destroy();
    assert.equal((await h2Request(others, { ":path": "/small" })).body, "small\n", what);
  }
});
