/** New connections that wait outside: their first packet is dropped, for some addresses or all. */
import assert from "node:assert/strict";
import { closeSync } from "node:fs";
import { connect } from "node:net";
import { type TestContext, test } from "node:test";
import { admitNew, holdNew } from "../../src/net/held_door.ts";
import { bindSocket } from "../../src/net/listening_socket.ts";
import { libc } from "../../src/sys/libc.ts";
import { freePort } from "../support/ports.ts";

/** A listening socket for all addresses, whose queue takes what comes. */
async function listening(t: TestContext): Promise<{ readonly fd: number; readonly port: number }> {
  const port = await freePort();
  const bound = bindSocket({ address: { family: "ipv6", host: "::", port }, ipv6only: false, join: false });
  assert.ok("fd" in bound);
  t.after(() => closeSync(bound.fd));
  assert.equal(libc().listen(bound.fd, 16), 0);
  return { fd: bound.fd, port };
}

/** Whether a connection comes about before the client would send its first packet again. */
function connects(host: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host, port });
    const done = (answer: boolean): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve(answer);
    };
    // Where the process is held up, what has come meanwhile is seen first.
    const timer = setTimeout(() => setImmediate(done, false), 300);
    socket.once("connect", () => done(true));
    socket.once("error", () => done(false));
  });
}

test("new connections to the given addresses wait outside, others come in", async (t) => {
  const { fd, port } = await listening(t);
  const answers = async () => [
    await connects("127.0.0.1", port),
    await connects("127.0.0.2", port),
    await connects("::1", port),
  ];
  assert.deepEqual(await answers(), [true, true, true]);
  holdNew([fd], ["127.0.0.2", "fd00::7"]);
  assert.deepEqual(await answers(), [true, false, true]);
  holdNew([fd], ["::1", "127.0.0.1"]);
  assert.deepEqual(await answers(), [false, true, false]);
  holdNew([fd], undefined);
  assert.deepEqual(await answers(), [false, false, false]);
  admitNew([fd]);
  assert.deepEqual(await answers(), [true, true, true]);
});
