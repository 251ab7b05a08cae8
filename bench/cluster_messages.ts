/**
 * What a question and its answer cost the two nodes in JavaScript and cryptography: no sockets, so no kernel.
 *
 *     node bench/cluster_messages.ts [--count 50000]
 */
import { parseArgs } from "node:util";
import { Connections } from "../src/cluster/group/connections.ts";
import { Identity } from "../src/cluster/group/identity.ts";
import { Member } from "../src/cluster/group/member.ts";
import type { AnswerBody, NodeFacts } from "../src/cluster/group/messages.ts";
import { NodeProbe } from "../src/cluster/group/node_probe.ts";
import { ReplayGuard } from "../src/cluster/group/replay_guard.ts";
import { type Answerer, Responder } from "../src/cluster/group/responder.ts";
import { Secrets } from "../src/cluster/secret.ts";
import type { Stream, StreamHandler } from "../src/net/stream.ts";

const { values } = parseArgs({ options: { count: { type: "string", default: "50000" } } });
const COUNT = Number(values.count);

const secrets = new Secrets("shop", ["a secret of sixteen characters"]);
const facts: NodeFacts = {
  state: "serving",
  version: "0.1.0",
  configuration: "0123456789ab",
  connections: 1000,
  requests: 1_000_000,
  refused: {},
};
const answer: AnswerBody = { cluster: "shop", from: "lb2", facts, changes: { from: 0, to: 1, opinions: {} } };
const asked = new Identity("shop", "lb2", 2n, secrets);
const answerer: Answerer = {
  identity: asked,
  guard: new ReplayGuard(),
  // As often as it likes.
  connections: new Connections(0.001, asked.refusals),
  security: undefined,
  answer: () => answer,
  refused(_peer, reason) {
    throw new Error(reason);
  },
};

let written = Buffer.alloc(0);
const address = { family: "ipv4", host: "127.0.0.1", port: 1 } as const;
const stream: Stream = {
  handler: { onData() {}, onDrain() {}, onEnd() {}, onClose() {} } satisfies StreamHandler,
  remote: address,
  local: address,
  sending: false,
  unsent: 0,
  closed: false,
  write(data) {
    written = Buffer.from(data);
    return true;
  },
  cork() {},
  uncork: () => true,
  pause() {},
  resume() {},
  end() {},
  destroy() {},
  setNoDelay() {},
  setKeepAlive() {},
};
const responder = new Responder(stream, answerer);
const probe = new NodeProbe(new Identity("shop", "lb1", 1n, secrets), new Member("lb2"), () => {});

function exchange(count: number): void {
  for (let i = 0; i < count; i++) {
    probe.begin();
    responder.onData(stream, probe.send);
    const verdict = probe.data(written);
    if (verdict !== "") throw new Error(verdict);
  }
}

exchange(COUNT / 5);
const before = process.cpuUsage();
exchange(COUNT);
const { user, system } = process.cpuUsage(before);
process.stdout.write(
  `a question and its answer: ${((user + system) / COUNT).toFixed(1)} µs of CPU, of both nodes together\n`,
);
process.exit();
