import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { writeFileSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { tcpBackend } from "../support/backend.ts";
import { have } from "../support/have.ts";
import { makePrefix, type Running, startHoldfast, startNginx } from "../support/holdfast.ts";
import { get, RawConnection } from "../support/tcp.ts";
import { waitFor } from "../support/wait.ts";

/**
 * Clients that take their time over what was sent. What the kernel has not taken from us has not been sent: it keeps the
 * connection, whatever else would end it. nginx is the measure: each scenario holds for both.
 */

/** More than the kernel takes for a client that does not read, on any system. */
const BIG = 24 * 1024 * 1024;
const FORMAT = `log_format sent "$uri $status $bytes_sent $body_bytes_sent"; access_log logs/access.log sent;`;

type Start = (t: TestContext, config: (ports: readonly number[]) => string) => Promise<Running>;

const files = { "html/big": Buffer.alloc(BIG, "0123456789"), "html/index.html": "home" };
/** A Node on which the handles of sockets cannot be tried, so that they are not trusted (net/direct_write_proof.ts). */
function withoutFfi(t: TestContext): NodeJS.ProcessEnv {
  const node = join(makePrefix(t), "node");
  writeFileSync(node, `#!/bin/sh\nexec '${process.execPath}' --no-experimental-ffi "$@"\n`, { mode: 0o755 });
  return { HOLDFAST_NODE: node };
}

const PROGRAMS: readonly (readonly [name: string, start: Start, skip: false | string])[] = [
  ["holdfast", (t, config) => startHoldfast(t, { config, files }), false],
  ["holdfast without direct writes", (t, config) => startHoldfast(t, { config, files, env: withoutFfi(t) }), false],
  ["nginx", (t, config) => startNginx(t, { config, files }), have("nginx")],
];

/** A client that reads nothing until it is told to. */
async function stubborn(port: number, request: string): Promise<Socket> {
  const socket = connect({ host: "127.0.0.1", port });
  socket.on("error", () => {});
  await new Promise((resolve) => socket.once("connect", resolve));
  socket.pause();
  socket.write(request);
  return socket;
}

/** Reads to the end; resolves to what came. */
async function readAll(socket: Socket): Promise<Buffer> {
  const pieces: Buffer[] = [];
  socket.on("data", (piece: Buffer) => pieces.push(piece));
  socket.resume();
  await new Promise((resolve) => socket.once("close", resolve));
  return Buffer.concat(pieces);
}

function bodyOf(response: Buffer): Buffer {
  return response.subarray(response.indexOf("\r\n\r\n") + 4);
}

function digest(bytes: Uint8Array): string {
  return createHash("sha1").update(bytes).digest("hex");
}

/** The big file came whole, and was logged so. */
async function cameWhole(server: Running, response: Buffer): Promise<void> {
  assert.equal(digest(bodyOf(response)), digest(files["html/big"]));
  await server.waitForLog(new RegExp(`^/big 200 ${response.length} ${BIG}$`, "m"), "logs/access.log");
}

const ASK = "GET /big HTTP/1.1\r\nHost: a\r\n\r\n";

for (const [name, start, skip] of PROGRAMS) {
  test(`${name}: keepalive_timeout begins when the response has left`, { skip }, async (t) => {
    const server = await start(
      t,
      ([port]) =>
        `http { ${FORMAT} keepalive_timeout 1s; send_timeout 30s; server { listen 127.0.0.1:${port}; root html; } }`,
    );
    const client = await stubborn(server.port, ASK);
    // Another connection's idle time is over meanwhile.
    const idle = await RawConnection.open(server.port);
    idle.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    await idle.readResponse();
    assert.equal(await idle.readAll(), "");
    assert.doesNotMatch(server.accessLog(), /big/, "what has not left is not logged as sent");
    await cameWhole(server, await readAll(client));
  });

  test(`${name}: a worker that leaves lets a slow client have all of its response`, { skip }, async (t) => {
    const server = await start(t, ([port]) => `http { ${FORMAT} server { listen 127.0.0.1:${port}; root html; } }`);
    const client = await stubborn(server.port, ASK);
    await waitFor(() => client.bytesWritten > 0 && client.readableLength > 0, "the beginning of the response");
    server.signal("SIGQUIT");
    await server.waitForLog(/gracefully shutting down/);
    await cameWhole(server, await readAll(client));
    assert.equal(await server.exited, 0);
  });

  test(`${name}: the access log has what left, where a client leaves in the midst of it`, { skip }, async (t) => {
    const server = await start(t, ([port]) => `http { ${FORMAT} server { listen 127.0.0.1:${port}; root html; } }`);
    const client = await stubborn(server.port, ASK);
    await waitFor(() => client.readableLength > 0, "the beginning of the response");
    client.resetAndDestroy();
    const [, sent, body] = await server.waitForLog(/^\/big 200 (\d+) (\d+)$/m, "logs/access.log");
    assert.ok(Number(sent) > 0 && Number(sent) < BIG, `${sent} bytes sent`);
    assert.ok(Number(body) > 0 && Number(body) < Number(sent));
  });

  test(`${name}: a tunnel's end waits for what its client has not taken`, { skip }, async (t) => {
    const big = files["html/big"];
    const backend = await tcpBackend(t, async (connection) => {
      await connection.readHeader();
      connection.write("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n");
      connection.write(big);
      connection.end();
    });
    const server = await start(
      t,
      ([port]) =>
        `http { ${FORMAT} server { listen 127.0.0.1:${port}; location / { proxy_pass http://${backend.address};
          proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade; } } }`,
    );
    const client = await stubborn(
      server.port,
      "GET /up HTTP/1.1\r\nHost: a\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    );
    await waitFor(() => client.readableLength > 0, "the beginning of the tunnel");
    const response = await readAll(client);
    assert.equal(digest(bodyOf(response)), digest(big));
    await server.waitForLog(new RegExp(`^/up 101 ${response.length} ${BIG}$`, "m"), "logs/access.log");
  });

  test(`${name}: an answer that breaks off comes as far as it went`, { skip }, async (t) => {
    const part = BIG / 2;
    const backend = await tcpBackend(t, async (connection) => {
      await connection.readHeader();
      connection.write(`HTTP/1.1 200 OK\r\nContent-Length: ${BIG}\r\n\r\n`);
      connection.write(files["html/big"].subarray(0, part));
      connection.end();
    });
    const server = await start(
      t,
      ([port]) =>
        `http { ${FORMAT} server { listen 127.0.0.1:${port}; location / { proxy_pass http://${backend.address}; } } }`,
    );
    const client = await stubborn(server.port, "GET /part HTTP/1.1\r\nHost: a\r\n\r\n");
    await server.waitForLog(/upstream prematurely closed connection/);
    const response = await readAll(client);
    assert.equal(bodyOf(response).length, part);
    await server.waitForLog(new RegExp(`^/part 200 ${response.length} ${part}$`, "m"), "logs/access.log");
  });
}

test("a client that is slow to take its answer holds up no other", async (t) => {
  const server = await startHoldfast(t, {
    config: ([port]) => `worker_processes 1; http { server { listen 127.0.0.1:${port}; root html; } }`,
    files,
  });
  const client = await stubborn(server.port, ASK);
  await waitFor(() => client.readableLength > 0, "the beginning of the response");
  assert.equal((await get(server.port, "/")).body, "home");
  client.destroy();
});

test("handles that could not be tried are said once; those that were tried are used without a word", async (t) => {
  const config = ([port]: readonly number[]) =>
    `worker_processes 2; http { server { listen 127.0.0.1:${port}; location / { return 200 hello; } } }`;
  const said = /\[notice\] [^\n]*: sockets are written to through node:net, which is slower: [^\n]*could not be tried/g;
  for (const [env, times] of [
    [withoutFfi(t), 1],
    [{}, process.platform === "linux" ? 0 : 1],
  ] as const) {
    const holdfast = await startHoldfast(t, { config, env });
    assert.equal((await get(holdfast.port, "/")).body, "hello");
    assert.equal(await holdfast.stop(), 0);
    assert.equal(holdfast.errorLog().match(said)?.length ?? 0, times);
    assert.doesNotMatch(holdfast.stderr, /Warning/);
  }
});
