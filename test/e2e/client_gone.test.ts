import assert from "node:assert/strict";
import type { Socket } from "node:net";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { type BackendConnection, tcpBackend } from "../support/backend.ts";
import { have } from "../support/have.ts";
import { makePrefix, type Running, startHoldfast, startNginx } from "../support/holdfast.ts";
import { get, RawConnection } from "../support/tcp.ts";
import { waitFor } from "../support/wait.ts";

/**
 * Clients that leave while bytes they sent are not yet taken: pipelined requests, the rest of a body, a tunnel's. Nobody
 * wants the answer any more: the server's connection is closed, and its place under max_conns is free. nginx is the
 * measure where both can do it.
 */

type Start = (t: TestContext, config: (ports: readonly number[]) => string) => Promise<Running>;

const PROGRAMS: readonly (readonly [name: string, start: Start, skip: false | string])[] = [
  ["holdfast", (t, config) => startHoldfast(t, { config }), false],
  ["nginx", (t, config) => startNginx(t, { config }), have("nginx")],
];
const holdfast = PROGRAMS[0][1];

const HANG = "GET /hang HTTP/1.1\r\nHost: a\r\n\r\n";
const WHOLE = "GET /next HTTP/1.1\r\nHost: a\r\n\r\n";
const FORMAT = `log_format brief "$request_uri $status"; access_log logs/access.log brief;`;

type Leave = (client: Socket) => void;
const FIN: Leave = (client) => client.end();
const RST: Leave = (client) => client.resetAndDestroy();

/** A server with room for one connection, which never answers /hang, and its configuration. */
async function hangingServer(t: TestContext, settings = "") {
  const hanging: BackendConnection[] = [];
  const backend = await tcpBackend(t, async (connection) => {
    for (;;) {
      const head = await connection.readHeader();
      if (head === undefined) return;
      if (head.includes("/hang")) {
        hanging.push(connection);
        await connection.read(() => false);
        connection.end();
        return;
      }
      connection.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    }
  });
  const config = ([port]: readonly number[]): string => `worker_processes 1; http { ${FORMAT}
    upstream one { server ${backend.address} max_conns=1; }
    server { listen 127.0.0.1:${port}; ${settings}
      location / { proxy_pass http://one; } location /static { return 200 static; } } }`;
  return { hanging, config };
}

/** The server's connection was closed, and another takes its place. */
async function placeIsFree(server: Running, hanging: BackendConnection, status: number): Promise<void> {
  await waitFor(() => hanging.ended, "the close of the server's connection");
  assert.equal((await get(server.port, "/other")).body, "ok");
  // The line before that of /other.
  await server.waitForLog(new RegExp(`^/hang ${status}\\n/other 200\\n$`, "m"), "logs/access.log");
}

const BEHIND: readonly (readonly [what: string, bytes: string])[] = [
  ["nothing", ""],
  ["one byte", "G"],
  ["a whole request", WHOLE],
  ["many requests", WHOLE.repeat(Math.ceil((60 * 1024) / WHOLE.length))],
];

for (const [name, start, skip] of PROGRAMS) {
  test(`${name}: a client that leaves gives the server back, whatever it sent behind its request`, {
    skip,
  }, async (t) => {
    const { hanging, config } = await hangingServer(t);
    const server = await start(t, config);
    for (const [end, leave] of Object.entries({ FIN, RST })) {
      for (const [what, bytes] of BEHIND) {
        await t.test(`${end} behind ${what}`, async () => {
          const before = hanging.length;
          const client = await RawConnection.open(server.port);
          client.write(HANG + bytes);
          await waitFor(() => hanging.length > before, "the request at the server");
          leave(client.socket);
          await placeIsFree(server, hanging[before], 499);
          client.close();
        });
      }
    }
  });

  test(`${name}: requests that stand before the client's end are answered where nothing waits`, { skip }, async (t) => {
    const { hanging, config } = await hangingServer(t);
    const server = await start(t, config);
    const client = await RawConnection.open(server.port);
    client.write(`${WHOLE.replace("/next", "/static/1")}${WHOLE.replace("/next", "/static/2")}${HANG}G`);
    await waitFor(() => hanging.length > 0, "the third request at the server");
    client.end();
    const answers = await client.readAll();
    assert.equal(answers.match(/HTTP\/1\.1 200 OK/g)?.length, 2);
    await placeIsFree(server, hanging[0], 499);
  });

  test(`${name}: with proxy_ignore_client_abort, pipelined requests have their turn after a client's end`, {
    skip,
  }, async (t) => {
    const { hanging, config } = await hangingServer(t, "proxy_ignore_client_abort on;");
    const server = await start(t, config);
    const client = await RawConnection.open(server.port);
    client.write(HANG + WHOLE);
    await waitFor(() => hanging.length > 0, "the request at the server");
    client.end();
    hanging[0].write("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlate");
    hanging[0].end();
    const answers = await client.readAll();
    assert.match(answers, /late/);
    await server.waitForLog(/^\/hang 200\n\/next 200$/m, "logs/access.log");
  });
}

for (const [name, start, skip] of PROGRAMS) {
  test(`${name}: with proxy_ignore_client_abort, an answer to nobody goes to nobody, and its status is logged`, {
    skip,
  }, async (t) => {
    const waiting = new Map<string, BackendConnection>();
    const backend = await tcpBackend(t, async (connection) => {
      const path = (await connection.readHeader())?.split(" ")[1] ?? "";
      waiting.set(path, connection);
    });
    const server = await start(
      t,
      ([port]) => `worker_processes 1; http { ${FORMAT} server { listen 127.0.0.1:${port};
        location / { proxy_pass http://${backend.address}; proxy_ignore_client_abort on; } } }`,
    );
    const ask = async (path: string): Promise<RawConnection> => {
      const client = await RawConnection.open(server.port);
      client.write(`GET ${path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`);
      await waitFor(() => waiting.has(path), `${path} at the server`);
      return client;
    };
    const answer = (path: string): void => {
      waiting.get(path)?.write(`HTTP/1.1 203 OK\r\nContent-Length: 0\r\nSet-Cookie: of=${path}\r\n\r\n`);
    };
    const first = await ask("/first");
    first.socket.resetAndDestroy();
    const second = await ask("/second");
    answer("/first");
    await server.waitForLog(/^\/first 203$/m, "logs/access.log");
    answer("/second");
    const { headers } = await second.readResponse();
    const cookies = headers.filter(([field]) => field === "set-cookie").map(([, value]) => value);
    assert.deepEqual(cookies, ["of=/second"]);
    second.close();
  });
}

test("a client that leaves (RST) behind 200 KiB that nobody takes gives the server back", async (t) => {
  const { hanging, config } = await hangingServer(t);
  const server = await holdfast(t, config);
  const client = await RawConnection.open(server.port);
  client.write(HANG + WHOLE.repeat(Math.ceil((200 * 1024) / WHOLE.length)));
  await waitFor(() => hanging.length > 0, "the request at the server");
  client.socket.resetAndDestroy();
  await placeIsFree(server, hanging[0], 499);
});

/** Writes until no more is taken: everything between here and the server is full. */
async function fill(client: Socket): Promise<void> {
  const piece = Buffer.alloc(64 * 1024, "x");
  for (let drained = true; drained; ) {
    if (client.write(piece)) continue;
    drained = await new Promise<boolean>((resolve) => {
      const timer = setTimeout(resolve, 200, false);
      client.once("drain", () => {
        clearTimeout(timer);
        resolve(true);
      });
    });
  }
}

const POST = "POST /hang HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n";
const UPGRADE = "GET /hang HTTP/1.1\r\nHost: a\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n";
const SWITCHING = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n";

/** A server with room for one connection, which takes nothing but a head, and the connections that it does so with. */
async function stubbornServer(t: TestContext, answer = "") {
  const stubborn: BackendConnection[] = [];
  const backend = await tcpBackend(t, async (connection) => {
    const head = await connection.readHeader();
    if (head === undefined) return;
    if (head.includes("/other")) {
      connection.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
      return;
    }
    connection.socket.pause();
    connection.write(answer);
    stubborn.push(connection);
  });
  const unix = join(makePrefix(t), "logs/socket");
  const config = ([port]: readonly number[]): string => `worker_processes 1; http { ${FORMAT}
    upstream one { server ${backend.address} max_conns=1; }
    server { listen 127.0.0.1:${port}; listen unix:${unix}; proxy_request_buffering off; proxy_http_version 1.1;
      client_max_body_size 0; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade;
      location / { proxy_pass http://one; } } }`;
  return { stubborn, unix, config };
}

const LEAVING: readonly (readonly [what: string, request: string, answer: string, overUnix: boolean, leave: Leave])[] =
  [
    ["a body (RST)", POST, "", false, RST],
    // Over TCP the end would wait for room in the receiver's window.
    ["a body (close of a unix socket)", POST, "", true, (client) => client.destroy()],
    ["a tunnel's bytes (RST)", UPGRADE, SWITCHING, false, RST],
  ];

for (const [what, request, answer, overUnix, leave] of LEAVING) {
  test(`a client that leaves behind ${what} that the server does not take gives the server back`, async (t) => {
    const { stubborn, unix, config } = await stubbornServer(t, answer);
    const server = await holdfast(t, config);
    const { socket } = await RawConnection.open(overUnix ? unix : server.port);
    socket.write(request);
    await waitFor(() => stubborn.length > 0, "the request at the server");
    await fill(socket);
    leave(socket);
    await server.waitForLog(/^\/hang \d+$/m, "logs/access.log");
    assert.equal((await get(server.port, "/other")).body, "ok");
    stubborn[0].socket.resume();
    await waitFor(() => stubborn[0].ended, "the close of the server's connection");
  });
}

test("a tunnel's bytes come before its client's end, however slowly they are taken", async (t) => {
  const { stubborn, unix, config } = await stubbornServer(t, SWITCHING);
  await holdfast(t, config);
  const { socket } = await RawConnection.open(unix);
  socket.write(UPGRADE);
  await waitFor(() => stubborn.length > 0, "the tunnel");
  await fill(socket);
  const sent = socket.bytesWritten - UPGRADE.length;
  socket.end();
  const [{ socket: taken }] = stubborn;
  let received = stubborn[0].received.length;
  taken.on("data", (bytes: Buffer) => {
    received += bytes.length;
  });
  taken.resume();
  await waitFor(() => stubborn[0].ended, "the end of the tunnel at the server");
  assert.equal(received, sent);
});
