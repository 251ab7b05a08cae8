/** Nodes of a group that differ: each is named, once, when it begins to and when it ends. */
import assert from "node:assert/strict";
import { createServer } from "node:net";
import { type TestContext, test } from "node:test";
import { encodeBody, type NodeFacts } from "../../src/cluster/group/messages.ts";
import type { Opinion } from "../../src/cluster/group/opinions.ts";
import type { Matrix } from "../../src/cluster/matrix.ts";
import { Secrets } from "../../src/cluster/secret.ts";
import { encodeFrame, FrameReader, KIND, PROTOCOL } from "../../src/wire/cluster.ts";
import { type Running, startHoldfast } from "../support/holdfast.ts";
import { freePort } from "../support/ports.ts";
import { get } from "../support/tcp.ts";
import { waitFor } from "../support/wait.ts";

const SECRET = "a secret of the test's own";

/** A node lb2 that the test makes up: what it is, how far its clock is ahead (ms), whom it names. */
interface MadeUp {
  facts: Partial<NodeFacts>;
  ahead: number;
  names: readonly string[];
}

/** A real node lb1 beside it. */
async function beside(t: TestContext, node: MadeUp): Promise<Running> {
  const secrets = new Secrets("test", [SECRET]);
  let number = 0n;
  const server = createServer((socket) => {
    t.after(() => socket.destroy());
    const reader = new FrameReader();
    socket.on("error", () => {});
    socket.on("data", (bytes) => {
      for (const { run: echoRun, number: echoNumber } of reader.read(Buffer.from(bytes))) {
        const up: Opinion = { state: "up", since: 0, reason: "" };
        const opinions = Object.fromEntries(node.names.map((name) => [`n ${name}`, up]));
        const facts = {
          state: "serving",
          version: "0.1.0",
          configuration: "abc",
          connections: 0,
          requests: 0,
        } as const;
        const changes = { from: 0, to: Number(++number), opinions };
        const body = encodeBody({ cluster: "test", from: "lb2", facts: { ...facts, ...node.facts }, changes });
        const head = { version: 1, ...PROTOCOL, kind: KIND.answer, run: 2n, number, time: Date.now() + node.ahead };
        socket.write(encodeFrame({ ...head, echoRun, echoNumber, body }, secrets.sign));
      }
    });
  });
  const [own, its] = [await freePort(), await freePort()];
  await new Promise<void>((resolve) => server.listen(its, "127.0.0.1", resolve));
  t.after(() => server.close());
  return startHoldfast(t, {
    config: ([
      port,
    ]) => `cluster test { node lb1 127.0.0.1:${own}; node lb2 127.0.0.1:${its}; self lb1; secret_file secret;
        check interval=50 fall=2 rise=2 timeout=2000; }
      events {} http { server { listen 127.0.0.1:${port}; location = /cluster { cluster_status json; } } }`,
    files: { "conf/secret": `${SECRET}\n` },
  });
}

async function matrix({ port }: Running): Promise<Matrix> {
  return JSON.parse((await get(port, "/cluster")).body);
}

function lines(running: Running, text: RegExp): string[] {
  return running
    .errorLog()
    .split("\n")
    .filter((line) => text.test(line));
}

async function logs(running: Running, text: RegExp): Promise<void> {
  await waitFor(() => lines(running, text).length > 0, `the log to say ${text}`);
}

test("another version and configuration, other nodes, a clock apart: said once, and when it is over", async (t) => {
  const node: MadeUp = { facts: { version: "9.0.0" }, ahead: 5000, names: ["lb1", "lb9"] };
  const running = await beside(t, node);
  const said = [
    /\[warn\] .*node lb2 runs Holdfast 9\.0\.0, lb1 0\.1\.0, cluster: "test"/,
    /\[warn\] .*node lb2 has another configuration \(abc\) than lb1 \(\w{12}\)/,
    /\[warn\] .*node lb2 names lb9, which this one does not/,
    /\[warn\] .*the clock of node lb2 is [45]\.\d s ahead of that of lb1/,
  ];
  for (const text of said) await logs(running, text);
  const own = (await matrix(running)).nodes[0].facts?.configuration ?? "";
  await waitFor(async () => (await matrix(running)).differences.length === 4, "four differences");
  assert.ok(Math.abs((await matrix(running)).nodes[1].clockAhead - 5000) < 1000);

  node.facts = { configuration: own };
  node.names = ["lb1"];
  node.ahead = 0;
  for (const text of [
    /\[notice\] .*node lb2 has this node's version of Holdfast/,
    /\[notice\] .*node lb2 has this node's configuration/,
    /\[notice\] .*node lb2 names the nodes that this one names/,
    /\[notice\] .*the clock of node lb2 is right again/,
  ]) {
    await logs(running, text);
  }
  await waitFor(async () => (await matrix(running)).differences.length === 0, "no differences");
  for (const text of said) assert.equal(lines(running, text).length, 1, String(text));

  // A node that does not name this one, and one behind.
  node.names = [];
  node.ahead = -2500;
  await logs(running, /node lb2 does not name lb1/);
  await logs(running, /the clock of node lb2 is 2\.\d s behind that of lb1/);
});

test("a node's words cannot write lines or tags", async (t) => {
  const version = '1</b><script>alert("x")</script>\n2026 [emerg] \u001b[2J';
  const running = await beside(t, { facts: { version }, ahead: 0, names: ["lb1"] });
  await logs(running, /node lb2 runs Holdfast 1/);
  const page = (await get(running.port, "/cluster?format=html")).body;
  assert.doesNotMatch(page, /<script>/);
  assert.match(page, /&lt;script&gt;/);
  assert.equal(lines(running, /^2026 \[emerg\]/).length, 0);
  assert.doesNotMatch(running.errorLog(), /\u001b/);
});
