import assert from "node:assert/strict";
import net from "node:net";
import { mock, type TestContext, test } from "node:test";
import { nodeEngine } from "../../src/net/node/engine.ts";
import type { ConnectHandler, Stream, StreamHandler } from "../../src/net/stream.ts";
import { logFaultsTo } from "../../src/sys/guard.ts";
import { freePort } from "../support/ports.ts";
import { RawConnection } from "../support/tcp.ts";
import { waitFor } from "../support/wait.ts";

const { connect, listen, openStreams } = nodeEngine;
const logged: string[] = [];
logFaultsTo({ write: (level, message) => logged.push(`[${level}] ${message}`) });

const QUIET: StreamHandler = { onData() {}, onDrain() {}, onEnd: (stream) => stream.end(), onClose() {} };

function thrower(event: string): () => never {
  return () => {
    throw new Error(`thrown in ${event}`);
  };
}

async function listening(t: TestContext, accept: (stream: Stream) => StreamHandler): Promise<number> {
  const port = await freePort();
  const address = { family: "ipv4", host: "127.0.0.1", port } as const;
  const listener = await listen({ address }, accept, () => {});
  t.after(() => listener.close());
  return port;
}

/** What each event takes to come, on a connection of the test's own. */
const EVENTS: Readonly<Record<string, (client: RawConnection, stream: Stream) => void>> = {
  onData: (client) => client.write("x"),
  onEnd: (client) => client.end(),
  onClose: (client) => client.socket.resetAndDestroy(),
  onDrain: (client, stream) => {
    client.socket.pause();
    while (stream.write(Buffer.alloc(65536))) {}
    client.socket.resume();
  },
};

for (const [event, cause] of Object.entries(EVENTS)) {
  test(`an exception in ${event} ends that stream, says so in the log, and nothing else`, async (t) => {
    const streams: Stream[] = [];
    const port = await listening(t, (stream) => {
      streams.push(stream);
      return streams.length === 1 ? { ...QUIET, [event]: thrower(event) } : QUIET;
    });
    const [failing, other] = [await RawConnection.open(port), await RawConnection.open(port)];
    await waitFor(() => streams.length === 2, "both connections");
    logged.length = 0;
    cause(failing, streams[0]);
    await failing.until(() => false);
    await waitFor(() => streams[0].closed, "the end of the stream");
    assert.equal(logged.length, 1);
    assert.match(
      logged[0],
      new RegExp(`^\\[alert\\] exception: Error: thrown in ${event} at .*stream_faults\\.test\\.ts`),
    );
    assert.equal(streams[1].closed, false);
    streams[1].write("still here");
    assert.equal(await other.until((received) => received.length === 10), "still here");
    other.close();
    failing.close();
    await waitFor(() => openStreams() === 0, "the end of every stream");
  });
}

test("an exception in onConnect ends the connection that was made", async (t) => {
  const port = await listening(t, () => QUIET);
  logged.length = 0;
  const stream = connect({ address: { family: "ipv4", host: "127.0.0.1", port } }, {
    ...QUIET,
    onConnect: thrower("onConnect"),
  } satisfies ConnectHandler);
  await waitFor(() => stream.closed, "the end of the stream");
  assert.match(logged.join("\n"), /^\[alert\] exception: Error: thrown in onConnect at [^\n]*$/);
});

test("an exception while a connection is accepted ends that connection; the next is accepted", async (t) => {
  let accepted = 0;
  const port = await listening(t, () => (++accepted === 1 ? thrower("accept")() : QUIET));
  logged.length = 0;
  assert.equal(await (await RawConnection.open(port)).readAll(), "");
  const next = await RawConnection.open(port);
  await waitFor(() => accepted === 2, "the second connection");
  next.close();
  assert.match(logged.join("\n"), /^\[alert\] exception: Error: thrown in accept at [^\n]*$/);
});

test("a handler that can end its work by itself keeps the stream for that", async (t) => {
  const port = await listening(t, (stream) => ({
    ...QUIET,
    onData: thrower("onData"),
    onFault() {
      stream.write("sorry");
      stream.end();
    },
  }));
  const client = await RawConnection.open(port);
  client.write("x");
  assert.equal(await client.readAll(), "sorry");
  client.close();
});

test("an exception before a connection is anybody's closes it", async (t) => {
  const port = await listening(t, () => QUIET);
  logged.length = 0;
  const broken = mock.method(net.Socket.prototype, "setNoDelay", thrower("setNoDelay"));
  t.after(() => broken.mock.restore());
  const client = net.connect(port, "127.0.0.1").resume();
  await new Promise((resolve) => client.on("close", resolve).on("error", () => {}));
  assert.equal(logged.length, 1);
  assert.match(logged[0], /^\[alert\] exception: Error: thrown in setNoDelay at /);
});
