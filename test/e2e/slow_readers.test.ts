import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { connect, type Socket } from "node:net";
import { type TestContext, test } from "node:test";
import { tcpBackend } from "../support/backend.ts";
import { have } from "../support/have.ts";
import { type Running, startHoldfast, startNginx } from "../support/holdfast.ts";
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

/** Of these one at least is complete with us while its last bytes still wait for the kernel, which takes little of them (SMALL). */
const SIZES = [1, 2, 3, 4, 5, 6, 7, 8].map((count) => count * 32 * 1024);
const SMALL = "sndbuf=16k";

const files = {
  ...Object.fromEntries(SIZES.map((size) => [`html/${size}`, Buffer.alloc(size, "0123456789")])),
  "html/big": Buffer.alloc(BIG, "0123456789"),
  "html/index.html": "home",
};
const PROGRAMS: readonly (readonly [name: string, start: Start, skip: false | string])[] = [
  ["holdfast", (t, config) => startHoldfast(t, { config, files }), false],
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

/** A client for each size, with the beginning of its answer. */
function stubbornOfSizes(port: number): Promise<Socket[]> {
  return Promise.all(
    SIZES.map(async (size) => {
      const client = await stubborn(port, `GET /${size} HTTP/1.1\r\nHost: a\r\n\r\n`);
      await waitFor(() => client.readableLength > 0, "the beginning of the response");
      return client;
    }),
  );
}

/** Each got all of its answer. */
async function allCameWhole(clients: readonly Socket[]): Promise<void> {
  const lengths = await Promise.all(clients.map(async (client) => bodyOf(await readAll(client)).length));
  assert.deepEqual(lengths, SIZES);
}

for (const [name, start, skip] of PROGRAMS) {
  test(`${name}: what waits to be sent outlives keepalive_timeout, and the need for connections`, {
    skip,
  }, async (t) => {
    const server = await start(
      t,
      ([port]) => `events { worker_connections 32; } worker_processes 1;
        http { keepalive_timeout 1s; send_timeout 30s; server { listen 127.0.0.1:${port} ${SMALL}; root html; } }`,
    );
    const slow = await stubbornOfSizes(server.port);
    const others: RawConnection[] = [];
    const another = async () => {
      const other = await RawConnection.open(server.port);
      others.push(other);
      other.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
      assert.equal((await other.readResponse()).body, "home");
    };
    // More than there is room for, before the first of them are closed for being idle.
    await waitFor(async () => {
      await Promise.all(Array.from({ length: 8 }, another));
      return /32 worker_connections are not enough, reusing connections/.test(server.errorLog());
    }, "too many connections");
    for (const other of others) assert.equal(await other.readAll(), "", "its keepalive_timeout is over");
    await allCameWhole(slow);
  });

  test(`${name}: what waits to be sent outlives a worker that leaves`, { skip }, async (t) => {
    const server = await start(
      t,
      ([port]) => `worker_processes 1; http { server { listen 127.0.0.1:${port} ${SMALL}; root html; } }`,
    );
    const slow = await stubbornOfSizes(server.port);
    server.signal("SIGQUIT");
    await server.waitForLog(/gracefully shutting down/);
    await allCameWhole(slow);
    assert.equal(await server.exited, 0);
  });

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
    // More than the head, which may leave by itself.
    await waitFor(() => client.readableLength > 4096, "the beginning of the body");
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
