import assert from "node:assert/strict";
import { once } from "node:events";
import { type TestContext, test } from "node:test";
import type { MethodDefinition, ServerDefinition } from "../../src/balancer/definition.ts";
import { buildUpstream, type Group } from "../../src/balancer/group.ts";
import { PEER } from "../../src/balancer/peer.ts";
import { forgetWorker, migrate, ownZone, recordAt } from "../../src/balancer/zone.ts";
import { makeZone, type Zone } from "../../src/shm/zone.ts";
import { kill, startProcess } from "../support/sharing.ts";
import { definition, input, pickPort, portOf, server, TestClock, times, upstreamZone } from "./helpers.ts";
import type { Task } from "./shared_worker.ts";

const WORKERS = 4;

interface Result {
  readonly counts: readonly number[];
  readonly refused: number;
}

function run(t: TestContext, zones: readonly Zone[], task: Task): Promise<Result> {
  const worker = startProcess(t, new URL("./shared_worker.ts", import.meta.url), { zones, task });
  return new Promise((resolve, reject) => {
    worker.on("message", (result: Result) => resolve(result));
    worker.on("exit", () => reject(new Error("a worker has ended without a result")));
  });
}

async function together(
  t: TestContext,
  servers: readonly ServerDefinition[],
  method: MethodDefinition,
  requests: number,
  open: number,
): Promise<{ counts: number[]; most: number[]; upstream: Group }> {
  const shared = upstreamZone(servers.length);
  const watch = makeZone({ name: "test", version: 1 }, "watch", 66 * 4);
  const results = await Promise.all(
    times(WORKERS, () => 0).map((_, worker) =>
      run(t, [shared, watch], { servers, method, worker, workers: WORKERS, requests, open }),
    ),
  );
  const counts = servers.map((_, peer) => results.reduce((sum, result) => sum + result.counts[peer], 0));
  const most = [...watch.words.subarray(33, 33 + servers.length)];
  return { counts, most, upstream: buildUpstream(definition(servers, method), {}, shared, { generation: 1 }) };
}

test("round robin over four processes keeps the weights exactly", async (t) => {
  const weights = [5, 3, 1, 1];
  const servers = weights.map((weight, i) => server(i + 1, { weight }));
  const { counts, upstream } = await together(t, servers, { name: "round_robin" }, 5000, 1);
  assert.deepEqual(
    counts,
    weights.map((weight) => weight * 2000),
  );
  for (const { index } of upstream.peers) {
    assert.equal(upstream.counters(index).conns, 0);
    assert.equal(upstream.counters(index).requests, counts[index]);
  }
});

test("a single server's requests and connections are counted exactly by four processes that take no lock", async (t) => {
  const { counts, upstream } = await together(t, [server(1)], { name: "round_robin" }, 20_000, 4);
  const { conns, requests } = upstream.counters(0);
  assert.deepEqual({ conns, requests, counts }, { conns: 0, requests: 80_000, counts: [80_000] });
});

test("a single server's connections are given back for a worker that died, and go on in an upstream of several", () => {
  const shared = upstreamZone(2);
  const [dead, living] = [over(shared, [1], 1), over(shared, [1], 1)];
  dead.enter(3);
  living.enter(0);
  const held = living.begin(input());
  for (const attempt of [held, living.begin(input())]) living.next(attempt);
  dead.next(dead.begin(input()));
  const more = over(shared, [1, 2], 2);
  more.enter(0);
  assert.equal(more.counters(0).conns, 3);
  forgetWorker(shared, 3);
  assert.equal(more.counters(0).conns, 2);
  living.release(held, "ok");
  assert.equal(more.counters(0).conns, 1);
});

test("max_conns is never passed by four processes together", async (t) => {
  const servers = [server(1, { maxConns: 3 }), server(2, { maxConns: 2 })];
  const { most, upstream } = await together(t, servers, { name: "random_two", by: "least_conn" }, 5000, 4);
  // The processes count a connection after they took it and before they give it back: never more than were open.
  assert.ok(most[0] <= 3 && most[1] <= 2, String(most));
  assert.ok(most[0] > 0 && most[1] > 0);
  assert.deepEqual(
    [0, 1].map((peer) => upstream.counters(peer).conns),
    [0, 0],
  );
});

test("least_conn over four processes keeps the servers level", async (t) => {
  const servers = [1, 2, 3, 4].map((port) => server(port));
  const { most, upstream } = await together(t, servers, { name: "least_conn" }, 3000, 8);
  // 32 connections open at most: 8 each; a process between two of its counts may be off by one.
  for (const each of most) assert.ok(each <= 8 + WORKERS, String(most));
  for (const { index } of upstream.peers) assert.equal(upstream.counters(index).conns, 0);
});

function over(shared: Zone, ports: readonly number[], generation: number, clock?: TestClock): Group {
  const servers = ports.map((port) => server(port));
  return buildUpstream(definition(servers), {}, shared, { generation, ...(clock && { clock: clock.now }) });
}

test("a reload keeps the state of the addresses it keeps, wherever they stand", () => {
  const clock = new TestClock();
  const shared = upstreamZone(3);
  const first = over(shared, [1, 2, 3], 1, clock);
  const attempt = first.begin(input());
  assert.equal(portOf(first, attempt), 1);
  first.release(attempt, "failed");
  const held = first.begin(input());
  assert.equal(portOf(first, held), 2);

  const second = over(shared, [4, 2, 1], 2, clock);
  assert.deepEqual(
    [0, 1, 2].map((peer) => second.counters(peer).fails),
    [0, 0, 1],
  );
  assert.deepEqual(
    [0, 1, 2].map((peer) => second.counters(peer).conns),
    [0, 1, 0],
  );
  assert.ok(!times(6, () => pickPort(second)).includes(1));
  first.release(held, "ok");
  assert.equal(second.counters(1).conns, 0);
});

test("addresses no longer named make room, those with connections last", () => {
  const shared = upstreamZone(4);
  const first = over(shared, [1, 2, 3, 4], 1);
  const held = first.begin(input());
  first.next(held);
  for (let generation = 2; generation < 12; generation++) {
    const ports = [1, 2, 3, 4].map((port) => port + generation * 10);
    const group = over(shared, ports, generation);
    assert.deepEqual(new Set(times(4, () => pickPort(group))), new Set(ports));
  }
  first.release(held, "ok");
  assert.equal(first.counters(0).conns, 0);
});

test("a newcomer never gets the slot of a server named after it, however long that was gone", () => {
  const clock = new TestClock();
  const shared = upstreamZone(4);
  const first = over(shared, [1, 2, 3, 4], 1, clock);
  const attempt = first.begin(input());
  first.next(attempt);
  first.release(attempt, "failed");
  over(shared, [5, 6, 7, 8], 2, clock);
  const third = over(shared, [9, 10, 11, 1], 3, clock);
  assert.equal(third.counters(3).fails, 1);
});

test("ten thousand servers are placed quickly", () => {
  const ports = Array.from({ length: 10_000 }, (_, i) => i + 1);
  const shared = upstreamZone(ports.length);
  // The processor's time: the machine may be busy with other things.
  const started = process.cpuUsage();
  const upstream = over(shared, ports, 1);
  assert.ok(process.cpuUsage(started).user < 3_000_000);
  assert.equal(pickPort(upstream), 1);
});

test("a zone of another size takes the state over, without the connections", () => {
  const clock = new TestClock();
  const small = upstreamZone(2);
  const first = over(small, [1, 2], 1, clock);
  const attempt = first.begin(input());
  first.next(attempt);
  first.release(attempt, "failed");
  first.next(attempt);
  const large = upstreamZone(20);
  migrate(small, large);
  const second = over(large, [2, 1, 3, 4, 5, 6, 7, 8, 9], 2, clock);
  assert.equal(second.counters(1).fails, 1);
  assert.equal(second.counters(0).conns, 0);
  first.release(attempt, "ok");
  assert.equal(second.counters(0).conns, 0);
});

test("the connections of a worker that died are given back", () => {
  const shared = upstreamZone(2);
  const dead = over(shared, [1, 2], 1);
  dead.enter(3);
  const living = over(shared, [1, 2], 1);
  living.enter(0);
  for (const upstream of [dead, dead, dead, living]) upstream.next(upstream.begin(input()));
  assert.deepEqual(
    [0, 1].map((peer) => living.counters(peer).conns),
    [2, 2],
  );
  forgetWorker(shared, 3);
  assert.deepEqual(
    [0, 1].map((peer) => living.counters(peer).conns),
    [0, 1],
  );
  forgetWorker(shared, 3);
  assert.deepEqual(
    [0, 1].map((peer) => living.counters(peer).conns),
    [0, 1],
  );
});

test("a worker has a column of its own whatever its place, and what it held is given back when it died", () => {
  for (const place of [0, 62, 63, 64, 100, 255]) {
    const shared = upstreamZone(2);
    const servers = [server(1, { maxConns: 2 }), server(2, { maxConns: 2 })];
    const [dead, living] = [place, place === 255 ? 254 : place + 1].map((worker) => {
      const upstream = buildUpstream(definition(servers), {}, shared, { generation: 1 });
      upstream.enter(worker);
      return upstream;
    });
    const own = living.begin(input());
    living.next(own);
    assert.ok(times(3, () => dead.next(dead.begin(input()))).every((peer) => peer !== undefined));
    assert.equal(living.next(living.begin(input())), undefined, "max_conns");
    forgetWorker(shared, place);
    assert.deepEqual(
      [0, 1].map((peer) => living.counters(peer).conns),
      [1, 0],
      `place ${place}`,
    );
    assert.equal(times(3, () => living.next(living.begin(input()))).filter((peer) => peer !== undefined).length, 3);
  }
});

test("what a process left half done when it died inside the lock is made right", async (t) => {
  const shared = upstreamZone(2);
  const upstream = buildUpstream(definition([server(1), server(2)], { name: "least_conn" }), {}, shared, {
    generation: 1,
  });
  upstream.enter(0);
  const held = upstream.begin(input());
  upstream.next(held);
  const dying = startProcess(t, new URL("./dying_worker.ts", import.meta.url), { zones: [shared] });
  await once(dying, "message");
  await kill(dying);
  // One that needs the lock finds what the workers' columns say, the dead one's included.
  const next = upstream.begin(input());
  upstream.next(next);
  const conns = () => [0, 1].map((peer) => upstream.counters(peer).conns);
  assert.deepEqual(conns(), [2, 1]);
  assert.deepEqual(
    [0, 1].map((peer) => Math.abs(upstream.counters(peer).currentWeight)),
    [0, 0],
  );
  forgetWorker(shared, 9);
  assert.deepEqual(conns(), [1, 1]);
  upstream.release(held, "ok");
  upstream.release(next, "ok");
  assert.deepEqual(conns(), [0, 0]);
});

test("an exception inside the lock does not keep it", () => {
  let broken = false;
  const shared = upstreamZone(2);
  const clock = () => {
    if (broken) throw new Error("broken");
    return 1000;
  };
  const upstream = buildUpstream(definition([server(1), server(2)]), {}, shared, { generation: 1, clock });
  const attempt = upstream.begin(input());
  upstream.next(attempt);
  broken = true;
  assert.throws(() => upstream.next(upstream.begin(input())), /broken/);
  assert.throws(() => upstream.release(attempt, "failed"), /broken/);
  broken = false;
  assert.notEqual(upstream.next(upstream.begin(input())), undefined);
});

test("least_time counts in flight what began after a worker died", () => {
  const servers = [server(1), server(2)];
  const shared = upstreamZone(2);
  const [dead, living] = [1, 0].map((worker) => {
    const upstream = buildUpstream(
      definition(servers, { name: "least_time", mode: "last_byte", inflight: true }),
      {},
      shared,
      { generation: 1 },
    );
    upstream.enter(worker);
    return upstream;
  });
  const before = times(2, () => living.begin(input()));
  for (const attempt of before) living.next(attempt);
  times(4, () => dead.next(dead.begin(input())));
  forgetWorker(shared, 1);
  for (const attempt of before) living.release(attempt, "ok");
  const inflight = () => [0, 1].map((peer) => shared.words[recordAt(peer) + PEER.inflight]);
  assert.deepEqual(inflight(), [0, 0]);
  living.next(living.begin(input()));
  assert.deepEqual(inflight().toSorted(), [0, 1]);
});

test("an upstream of one worker alone has a zone that is no larger than it needs", () => {
  const upstream = buildUpstream(definition([server(1), server(2)]), {}, undefined, { generation: 1 });
  assert.deepEqual(
    times(4, () => pickPort(upstream)),
    [1, 2, 1, 2],
  );
  assert.ok(ownZone(2).size < 512);
});

test("the record has room for every word", () => {
  const words = Object.entries(PEER).filter(([name]) => name !== "words");
  assert.equal(new Set(words.map(([, word]) => word)).size, words.length);
  assert.ok(words.every(([, word]) => word < 20 || word > 26));
});

test("a wall clock that is set lets no failed server back in", (t) => {
  let now = Date.now();
  t.mock.method(Date, "now", () => now);
  const upstream = buildUpstream(definition([server(1, { failTimeout: 60_000 }), server(2)]), {}, upstreamZone(2), {
    generation: 1,
  });
  const attempt = upstream.begin(input());
  assert.equal(portOf(upstream, attempt), 1);
  upstream.release(attempt, "failed");
  for (const jump of [7_200_000, -10_800_000]) {
    now += jump;
    assert.deepEqual([...new Set(times(4, () => pickPort(upstream)))], [2]);
  }
});
