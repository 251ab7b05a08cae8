/** Servers of HTTP/2 that do not keep to it: what ends is their request or their connection, and a good server goes on. */
import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import * as h2 from "../../src/wire/h2/frames.ts";
import { encodeField } from "../../src/wire/h2/hpack_encoder.ts";
import type { RawH2 } from "../support/h2.ts";
import { h2Backend, RawH2Server } from "../support/h2_backend.ts";
import { type Running, startHoldfast } from "../support/holdfast.ts";
import { get, RawConnection, request } from "../support/tcp.ts";
import { waitFor } from "../support/wait.ts";

async function start(t: TestContext, server: RawH2Server, more = ""): Promise<Running> {
  const good = await h2Backend(t, (stream) => {
    stream.respond({ ":status": 200 });
    stream.end("good");
  });
  return startHoldfast(t, {
    config: ([port]) => `events {} http {
      upstream bad { server 127.0.0.1:${server.port} max_fails=0; } upstream good { server ${good.address}; }
      server { listen 127.0.0.1:${port}; proxy_http_version 2; client_max_body_size 0; ${more}
        location / { proxy_pass http://bad; } location /good { proxy_pass http://good; } } }`,
  });
}

/** The connection of the request that comes next, and its stream. */
async function asked(server: RawH2Server, number: number): Promise<{ bad: RawH2; id: number }> {
  const bad = await server.connection(number);
  return { bad, id: (await bad.frame(h2.HEADERS)).stream };
}

const head = (id: number, end = false, fields: readonly (readonly [string, string])[] = []) => {
  const block = [[":status", "200"] as const, ...fields].map(([name, value]) => encodeField(name, value)).join("");
  return h2.headersFrames(id, block, end, h2.DEFAULT_FRAME_SIZE);
};
const frame = (type: number, flags: number, id: number, payload = "") =>
  h2.frameHead(payload.length, type, flags, id) + payload;
const block = (id: number, bytes: string) => frame(h2.HEADERS, h2.FLAG.END_HEADERS, id, bytes);

/** What is sent for an answer, and what the log says of it. */
const WRONG: readonly (readonly [what: string, bytes: (id: number) => string, log: RegExp])[] = [
  ["DATA before a head", (id) => frame(h2.DATA, 1, id, "x"), /unexpected http2 frame: 0/],
  ["a frame that is too large", (id) => h2.frameHead(16_385, h2.DATA, 0, id), /too large http2 frame: 16385/],
  ["a stream that nobody opened", () => head(99, true), /frame for unknown stream 99/],
  ["a stream with an even number", () => head(2, true), /frame for unknown stream 2/],
  ["a push", (id) => frame(h2.PUSH_PROMISE, h2.FLAG.END_HEADERS, id, "\0\0\0\x02"), /unexpected push promise/],
  ["CONTINUATION without HEADERS", (id) => frame(h2.CONTINUATION, 4, id, "\x88"), /unexpected http2 frame: 9/],
  [
    "another frame within a header block",
    (id) => frame(h2.HEADERS, 0, id, "\x88") + frame(h2.PING, 0, 0, "12345678"),
    /unexpected http2 frame: 6/,
  ],
  ["SETTINGS of a wrong length", () => frame(h2.SETTINGS, 0, 0, "12345"), /settings frame with invalid length: 5/],
  ["SETTINGS on a stream", (id) => frame(h2.SETTINGS, 0, id), /settings frame with non-zero stream id/],
  ["a window that is too large at first", () => h2.settingsFrame([[4, 0x8000_0000]]), /too large initial window size/],
  ["a window that is opened by nothing", (id) => h2.windowUpdate(id, 0), /zero window update/],
  ["a window of the connection beyond the limit", () => h2.windowUpdate(0, h2.MAX_WINDOW), /too large window update/],
  ["a window of the stream beyond the limit", (id) => h2.windowUpdate(id, h2.MAX_WINDOW), /too large window update/],
  ["PING of a wrong length", () => frame(h2.PING, 0, 0, "1234"), /ping frame with invalid length: 4/],
  ["GOAWAY of a wrong length", () => frame(h2.GOAWAY, 0, 0, "1234"), /goaway frame with invalid length: 4/],
  [
    "RST_STREAM of a wrong length",
    (id) => frame(h2.RST_STREAM, 0, id, "12345"),
    /rst stream frame with invalid length: 5/,
  ],
  ["padding longer than its frame", (id) => frame(h2.HEADERS, 0xc, id, "\x09\x88"), /too long padding/],
  ["an index that no table has", (id) => block(id, "\xfe"), /invalid http2 table index: 126/],
  ["a header block that breaks off", (id) => block(id, "\x88\0\x7f"), /truncated http2 header/],
  ["no status", (id) => block(id, encodeField("a", "b")), /no :status header/],
  ["two statuses", (id) => block(id, "\x88\x88"), /duplicate :status header/],
  ["a status that is no number", (id) => block(id, encodeField(":status", "2x0")), /invalid :status "2x0"/],
  ["a status of switching protocols", (id) => block(id, encodeField(":status", "101")), /unexpected :status "101"/],
  ["another pseudo-header", (id) => block(id, `\x88${encodeField(":path", "/a")}`), /invalid header ":path: \/a"/],
  ["a name in upper case", (id) => block(id, `\x88${encodeField("Name", "v")}`), /invalid header: "Name: v"/],
  ["a line end in a value", (id) => block(id, `\x88${encodeField("name", "v\r\nx: y")}`), /invalid header: "name: /],
  ["HTTP/1 in place of frames", () => "HTTP/1.1 400 Bad Request\r\n\r\n", /too large http2 frame/],
  ["a reset", (id) => h2.rstStream(id, 2), /rejected request with error 2/],
];

test("what is no answer is answered with 502 and a sentence in the log", async (t) => {
  const server = await RawH2Server.start(t);
  const holdfast = await start(t, server);
  for (const [what, bytes, log] of WRONG) {
    const number = server.connections.length;
    const answer = get(holdfast.port, "/");
    // One that was reset by its stream alone goes on, and is used again.
    const last = server.connections.at(-1);
    const heads = () => last?.frames.filter(({ type }) => type === h2.HEADERS) ?? [];
    const before = heads().length;
    await waitFor(() => server.connections.length > number || heads().length > before, `the request for ${what}`);
    if (server.connections.length > number) {
      const { bad, id } = await asked(server, number);
      bad.write(bytes(id));
    } else {
      last?.write(bytes(heads()[before].stream));
    }
    assert.equal((await answer).status, 502, what);
    await waitFor(() => log.test(holdfast.errorLog()), `the log to speak of ${what}`);
    assert.equal((await get(holdfast.port, "/good")).body, "good");
  }
  assert.doesNotMatch(holdfast.errorLog(), /exception|\[alert\]/);
});

test("a head larger than proxy_buffer_size is refused, and its connection goes on", async (t) => {
  const server = await RawH2Server.start(t);
  const holdfast = await start(t, server);
  const large = get(holdfast.port, "/");
  const { bad, id } = await asked(server, 0);
  bad.write(head(id, true, [["large", "x".repeat(5000)]]));
  assert.equal((await large).status, 502);
  await waitFor(() => /too large http2 header/.test(holdfast.errorLog()), "the log");
  const next = get(holdfast.port, "/");
  await waitFor(() => bad.frames.filter(({ type }) => type === h2.HEADERS).length === 2, "the next request");
  bad.write(head(id + 2, true));
  assert.equal((await next).status, 200);
});

test("a small block that would stand for a large head refers to a table that there is not", async (t) => {
  const server = await RawH2Server.start(t);
  const holdfast = await start(t, server);
  const answer = get(holdfast.port, "/");
  const { bad, id } = await asked(server, 0);
  // A field of 4 KB in the table, and a thousand references to it: 4 MB.
  const entry = `\x40\x01a\x7f\xa1\x1e${"x".repeat(4000)}`;
  bad.write(block(id, `\x88${entry}${"\xbe".repeat(1000)}`));
  assert.equal((await answer).status, 502);
  await waitFor(() => /invalid http2 table index/.test(holdfast.errorLog()), "the log");
});

const gone = (id: number) => h2.rstStream(id, h2.ERROR.INTERNAL_ERROR);
/** What carries nothing, 2000 times. */
const FLOODS: readonly (readonly [what: string, frames: (id: number) => string])[] = [
  ["PING", () => frame(h2.PING, 0, 0, "12345678").repeat(2000)],
  ["PING that is acknowledged", () => frame(h2.PING, h2.FLAG.ACK, 0, "12345678").repeat(2000)],
  ["SETTINGS", () => h2.settingsFrame([]).repeat(2000)],
  [
    "SETTINGS of many entries",
    () => h2.settingsFrame(Array.from({ length: 2000 }, () => [h2.SETTING.INITIAL_WINDOW_SIZE, 1])),
  ],
  ["SETTINGS that are acknowledged", () => h2.SETTINGS_ACK.repeat(2000)],
  ["frames of unknown types", () => frame(0x42, 0, 0).repeat(2000)],
  ["CONTINUATION", (id) => frame(h2.HEADERS, 0, id, "\x88") + frame(h2.CONTINUATION, 0, id).repeat(2000)],
  ["WINDOW_UPDATE", () => h2.windowUpdate(0, 1).repeat(2000)],
  ["WINDOW_UPDATE of a stream", (id) => h2.windowUpdate(id, 1).repeat(2000)],
  ["GOAWAY", () => frame(h2.GOAWAY, 0, 0, "\x7f\xff\xff\xff\0\0\0\0").repeat(2000)],
  ["RST_STREAM", (id) => gone(id).repeat(2000)],
  ["HEADERS on a stream that is over", (id) => gone(id) + head(id).repeat(2000)],
  ["empty DATA on a stream that is over", (id) => gone(id) + frame(h2.DATA, 0, id).repeat(2000)],
];

for (const [what, frames] of FLOODS) {
  test(`a flood of ${what} ends its connection`, async (t) => {
    const server = await RawH2Server.start(t);
    const holdfast = await start(t, server);
    const answer = get(holdfast.port, "/");
    const { bad, id } = await asked(server, 0);
    bad.write(frames(id));
    assert.equal((await answer).status, 502);
    await waitFor(() => bad.ended, "the connection to be closed");
    // Where a request is left to speak of it.
    const said = frames(id).startsWith(gone(id)) ? /rejected request/ : /upstream sent too (many|large)/;
    await waitFor(() => said.test(holdfast.errorLog()), "the log");
    assert.equal((await get(holdfast.port, "/good")).body, "good");
  });
}

test("empty DATA, and DATA of padding, end an answer when there is no end of it", async (t) => {
  const server = await RawH2Server.start(t);
  const holdfast = await start(t, server);
  for (const [number, empty] of [frame(h2.DATA, 0, 1), frame(h2.DATA, h2.FLAG.PADDED, 1, "\x02\0\0")].entries()) {
    const answer = get(holdfast.port, "/").catch((error: Error) => error);
    const { bad, id } = await asked(server, number);
    bad.write(head(id), empty.repeat(2000));
    await waitFor(() => bad.ended, "the connection to be closed");
    const got = await answer;
    assert.ok(got instanceof Error || got.body === "");
    await waitFor(() => holdfast.errorLog().split("too many data frames").length > number + 1, "the log");
  }
});

test("what is on its way when a client leaves is passed over, as far as the window goes, and the connection goes on", async (t) => {
  const server = await RawH2Server.start(t);
  const holdfast = await start(t, server);
  const held = get(holdfast.port, "/held").catch((error: Error) => error);
  const { bad, id } = await asked(server, 0);
  const client = await RawConnection.open(holdfast.port);
  client.write("GET /left HTTP/1.1\r\nHost: a\r\n\r\n");
  const left = id + 2;
  await bad.frame(h2.HEADERS, left);
  bad.write(head(left), frame(h2.DATA, 0, left, "x".repeat(1000)));
  await client.until((received) => received.includes("xxx"));
  client.close();
  await bad.frame(h2.RST_STREAM, left);
  const piece = frame(h2.DATA, 0, left, "x".repeat(100));
  bad.write(piece.repeat(2500));
  const next = get(holdfast.port, "/next");
  await bad.frame(h2.HEADERS, left + 2);
  bad.write(head(left + 2), frame(h2.DATA, 1, left + 2, "next"));
  assert.equal((await next).body, "next");
  // Its window had room for 256 KiB.
  bad.write(piece.repeat(2000));
  await waitFor(() => bad.ended, "the connection to be closed");
  await held;
  await holdfast.waitForLog(new RegExp(`upstream sent frame for closed stream ${left} `));
});

test("a connection whose server takes no streams any more is not kept", async (t) => {
  const server = await RawH2Server.start(t);
  const holdfast = await start(t, server);
  const none = h2.settingsFrame([[h2.SETTING.MAX_CONCURRENT_STREAMS, 0]]);
  const first = get(holdfast.port, "/");
  const { bad, id } = await asked(server, 0);
  bad.write(none + head(id, true));
  assert.equal((await first).status, 200);
  await waitFor(() => bad.ended, "the connection to be closed");
  const second = get(holdfast.port, "/");
  const { bad: idle, id: other } = await asked(server, 1);
  idle.write(head(other, true));
  assert.equal((await second).status, 200);
  idle.write(none);
  await waitFor(() => idle.ended, "the idle connection to be closed");
});

test("a server that sends more than its window has room for has its stream reset", async (t) => {
  const server = await RawH2Server.start(t);
  const holdfast = await start(t, server, "proxy_buffering off;");
  const socket = get(holdfast.port, "/").catch((error: Error) => error);
  const { bad, id } = await asked(server, 0);
  // As nobody takes them: the head waits for no one, but all of this comes at once.
  bad.write(head(id), frame(h2.DATA, 0, id, "x".repeat(16_000)).repeat(40));
  bad.write(frame(h2.DATA, 1, id));
  const got = await socket;
  assert.ok(got instanceof Error || got.body.length <= 640_000);
  assert.equal((await get(holdfast.port, "/good")).body, "good");
});

test("a window that never opens ends with proxy_send_timeout", async (t) => {
  const server = await RawH2Server.start(t, h2.settingsFrame([[h2.SETTING.INITIAL_WINDOW_SIZE, 0]]));
  const holdfast = await start(t, server, "proxy_send_timeout 300ms;");
  const first = get(holdfast.port, "/");
  const { bad, id } = await asked(server, 0);
  bad.write(head(id, true));
  assert.equal((await first).status, 200);
  const body = "x".repeat(1000);
  const post = `POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
  assert.equal((await request(holdfast.port, post)).status, 504);
  await waitFor(() => /upstream timed out .* while sending request to upstream/.test(holdfast.errorLog()), "the log");
});

test("a server that resets every request costs each its answer, and the worker goes on", async (t) => {
  const server = await RawH2Server.start(t);
  const holdfast = await start(t, server);
  for (let round = 0; round < 3; round++) {
    const answers = Array.from({ length: 20 }, () => get(holdfast.port, "/"));
    let answered = 0;
    const counted = answers.map((answer) => answer.then(({ status }) => (answered += status === 502 ? 1 : 0)));
    await waitFor(() => {
      for (const connection of server.connections) {
        for (const { type, stream } of connection.frames.splice(0)) {
          if (type === h2.HEADERS) connection.write(h2.rstStream(stream, 11));
        }
      }
      return answered === 20;
    }, "all to be answered");
    await Promise.all(counted);
  }
  assert.equal((await get(holdfast.port, "/good")).body, "good");
});
