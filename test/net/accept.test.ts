import assert from "node:assert/strict";
import { test } from "node:test";
import { type ProxyProtocolOwner, ProxyProtocolStage } from "../../src/net/accept.ts";
import { nodeEngine } from "../../src/net/node/engine.ts";
import type { ProxyProtocol } from "../../src/net/proxy_protocol.ts";
import type { Stream, StreamHandler } from "../../src/net/stream.ts";
import { waitFor } from "../support/wait.ts";
import { dial, listening, type Peer, recorder } from "./contract/harness.ts";

/** A server that is not HTTP: after the header it sends back what it gets. */
class Echo implements ProxyProtocolOwner {
  header: ProxyProtocol | undefined;
  readonly said: string[] = [];
  readonly faults: string[] = [];
  protocol: StreamHandler = recorder({ onData: (stream, bytes) => void stream.write(bytes) });
  readonly stream: Stream;

  constructor(stream: Stream) {
    this.stream = stream;
  }

  proxyProtocolRead(stream: Stream, header: ProxyProtocol | undefined, rest: Buffer): void {
    this.header = header;
    stream.handler = this.protocol;
    this.protocol.onData(stream, rest);
  }
  refused(level: string, sentence: string): void {
    this.said.push(`[${level}] ${sentence}`);
  }
  closed(): void {
    this.said.push("closed");
  }
  onFault(error: unknown): void {
    this.faults.push(String(error));
    this.stream.destroy();
  }
}

const HEADER = "PROXY TCP4 192.0.2.1 192.0.2.2 1234 5678\r\n";
const WHILE = "while reading PROXY protocol";

async function started(
  t: Parameters<typeof dial>[0],
  timeout = 60_000,
  protocol?: StreamHandler,
): Promise<{ echo: Echo; peer: Peer }> {
  const echoes: Echo[] = [];
  const address = await listening(t, nodeEngine, (stream) => {
    const echo = new Echo(stream);
    if (protocol !== undefined) echo.protocol = protocol;
    echoes.push(echo);
    return new ProxyProtocolStage(stream, echo, timeout);
  });
  const peer = await dial(t, address);
  return { echo: await waitFor(() => echoes[0], "the connection"), peer };
}

test("the header, in pieces or with what follows, whatever the protocol behind it", async (t) => {
  for (const pieces of [[`${HEADER}hello`], [HEADER.slice(0, 9), HEADER.slice(9), "hello"]]) {
    const { echo, peer } = await started(t);
    for (const piece of pieces) {
      peer.socket.write(piece);
      await new Promise((resolve) => setImmediate(resolve));
    }
    assert.equal(await peer.take(5), "hello");
    assert.deepEqual([echo.header?.sourceAddress, echo.header?.destinationPort], ["192.0.2.1", 5678]);
    assert.deepEqual(echo.said, []);
    echo.stream.destroy();
  }
});

test("each way to fail is told once, in nginx's words, and then the close", async (t) => {
  const ways: readonly (readonly [act: (peer: Peer) => void, said: string])[] = [
    [(peer) => peer.socket.write("GET / HTTP/1.0\r\n"), `[error] broken header: "GET / HTTP/1.0" ${WHILE}`],
    [(peer) => peer.socket.end("PROXY"), `[info] client closed connection ${WHILE}`],
    [(peer) => peer.socket.resetAndDestroy(), `[info] recv() failed (104: Connection reset by peer) ${WHILE}`],
  ];
  for (const [act, said] of ways) {
    const { echo, peer } = await started(t);
    act(peer);
    await waitFor(() => echo.said.includes("closed"), "the close");
    assert.deepEqual([echo.said, echo.stream.closed], [[said, "closed"], true]);
  }
  const { echo, peer } = await started(t, 30);
  peer.socket.write("PROXY TCP4");
  await waitFor(() => echo.said.includes("closed"), "the close");
  assert.deepEqual(echo.said, [`[info] client timed out (110: Connection timed out) ${WHILE}`, "closed"]);
});

test("an exception of the protocol in the bytes behind the header is its owner's", async (t) => {
  const thrower = recorder({
    onData() {
      throw new Error("thrown in the protocol");
    },
  });
  const { echo, peer } = await started(t, 60_000, thrower);
  peer.socket.write(`${HEADER}x`);
  await waitFor(() => thrower.events.includes("close"), "the close");
  assert.deepEqual(echo.faults, ["Error: thrown in the protocol"]);
});
