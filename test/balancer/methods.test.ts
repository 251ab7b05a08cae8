import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import type { MethodDefinition } from "../../src/balancer/definition.ts";
import { group, input, pickPort, portOf, server, TestClock, times } from "./helpers.ts";

const METHODS: readonly MethodDefinition[] = [
  { name: "round_robin" },
  { name: "least_conn" },
  { name: "ip_hash" },
  { name: "hash", key: "$uri" },
  { name: "hash_consistent", key: "$uri" },
  { name: "random" },
  { name: "random_two", by: "least_conn" },
  { name: "random_two", by: "header" },
  { name: "least_time", mode: "header", inflight: true },
  { name: "least_time", mode: "last_byte", inflight: false },
];

function nameOf(method: MethodDefinition): string {
  const by = method.name === "least_time" ? method.mode : method.name === "random_two" ? method.by : "";
  return `${method.name} ${by}`.trim();
}

for (const method of METHODS) {
  describe(nameOf(method), () => {
    test("tries every usable server once and never another, whatever fails", () => {
      const peer = fc.record({
        weight: fc.integer({ min: 1, max: 9 }),
        down: fc.boolean(),
        backup: fc.boolean(),
        sick: fc.boolean(),
      });
      const outcome = fc.constantFrom("ok" as const, "failed" as const, "next" as const);
      fc.assert(
        fc.property(
          fc.array(peer, { minLength: 1, maxLength: 40 }),
          fc.array(fc.tuple(fc.string(), outcome), { minLength: 1, maxLength: 10 }),
          (peers, requests) => {
            const servers = [{ weight: 1, down: false, backup: false, sick: false }, ...peers].map((options, i) =>
              server(i + 1, { ...options, maxFails: 0 }),
            );
            const sickPorts = new Set(peers.flatMap(({ sick }, i) => (sick ? [i + 2] : [])));
            const upstream = group(servers, method);
            const sick = upstream.peers.map(({ address }) => address.family !== "unix" && sickPorts.has(address.port));
            upstream.watch({ up: (index) => !sick[index] });
            const usable = upstream.peers.filter((each) => !each.down && !sick[each.index]);
            for (const [key, result] of requests) {
              const attempt = upstream.begin(input(key));
              const seen = new Set<number>();
              for (let found = upstream.next(attempt); found !== undefined; found = upstream.next(attempt)) {
                assert.ok(!found.down && !sick[found.index]);
                assert.ok(!seen.has(found.index), "a server twice in one request");
                seen.add(found.index);
                upstream.release(attempt, result);
              }
              assert.equal(seen.size, usable.length);
              upstream.end(attempt);
            }
            for (const { index } of upstream.peers) assert.equal(upstream.counters(index).conns, 0);
          },
        ),
        { numRuns: 60 },
      );
    });

    test("backup servers serve while every main one is out of service", () => {
      const upstream = group(
        [server(1, { down: true }), server(2, { down: true }), server(3, { backup: true })],
        method,
      );
      assert.equal(pickPort(upstream, input("a")), 3);
    });

    test("servers without room are passed over", () => {
      const upstream = group(
        [server(1, { maxConns: 2 }), server(2, { maxConns: 3 }), server(3, { maxConns: 1 })],
        method,
      );
      const ports = times(7, () => portOf(upstream, upstream.begin(input("same"))));
      assert.deepEqual(ports.slice(0, 6).sort(), [1, 1, 2, 2, 2, 3]);
      assert.equal(ports[6], undefined);
    });
  });
}

test("round robin gives each server exactly its weight in one period, the same in the next", () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 1, max: 30 }), { minLength: 2, maxLength: 30 }), (weights) => {
      const upstream = group(weights.map((weight, i) => server(i + 1, { weight })));
      const period = weights.reduce((sum, weight) => sum + weight, 0);
      for (let round = 0; round < 2; round++) {
        const counts = new Array<number>(weights.length).fill(0);
        for (let i = 0; i < period; i++) counts[(pickPort(upstream) ?? 0) - 1]++;
        assert.deepEqual(counts, weights);
      }
    }),
    { numRuns: 50 },
  );
});

test("least_conn keeps connections in proportion to the weights", () => {
  const upstream = group([server(1, { weight: 3 }), server(2), server(3, { weight: 2 })], { name: "least_conn" });
  for (let i = 0; i < 60; i++) upstream.next(upstream.begin(input()));
  assert.deepEqual(
    [0, 1, 2].map((peer) => upstream.counters(peer).conns),
    [30, 10, 20],
  );
});

test("random follows the weights, and random two avoids the busier", () => {
  const weighted = group([server(1, { weight: 3 }), server(2)], { name: "random" });
  const first = times(4000, () => pickPort(weighted)).filter((port) => port === 1).length;
  assert.ok(first > 2800 && first < 3200, String(first));

  const two = group([server(1), server(2)], { name: "random_two", by: "least_conn" });
  const busy = two.begin(input());
  const busyPort = portOf(two, busy);
  for (let i = 0; i < 50; i++) {
    // Only when the same one is drawn 20 times and more does it end in round robin.
    assert.notEqual(pickPort(two), busyPort);
  }
});

test("consistent hash: servers of one name share its points and take turns", () => {
  const twin = { server: "twin.example" };
  const upstream = group([server(1, twin), server(2, twin), server(3)], { name: "hash_consistent", key: "$uri" });
  for (let i = 0; i < 50; i++) {
    const ports = new Set(times(4, () => pickPort(upstream, input(`key-${i}`))));
    assert.deepEqual([...ports].sort(), ports.has(3) ? [3] : [1, 2]);
  }
});

test("an empty hash key goes round robin", () => {
  for (const name of ["hash", "hash_consistent"] as const) {
    const upstream = group([server(1), server(2), server(3)], { name, key: "" });
    assert.deepEqual(
      times(6, () => pickPort(upstream)),
      [1, 2, 3, 1, 2, 3],
    );
  }
});

for (const definition of [
  { name: "least_time", mode: "last_byte", inflight: false },
  { name: "random_two", by: "last_byte" },
] as const) {
  test(`${nameOf(definition)} prefers the server that answers sooner, and forgives a slow one in time`, () => {
    const clock = new TestClock();
    const upstream = group([server(1), server(2)], definition, { clock: clock.now });
    for (const [peer, took] of [400, 1].entries()) {
      const attempt = upstream.begin(input(), peer);
      upstream.next(attempt);
      upstream.header(attempt);
      attempt.selectedAt -= took;
      upstream.release(attempt, "ok");
    }
    const ports = times(20, () => {
      const attempt = upstream.begin(input());
      const port = portOf(upstream, attempt);
      upstream.header(attempt);
      upstream.release(attempt, "ok");
      return port;
    });
    assert.deepEqual(new Set(ports), new Set([2]));
    clock.pass(600);
    assert.ok(times(20, () => pickPort(upstream)).includes(1));
  });
}
