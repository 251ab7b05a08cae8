/** Whoever reaches a node's port without being one of the group: the group goes on, and says what came. */
import assert from "node:assert/strict";
import { connect, type Socket } from "node:net";
import { type TestContext, test } from "node:test";
import { encodeBody } from "../../src/cluster/group/messages.ts";
import { Secrets } from "../../src/cluster/secret.ts";
import { encodeFrame, KIND, PROTOCOL } from "../../src/wire/cluster.ts";
import { allSeeAll, type ClusterNode, startCluster } from "../support/cluster.ts";
import { checkersOf, memoryOf } from "../support/processes.ts";
import { waitFor } from "../support/wait.ts";

function open(t: TestContext, { address }: ClusterNode, bytes: Buffer): Promise<Socket> {
  const [host, port] = address.split(":");
  return new Promise((resolve) => {
    const socket = connect(Number(port), host, () => {
      socket.write(bytes);
      resolve(socket);
    });
    socket.on("error", () => resolve(socket));
    t.after(() => socket.destroy());
  });
}

let number = 0n;

function requestOf(from: string, secret: string, { time = Date.now(), run = 77n } = {}): Buffer {
  const body = encodeBody({ cluster: "test", from, to: "lb1", run: "", known: 0 });
  const head = { version: 1, ...PROTOCOL, kind: KIND.request, run, number: ++number, time };
  return encodeFrame({ ...head, echoRun: 0n, echoNumber: 0n, body }, new Secrets("test", [secret]).sign);
}

const refused = async (node: ClusterNode) => (await node.node(node.name)).facts?.refused ?? {};

test("connections without end, halves of messages and what is none: the nodes go on seeing one another", async (t) => {
  const nodes = await startCluster(t, { cluster: "check interval=100 fall=2 rise=2 timeout=10000;" });
  await allSeeAll(nodes);
  const [first] = nodes;
  const [checker] = checkersOf(first.running.pid);
  const half = requestOf("lb2", "a secret of the test's own").subarray(0, 60);
  const attacks = [
    half,
    Buffer.from("GET / HTTP/1.0\r\n\r\n"),
    requestOf("lb2", "a secret of somebody else"),
    Buffer.alloc(0),
  ];
  const before = memoryOf(checker, "Anonymous");
  for (let round = 0; round < 500; round++) await Promise.all(attacks.map((bytes) => open(t, first, bytes)));
  await waitFor(async () => {
    const { malformed = 0, foreign = 0, flood = 0 } = await refused(first);
    return malformed === 500 && foreign === 500 && flood > 500;
  }, "the counts of what came");
  await allSeeAll(nodes);
  for (const node of nodes) assert.doesNotMatch(node.running.errorLog(), /disable check peer/);
  assert.equal(checkersOf(first.running.pid)[0], checker);
  const grown = memoryOf(checker, "Anonymous") - before;
  t.diagnostic(`the checker has ${grown} KiB more`);
  assert.ok(grown < 64 * 1024, `${grown} KiB more`);
  // Ten thousands of messages are a line or two.
  const lines = first.running.errorLog().match(/a message of 127\.0\.0\.1/g) ?? [];
  assert.ok(lines.length >= 1 && lines.length < 20, `${lines.length} lines`);
});

test("one with the secret and no manners: what it says of itself does no harm to the log, and it is not answered for ever", async (t) => {
  const secret = "a secret of the test's own";
  const nodes = await startCluster(t, { nodes: 2 });
  await allSeeAll(nodes);
  const [first] = nodes;
  await open(t, first, requestOf("lb2\n2026/01/01 00:00:00 [emerg] forged", secret));
  await open(t, first, requestOf("lb2", secret, { time: Date.now() - 100_000 }));
  await open(t, first, Buffer.concat(Array.from({ length: 2000 }, () => requestOf("lb2", secret))));
  await waitFor(async () => {
    const { unknown, clock, flood = 0 } = await refused(first);
    // The real lb2 may be among those that come too often.
    return unknown === 1 && clock === 1 && flood >= 1;
  }, "the counts of what came");
  assert.doesNotMatch(first.running.errorLog(), /^2026\/01\/01/m);
  assert.match(first.running.errorLog(), /node "lb2" at 127\.0\.0\.1 .*has a clock that is 10\d s behind/);
  await allSeeAll(nodes);
});

test("two machines that say that they are the same node are reported", async (t) => {
  const nodes = await startCluster(t, { nodes: 2 });
  await allSeeAll(nodes);
  const [first] = nodes;
  const differences = async () => (await first.matrix()).differences;
  const text = 'two nodes say that they are lb2, both at 127.0.0.1: one of them has a wrong "self"';
  await waitFor(async () => {
    await open(t, first, requestOf("lb2", "a secret of the test's own", { run: 99n }));
    return (await differences()).includes(text);
  }, "both to be reported");
  assert.match(first.running.errorLog(), /\[warn\] .*two nodes say that they are lb2/);
});

test("who has begun to ask before a reload is answered after it", async (t) => {
  const nodes = await startCluster(t, { nodes: 2 });
  await allSeeAll(nodes);
  const [first] = nodes;
  const question = requestOf("lb2", "a secret of the test's own", { run: 55n });
  const socket = await open(t, first, question.subarray(0, 60));
  let answer = "";
  socket.setEncoding("latin1").on("data", (text: string) => {
    answer += text;
  });
  // What comes later than this connection has been answered.
  await waitFor(async () => {
    await open(t, first, Buffer.from("GET / HTTP/1.0\r\n\r\n"));
    return ((await refused(first)).malformed ?? 0) > 0;
  });
  assert.equal(await first.running.reload(), true);
  socket.write(question.subarray(60));
  await waitFor(() => socket.readableEnded, "an answer, and the end");
  assert.match(answer, /"from":"lb1"/);
  await allSeeAll(nodes);
});
