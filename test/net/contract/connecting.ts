import assert from "node:assert/strict";
import { closeSync, writeFileSync } from "node:fs";
import net from "node:net";
import { networkInterfaces } from "node:os";
import { type TestContext, test } from "node:test";
import type { Address } from "../../../src/net/address.ts";
import type { Engine } from "../../../src/net/engine.ts";
import { streamError } from "../../../src/net/errors.ts";
import { bindSocket } from "../../../src/net/listening_socket.ts";
import type { Stream } from "../../../src/net/stream.ts";
import { libc } from "../../../src/sys/libc.ts";
import { call, freeAddress, heardBut, hears, listening, recorder, serving, turns } from "./harness.ts";

const IPV6 = Object.values(networkInterfaces()).some((list) => list?.some(({ address }) => address === "::1"));

/** A socket that is bound, and does not listen. */
async function bound(t: TestContext, unix: boolean): Promise<{ address: Address; fd: number }> {
  const address = await freeAddress(t, unix);
  const made = bindSocket({ address, ipv6only: undefined, join: false });
  assert.ok("fd" in made);
  t.after(() => closeSync(made.fd));
  return { address, fd: made.fd };
}

/** Where nobody is, and what the system says of that. */
const FAILURES: Readonly<Record<string, [where: (t: TestContext) => Promise<Address>, code: string, message: string]>> =
  {
    "to a port on which nobody listens": [(t) => freeAddress(t, false), "ECONNREFUSED", "111: Connection refused"],
    "to a path at which nothing is": [(t) => freeAddress(t, true), "ENOENT", "2: No such file or directory"],
    "to a socket's file whose owner has gone": [
      async (t) => (await bound(t, true)).address,
      "ECONNREFUSED",
      "111: Connection refused",
    ],
    "to a file that is no socket": [
      async (t) => {
        const address = await freeAddress(t, true);
        if (address.family === "unix") writeFileSync(address.path, "");
        return address;
      },
      "ECONNREFUSED",
      "111: Connection refused",
    ],
    "to a path within a file": [
      async () => ({ family: "unix", path: "/proc/self/stat/nowhere" }),
      "ENOTDIR",
      "20: Not a directory",
    ],
  };

export function connecting(engine: Engine): void {
  for (const [name, [where, code, message]] of Object.entries(FAILURES)) {
    test(`connecting ${name}: onClose in nginx's words, and no onConnect`, async (t) => {
      const heard = recorder();
      const address = await where(t);
      const stream = call(() => engine.connect({ address }, heard));
      await hears(heard, "close");
      assert.deepEqual([heard.events, heard.error, stream.closed], [["close"], { code, message }, true]);
      assert.equal(engine.openStreams(), 0);
    });
  }

  test("connecting from an address that is not this machine's", async (t) => {
    const { address } = await serving(t);
    const heard = recorder();
    engine.connect({ address, localAddress: "192.0.2.1" }, heard);
    await hears(heard, "close");
    assert.deepEqual(heard.error, { code: "EADDRNOTAVAIL", message: "99: Cannot assign requested address" });
  });

  test("connecting to who does not answer goes on until it is given up, with or without a reset", async (t) => {
    const { address, fd } = await bound(t, false);
    // A queue of one, which nobody accepts from: the system drops what comes then.
    libc().listen(fd, 0);
    const first = recorder();
    const taken = engine.connect({ address }, first);
    t.after(() => taken.destroy());
    await hears(first, "connect");
    for (const reset of [false, true]) {
      const heard = recorder();
      const stream = engine.connect({ address }, heard);
      await turns();
      assert.deepEqual([heard.events, stream.closed], [[], false]);
      call(() => stream.destroy(reset));
      assert.equal(stream.closed, true);
      await hears(heard, "close");
      await turns();
      assert.deepEqual([heard.events, heard.error], [["close"], undefined]);
    }
    // How the system itself would put it.
    assert.equal(streamError({ code: "ETIMEDOUT" }).message, "110: Connection timed out");
  });

  test("connecting from a given address", async (t) => {
    const { address, next } = await serving(t);
    const heard = recorder();
    const stream = engine.connect({ address, localAddress: "127.0.0.2" }, heard);
    t.after(() => stream.destroy());
    const { socket } = await next();
    assert.equal(socket.remoteAddress, "127.0.0.2");
    await hears(heard, "connect");
    assert.deepEqual(stream.local, { family: "ipv4", host: "127.0.0.2", port: socket.remotePort });
    assert.deepEqual(stream.remote, address);
  });

  test("both sides' addresses", async (t) => {
    const families: readonly Address[] = [
      await freeAddress(t, false),
      await freeAddress(t, true),
      ...(IPV6 ? [{ ...(await freeAddress(t, false)), family: "ipv6", host: "::1" } as Address] : []),
    ];
    for (const address of families) {
      const streams: Stream[] = [];
      const listener = await engine.listen(
        { address },
        (accepted) => {
          streams.push(accepted);
          return recorder();
        },
        () => {},
      );
      const heard = recorder({ onConnect: (connected) => void streams.push(connected) });
      const stream = engine.connect({ address }, heard);
      await hears(heard, "connect");
      while (streams.length < 2) await turns(1);
      const [accepted] = streams.filter((one) => one !== stream);
      assert.deepEqual([stream.remote, accepted.local], [address, address]);
      if (address.family === "unix") assert.deepEqual(accepted.remote, { family: "unix", path: "" });
      else assert.deepEqual(accepted.remote, stream.local);
      for (const one of streams) one.destroy();
      listener.close();
    }
  });

  test("an IPv4 client of an IPv6 socket keeps its mapped address", {
    skip: IPV6 ? false : "needs IPv6",
  }, async (t) => {
    let accepted: Stream | undefined;
    const { port } = (await freeAddress(t, false)) as { port: number };
    const address: Address = { family: "ipv6", host: "::", port };
    const listener = await engine.listen(
      { address, ipv6only: false },
      (stream) => {
        accepted = stream;
        return recorder();
      },
      () => {},
    );
    t.after(() => listener.close());
    const socket = net.connect(port, "127.0.0.1");
    t.after(() => socket.destroy());
    while (accepted === undefined) await turns(1);
    assert.ok(accepted.remote.family === "ipv6" && accepted.remote.host === "::ffff:127.0.0.1");
    accepted.destroy();
  });

  test("a connection of the engine to itself", async (t) => {
    const server = recorder({ onData: (stream, bytes) => void stream.write(bytes), onEnd: (stream) => stream.end() });
    const address = await listening(t, engine, () => server);
    const heard = recorder({
      onConnect(stream) {
        stream.write("echo");
        stream.end();
      },
    });
    engine.connect({ address }, heard);
    await hears(heard, "close");
    assert.deepEqual([heardBut(heard), heard.error], [["connect", "data", "end", "close"], undefined]);
    await hears(server, "close");
  });
}
