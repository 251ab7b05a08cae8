import type { MethodDefinition, ServerDefinition } from "../../src/balancer/definition.ts";
import { buildUpstream } from "../../src/balancer/group.ts";
import { given, say } from "../support/sharing.ts";
import { definition, input } from "./helpers.ts";

/** What the test hands a process: one of several that share an upstream's zone. */
export interface Task {
  readonly servers: readonly ServerDefinition[];
  readonly method: MethodDefinition;
  readonly worker: number;
  readonly workers: number;
  readonly requests: number;
  /** Connections each process keeps open at once. */
  readonly open: number;
}

const { zones, task } = given<Task>();
/** Word 0 starts the processes together, word 1 + peer is how many connections it has now, 33 + peer how many at most. */
const [shared, { words: watch }] = zones;
const upstream = buildUpstream(definition(task.servers, task.method), {}, shared, { generation: 1 });
upstream.enter(task.worker);
const counts = new Array<number>(task.servers.length).fill(0);
let refused = 0;
const running = [];

Atomics.add(watch, 0, 1);
const asleep = new Int32Array(new SharedArrayBuffer(4));
while (Atomics.load(watch, 0) < task.workers) Atomics.wait(asleep, 0, 0, 1);

for (let i = 0; i < task.requests; i++) {
  const attempt = upstream.begin(input(`${task.worker}-${i}`));
  const peer = upstream.next(attempt);
  if (peer === undefined) {
    refused++;
    upstream.end(attempt);
  } else {
    counts[peer.index]++;
    const now = Atomics.add(watch, 1 + peer.index, 1) + 1;
    for (let most = Atomics.load(watch, 33 + peer.index); now > most; most = Atomics.load(watch, 33 + peer.index)) {
      Atomics.compareExchange(watch, 33 + peer.index, most, now);
    }
    running.push(attempt);
  }
  if (running.length >= task.open || peer === undefined) {
    const oldest = running.shift();
    if (oldest !== undefined) {
      Atomics.sub(watch, 1 + oldest.peer, 1);
      upstream.release(oldest, "ok");
      upstream.end(oldest);
    }
  }
}
for (const attempt of running) {
  Atomics.sub(watch, 1 + attempt.peer, 1);
  upstream.release(attempt, "ok");
}
say({ counts, refused });
