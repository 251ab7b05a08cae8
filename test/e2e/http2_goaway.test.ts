/** The end of HTTP/2 connections (RFC 9113 section 6.8): a notice, and when the client knows of it, which stream was the last. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { connect as connectTcp } from "node:net";
import { type TestContext, test } from "node:test";
import * as h2 from "../../src/wire/h2/frames.ts";
import { httpBackend } from "../support/backend.ts";
import { h2Answer, h2Session, RawH2 } from "../support/h2.ts";
import { type Running, startHoldfast } from "../support/holdfast.ts";
import { waitFor } from "../support/wait.ts";

const LARGE = "0123456789abcdef".repeat(20_000);
const SMALL = [[":method", "GET"] as const, [":scheme", "http"] as const, [":path", "/small"] as const];
const { END_STREAM, END_HEADERS } = h2.FLAG;

function start(t: TestContext, http = "", locations = "", globals = ""): Promise<Running> {
  return startHoldfast(t, {
    files: { "html/large": LARGE, "html/small": "small\n" },
    config: ([port, second]) => `${globals} http { ${http} root html;
      server { listen 127.0.0.1:${port}; http2 on; ${locations} }
      server { listen 127.0.0.1:${second}; http2 on; } }`,
  });
}

/** What GOAWAY frames have said. */
const goaways = ({ frames }: Pick<RawH2, "frames">): (readonly [last: number, error: number])[] =>
  frames
    .filter(({ type }) => type === h2.GOAWAY)
    .map(({ payload }) => [payload.readUInt32BE(0), payload.readUInt32BE(4)] as const);

const NOTICE = [h2.MAX_STREAM, h2.ERROR.NO_ERROR] as const;
const last = (stream: number) => [stream, h2.ERROR.NO_ERROR] as const;

/** Waits for the notice, and returns the acknowledgement of the PING behind it. */
async function noticed(client: RawH2): Promise<string> {
  const ping = await client.frame(h2.PING);
  const { payload, flags } = ping;
  assert.equal(flags & h2.FLAG.ACK, 0);
  // What came with it: where lingering_timeout is short, more may have followed by now.
  assert.deepEqual(goaways({ frames: client.frames.slice(0, client.frames.indexOf(ping)) }), [NOTICE]);
  return h2.pingAck(payload.toString("latin1"));
}

async function answer(client: RawH2, stream: number): Promise<string> {
  return (await client.frame(h2.DATA, stream)).payload.toString();
}

/** The connection ends, and was told that this was the last stream. */
async function over(client: RawH2, stream: number): Promise<void> {
  await waitFor(() => client.ended, "the end of the connection");
  assert.deepEqual(goaways(client), [NOTICE, last(stream)]);
  client.socket.end();
}

test("what a client sends before it knows of the shutdown is answered", async (t) => {
  const holdfast = await start(t);
  const [idle, fresh] = [await RawH2.open(t, holdfast.port), await RawH2.open(t, holdfast.port)];
  idle.write(idle.get(1, "/small"));
  assert.equal(await answer(idle, 1), "small\n");
  await fresh.frame(h2.SETTINGS);
  holdfast.signal("SIGQUIT");
  for (const client of [idle, fresh]) {
    const ack = await noticed(client);
    // Another PING that is acknowledged says nothing.
    client.write(
      h2.pingAck("someelse"),
      client.get(3, "/small"),
      client.get(5, "/large"),
      h2.windowUpdate(0, 1_000_000),
    );
    assert.equal(await answer(client, 3), "small\n");
    client.write(ack);
    await waitFor(() => goaways(client).length === 2, "the last stream's number");
    client.write(client.get(7, "/small"), h2.windowUpdate(5, 1_000_000));
    await over(client, 5);
    const bytes = client.frames.filter(({ type, stream }) => type === h2.DATA && stream === 5);
    assert.equal(bytes.map(({ payload }) => payload.toString()).join(""), LARGE);
    assert.ok(!client.frames.some(({ stream }) => stream === 7));
  }
  assert.equal(await holdfast.exited, 0);
});

test("idle connections end when the client knows, whether or not it has ever asked", async (t) => {
  const holdfast = await start(t, "lingering_timeout 60s;", "keepalive_timeout 60s;");
  const [idle, fresh] = [await RawH2.open(t, holdfast.port), await RawH2.open(t, holdfast.port)];
  idle.write(idle.get(1, "/small"), idle.get(3, "/small"));
  await answer(idle, 3);
  await fresh.frame(h2.SETTINGS);
  holdfast.signal("SIGQUIT");
  for (const [client, stream] of [[idle, 3] as const, [fresh, 0] as const]) {
    client.write(await noticed(client));
    await over(client, stream);
  }
  assert.equal(await holdfast.exited, 0);
});

test("a connection that is accepted, or begins, after the shutdown has begun gets its answer", async (t) => {
  const holdfast = await start(t);
  const socket = connectTcp({ port: holdfast.port, host: "127.0.0.1" });
  t.after(() => socket.destroy());
  await once(socket, "connect");
  holdfast.signal("SIGQUIT");
  await waitFor(async () => {
    const another = connectTcp({ port: holdfast.port, host: "127.0.0.1" });
    const connected = await once(another, "connect").catch(() => undefined);
    another.destroy();
    return connected === undefined;
  }, "no socket that listens");
  const client = new RawH2(socket);
  client.write(h2.PREFACE + h2.settingsFrame([]), client.get(1, "/small"));
  const ack = await noticed(client);
  assert.equal(await answer(client, 1), "small\n");
  client.write(ack);
  await over(client, 1);
  assert.equal(await holdfast.exited, 0);
});

test("a client that never acknowledges, and asks for ever, is told the last stream all the same", async (t) => {
  const holdfast = await start(t, "lingering_timeout 100ms;");
  const [client, silent] = [await RawH2.open(t, holdfast.port), await RawH2.open(t, holdfast.port)];
  client.write(client.get(1, "/small"));
  await answer(client, 1);
  await silent.frame(h2.SETTINGS);
  holdfast.signal("SIGQUIT");
  // It asks from before the notice on, however late it looks at that.
  const answered = () => client.frames.filter(({ type }) => type === h2.DATA).length;
  let count = 1;
  while (!client.ended) {
    client.write(client.get(2 * count++ + 1, "/small"), client.get(2 * count++ + 1, "/small"));
    await waitFor(() => client.ended || answered() >= count - 1, "an answer");
  }
  const [notice, [until]] = goaways(client);
  assert.deepEqual(notice, NOTICE);
  assert.ok(until > 1 && until <= 2 * count - 1, `${until} of ${2 * count - 1}`);
  // What it was promised it has got.
  assert.equal(answered(), (until + 1) / 2);
  client.socket.end();
  await over(silent, 0);
  assert.equal(await holdfast.exited, 0);
});

test("an answer under way before the shutdown may hold the notice back, others are answered meanwhile", async (t) => {
  const holdfast = await start(t, "lingering_timeout 50ms; keepalive_requests 2;");
  const client = await RawH2.open(t, holdfast.port, [[h2.SETTING.INITIAL_WINDOW_SIZE, 0]]);
  client.write(client.get(1, "/large"));
  await client.frame(h2.HEADERS, 1);
  holdfast.signal("SIGQUIT");
  await noticed(client);
  const end = performance.now() + 300;
  let stream = 1;
  while (performance.now() < end) {
    stream += 2;
    client.write(client.get(stream, "/small"), h2.windowUpdate(stream, 100));
    assert.equal(await answer(client, stream), "small\n");
  }
  assert.deepEqual(goaways(client), [NOTICE]);
  client.write(h2.windowUpdate(0, 1_000_000), h2.windowUpdate(1, 1_000_000));
  await over(client, stream);
  assert.equal(await holdfast.exited, 0);
});

test("a header block that is not complete when the last stream is named is still a request", async (t) => {
  const holdfast = await start(t, "lingering_timeout 50ms;");
  const client = await RawH2.open(t, holdfast.port);
  const block = client.head(1, [...SMALL, [":authority", "localhost"]]).slice(h2.FRAME_HEAD);
  client.write(h2.frameHead(10, h2.HEADERS, END_STREAM, 1) + block.slice(0, 10));
  await client.frame(h2.SETTINGS);
  holdfast.signal("SIGQUIT");
  await waitFor(() => goaways(client).length === 2, "the last stream's number");
  assert.equal(client.ended, false);
  client.write(h2.frameHead(block.length - 10, h2.CONTINUATION, END_HEADERS, 1) + block.slice(10));
  assert.equal(await answer(client, 1), "small\n");
  await over(client, 1);
  assert.equal(await holdfast.exited, 0);
});

test("one that never becomes complete does not hold the worker for ever", async (t) => {
  const holdfast = await start(t, "lingering_timeout 50ms; client_header_timeout 200ms;");
  const client = await RawH2.openAnswered(t, holdfast.port, "/small");
  client.write(`${h2.frameHead(1, h2.HEADERS, END_STREAM, 3)}\x82`);
  holdfast.signal("SIGQUIT");
  assert.equal((await client.frame(h2.RST_STREAM, 3)).payload.readUInt32BE(0), h2.ERROR.PROTOCOL_ERROR);
  await over(client, 3);
  assert.equal(await holdfast.exited, 0);
});

test("requests under way are answered, however late, by Node's client too", async (t) => {
  let reply: (() => void) | undefined;
  const backend = await httpBackend(t, (_request, response) => {
    reply = () => response.end("late");
  });
  const holdfast = await start(t, "", `location /p { proxy_pass http://${backend.address}; }`);
  const session = h2Session(t, `http://127.0.0.1:${holdfast.port}`);
  const goaway = once(session, "goaway");
  const stream = h2Answer(session.request({ ":path": "/p" }));
  const give = await waitFor(() => reply, "the request at the server");
  holdfast.signal("SIGQUIT");
  assert.equal((await goaway)[0], 0);
  give();
  assert.equal((await stream).body, "late");
  assert.equal(await holdfast.exited, 0);
});

test("worker_shutdown_timeout ends connections that wait for an acknowledgement", async (t) => {
  const holdfast = await start(t, "lingering_timeout 60s;", "", "worker_shutdown_timeout 100ms;");
  const client = await RawH2.open(t, holdfast.port);
  await client.frame(h2.SETTINGS);
  holdfast.signal("SIGQUIT");
  await noticed(client);
  assert.equal(await holdfast.exited, 0);
});

test("a reload that takes an address away gives notice to its connections alone", async (t) => {
  const holdfast = await start(t);
  const [port, second] = holdfast.ports;
  const [stays, goes] = [await RawH2.open(t, port), await RawH2.open(t, second)];
  for (const client of [stays, goes]) {
    client.write(client.get(1, "/small"));
    await answer(client, 1);
  }
  holdfast.configure(`http { root html; server { listen 127.0.0.1:${port}; http2 on; } }`);
  await holdfast.reload();
  const ack = await noticed(goes);
  goes.write(goes.get(3, "/small"), ack);
  assert.equal(await answer(goes, 3), "small\n");
  await over(goes, 3);
  stays.write(stays.get(3, "/small"));
  assert.equal(await answer(stays, 3), "small\n");
  assert.deepEqual(goaways(stays), []);
});
