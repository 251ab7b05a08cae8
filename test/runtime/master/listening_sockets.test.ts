import assert from "node:assert/strict";
import { connect, createServer, type Socket } from "node:net";
import { test } from "node:test";
import { addressText } from "../../../src/net/address.ts";
import { duplicate } from "../../../src/net/listening_socket.ts";
import type { ListenSpec } from "../../../src/runtime/application.ts";
import { ListeningSockets, shareOf } from "../../../src/runtime/master/listening_sockets.ts";
import { freePort } from "../../support/ports.ts";

function spec(host: string, port: number, ipv6only?: boolean): ListenSpec {
  const address = { family: host.includes(":") ? "ipv6" : "ipv4", host, port } as const;
  const rest = { backlog: 511, reuseport: false, keepalive: undefined, deferred: false };
  return { ...rest, address, ipv6only, key: addressText(address) };
}

function testLog() {
  const lines: string[] = [];
  return { lines, wants: () => true, write: (level: string, text: string) => void lines.push(`[${level}] ${text}`) };
}

/** How a connection attempt ends. */
function attempt(port: number): Promise<Socket | string | undefined> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1", () => resolve(socket));
    socket.on("error", (error: NodeJS.ErrnoException) => resolve(error.code));
  });
}

/** Accepts on a duplicate, as a worker does; answers each connection with `word`. */
function worker(fd: number, word: string) {
  const server = createServer((socket) => socket.end(word)).listen({ fd: duplicate(fd) });
  return new Promise<typeof server>((resolve) => server.once("listening", () => resolve(server)));
}

test("what is bound is seen by no client, and by whoever wants the port; a failure leaves nothing", async (t) => {
  const port = await freePort();
  const taken = createServer().listen(await freePort(), "127.0.0.1");
  t.after(() => taken.close());
  await new Promise((resolve) => taken.once("listening", resolve));
  const address = taken.address();
  assert.ok(typeof address === "object" && address !== null);
  const log = testLog();
  const sockets = new ListeningSockets();
  t.after(() => sockets.close());
  assert.equal(await sockets.bind([spec("127.0.0.1", port)], 2, log), true);
  assert.equal(await attempt(port), "ECONNREFUSED");
  assert.deepEqual(log.lines, []);

  const other = spec("127.0.0.1", await freePort());
  assert.equal(await sockets.bind([other, spec("127.0.0.1", address.port)], 2, log), false);
  const failed = `[emerg] bind() to 127.0.0.1:${address.port} failed (98: Address already in use)`;
  assert.deepEqual(log.lines.slice(0, 2), [failed, "[notice] try again to bind() after 500ms"]);
  assert.deepEqual(log.lines.slice(-2), [failed, "[emerg] still could not bind()"]);
  assert.deepEqual(Object.keys(sockets.descriptors(2)), [`127.0.0.1:${port}`]);
  const again = createServer().listen(other.address.family === "unix" ? 0 : other.address.port, "127.0.0.1");
  await new Promise((resolve) => again.once("listening", resolve));
  again.close();
  assert.equal(await sockets.bind([spec("127.0.0.1", address.port)], 2, log, true), true);
  assert.equal(await sockets.bind([spec("198.51.100.1", port)], 2, log, true), false);
  assert.equal(log.lines.at(-1), `[emerg] bind() to 198.51.100.1:${port} failed (99: Cannot assign requested address)`);
});

test("addresses of our own that overlap stand beside each other", async (t) => {
  const port = await freePort();
  const log = testLog();
  const sockets = new ListeningSockets();
  t.after(() => sockets.close());
  for (const host of ["127.0.0.1", "0.0.0.0", "::"]) {
    assert.equal(await sockets.bind([spec(host, port, host === "::" ? false : undefined)], 3, log), true, host);
  }
  assert.deepEqual(log.lines, []);
});

test("what waits in a queue outlives whoever listened, and is served by who comes after", async (t) => {
  const port = await freePort();
  const here = spec("127.0.0.1", port);
  const sockets = new ListeningSockets();
  t.after(() => sockets.close());
  assert.equal(await sockets.bind([here], 1, testLog()), true);
  const [fd] = sockets.descriptors(1)[here.key];
  const first = await worker(fd, "first");
  await new Promise((resolve) => first.close(resolve));
  const waiting = await attempt(port);
  assert.ok(typeof waiting === "object");
  const said = new Promise<string>((resolve) => waiting.once("data", (data) => resolve(data.toString())));

  sockets.retireOthers([]);
  // Nobody gets into the queue any more; who is in it is served.
  assert.equal(await attempt(port), "ECONNREFUSED");
  const second = await worker(fd, "second");
  assert.equal(await said, "second");
  second.close();
  sockets.closeRetired();
});

test("each worker has the socket of its number; those without a worker are shared out", () => {
  const all = { a: [10, 11, 12, 13], b: [20, 20, 20, 20] };
  assert.deepEqual(shareOf(all, 1, [0, 1, 2, 3]), { a: [11], b: [20] });
  assert.deepEqual(shareOf(all, 0, [0]), { a: [10, 11, 12, 13], b: [20] });
  assert.deepEqual(shareOf(all, 0, [0, 2]), { a: [10], b: [20] });
  assert.deepEqual(shareOf(all, 2, [0, 2]), { a: [11, 12, 13], b: [20] });
});
