/** What an idle stream of the engine on io_uring keeps. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { getHeapStatistics, setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import type { ConnectHandler, Stream } from "../../../src/net/stream.ts";
import { openUring } from "../../../src/net/uring/engine.ts";
import { waitFor } from "../../support/wait.ts";
import { listening } from "../contract/harness.ts";

const opened = openUring();
const skip = typeof opened === "string" ? `not here: ${opened}` : false;

/** Pairs of streams: one has connected, the other was accepted. */
const PAIRS = 300;
/** Bytes of JavaScript's heap for each stream: measured 560. Memory that the kernel sends from is taken while it is needed only. */
const MOST = 800;

setFlagsFromString("--expose-gc");
const collectGarbage: () => void = runInNewContext("gc");

function heapUsed(): number {
  collectGarbage();
  return getHeapStatistics().used_heap_size;
}

test("a stream that has sent and received keeps little", { skip }, async (t) => {
  if (typeof opened === "string") throw new Error(opened);
  const answered = new Set<Stream>();
  const common = { onDrain() {}, onEnd: (stream: Stream) => stream.end(), onClose() {} };
  const server = { ...common, onData: (stream: Stream) => void stream.write("answer") };
  const client: ConnectHandler = {
    ...common,
    onConnect: (stream) => void stream.write("request"),
    onData: (stream) => void answered.add(stream),
  };
  const address = await listening(t, opened, () => server);
  const connect = async (pairs: number): Promise<void> => {
    for (let i = 0; i < pairs; i++) {
      opened.connect({ address }, client);
      if (i % 100 === 99) await waitFor(() => answered.size >= i, "the answers");
    }
    await waitFor(() => answered.size === pairs, "all answers");
  };
  const close = async (): Promise<void> => {
    for (const stream of answered) stream.end();
    answered.clear();
    await waitFor(() => opened.openStreams() === 0, "the end of all");
  };
  await connect(PAIRS);
  await close();
  // In one round V8 may have compiled something, or dropped what it had compiled: the median.
  const rounds: number[] = [];
  for (let round = 0; round < 5; round++) {
    const before = heapUsed();
    await connect(PAIRS);
    rounds.push(Math.round((heapUsed() - before) / (2 * PAIRS)));
    await close();
  }
  rounds.sort((a, b) => a - b);
  t.diagnostic(`${rounds} bytes for each stream`);
  assert.ok(rounds[2] < MOST, `${rounds} bytes`);
});
