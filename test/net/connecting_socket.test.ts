import assert from "node:assert/strict";
import { closeSync } from "node:fs";
import { test } from "node:test";
import { connectingSocket } from "../../src/net/connecting_socket.ts";
import { libc } from "../../src/sys/libc.ts";

const SOL_SOCKET = 1;
const SO_SNDBUF = 7;
const SO_RCVBUF = 8;

function sizeOf(fd: number, option: number): number {
  const value = Buffer.alloc(4);
  const length = Buffer.from([4, 0, 0, 0]);
  assert.equal(libc().getsockopt(fd, SOL_SOCKET, option, value, length), 0);
  return value.readInt32LE();
}

test("the kernel's buffers are as large as asked for, which Linux doubles", () => {
  for (const address of [
    { family: "ipv4", host: "127.0.0.1", port: 1 },
    { family: "unix", path: "/nowhere" },
  ] as const) {
    const socket = connectingSocket({ address, rcvbuf: 20_000, sndbuf: 30_000 });
    assert.ok("fd" in socket);
    assert.deepEqual([sizeOf(socket.fd, SO_RCVBUF), sizeOf(socket.fd, SO_SNDBUF)], [40_000, 60_000]);
    closeSync(socket.fd);
  }
});
