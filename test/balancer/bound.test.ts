/** Requests that something binds to a server (`sticky`): which server they get, with every balancing method. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { Binding } from "../../src/balancer/attempt.ts";
import type { MethodDefinition } from "../../src/balancer/definition.ts";
import type { Group } from "../../src/balancer/group.ts";
import type { HealthView } from "../../src/balancer/peer.ts";
import { group, input, portOf, server, TestClock, times } from "./helpers.ts";

const METHODS: readonly MethodDefinition[] = [
  { name: "round_robin" },
  { name: "least_conn" },
  { name: "ip_hash" },
  { name: "hash", key: "k" },
  { name: "hash_consistent", key: "k" },
  { name: "random" },
  { name: "random_two", by: "least_conn" },
  { name: "least_time", mode: "header", inflight: false },
];

/** Binds every try to the server of that route. */
function bound(route: string, only = false): Binding {
  return { only, wanted: () => route, chosen() {}, header() {}, released() {} };
}

/** The servers' ports are their routes. */
function identified(upstream: Group, health?: HealthView): Group {
  upstream.identify(({ address }) => (address.family === "unix" ? "" : String(address.port)));
  upstream.watch(health);
  return upstream;
}

/** The ports that a request bound to `route` tries one after the other, all of them in vain. */
function tried(upstream: Group, route: string, outcome: "ok" | "next" | "failed" = "next", only = false): number[] {
  const attempt = upstream.begin(input("k"), -1, bound(route, only));
  const ports: number[] = [];
  while (ports.length === 0 || attempt.tries > 0) {
    const port = portOf(upstream, attempt);
    if (port === undefined) break;
    ports.push(port);
    upstream.release(attempt, outcome);
    if (outcome === "ok") break;
  }
  upstream.end(attempt);
  return ports;
}

for (const method of METHODS) {
  describe(`with ${method.name}`, () => {
    test("every bound request goes to its server, and to each of the others once where that fails", () => {
      const upstream = identified(group([server(1), server(2), server(3)], method));
      for (const port of [1, 2, 3]) {
        const found = tried(upstream, String(port));
        assert.equal(found[0], port);
        assert.deepEqual([...found].sort(), [1, 2, 3]);
      }
    });

    test("never to one that checks, max_fails, max_conns or `down` exclude, and back when that is over", () => {
      const clock = new TestClock();
      const up = [true, true, true, true];
      const health = { up: (peer: number) => up[peer] };
      const servers = [server(1, { maxFails: 2 }), server(2, { maxConns: 1 }), server(3, { down: true }), server(4)];
      const upstream = identified(group(servers, method, { clock: clock.now }), health);
      const first = (route: string) =>
        times(10, () => tried(upstream, route, "ok")[0]).every((port) => String(port) === route);
      assert.equal(first("1"), true);
      up[0] = false;
      assert.equal(tried(upstream, "1").includes(1), false);
      up[0] = true;
      assert.equal(first("1"), true);

      for (let i = 0; i < 2; i++) {
        const attempt = upstream.begin(input("k"), -1, bound("1"));
        assert.equal(portOf(upstream, attempt), 1);
        upstream.release(attempt, "failed");
      }
      assert.equal(tried(upstream, "1").includes(1), false);
      clock.pass(11);
      assert.equal(first("1"), true);

      const holding = upstream.begin(input("k"), -1, bound("2"));
      assert.equal(portOf(upstream, holding), 2);
      assert.equal(tried(upstream, "2").includes(2), false);
      upstream.release(holding, "ok");
      assert.equal(first("2"), true);

      assert.equal(tried(upstream, "3").includes(3), false);
    });

    test("a backup server's session is served by it only while no main one can be had", () => {
      const up = [true, true, true, true];
      const health = { up: (peer: number) => up[peer] };
      const servers = [server(1), server(2), server(3, { backup: true }), server(4, { backup: true })];
      const upstream = identified(group(servers, method), health);
      assert.ok(tried(upstream, "4")[0] < 3);
      up.fill(false, 0, 2);
      assert.deepEqual(
        times(3, () => tried(upstream, "4")[0]),
        [4, 4, 4],
      );
      assert.deepEqual(
        times(3, () => tried(upstream, "3")[0]),
        [3, 3, 3],
      );
      up[3] = false;
      assert.deepEqual(tried(upstream, "4"), [3]);
      up[0] = true;
      assert.equal(tried(upstream, "4")[0], 1);
    });

    test("a server that drains gets its sessions and no others, and they move where it fails", () => {
      const upstream = identified(group([server(1, { drain: true }), server(2), server(3)], method));
      assert.ok(times(12, () => tried(upstream, "none")[0]).every((port) => port !== 1));
      const found = tried(upstream, "1");
      assert.equal(found[0], 1);
      assert.deepEqual([...found].sort(), [1, 2, 3]);
      const alone = identified(group([server(1, { drain: true })], method));
      assert.deepEqual(tried(alone, "1", "ok"), [1]);
      assert.deepEqual(tried(alone, ""), []);
    });

    test("in a panic a session does not stay on a server whose check fails while there is another", () => {
      const up = [true, false, false, false];
      const servers = [server(1, { maxConns: 1 }), server(2), server(3), server(4)];
      const upstream = identified(group(servers, method));
      upstream.watch({ up: (peer) => up[peer] }, 50);
      assert.deepEqual(
        times(3, () => tried(upstream, "2", "ok")),
        [[1], [1], [1]],
      );
      assert.equal(tried(upstream, "1", "ok")[0], 1);
      const holding = upstream.begin(input("k"), -1, bound("1"));
      assert.equal(portOf(upstream, holding), 1);
      assert.equal(tried(upstream, "2", "ok")[0], 2, "where none that is up has room, it stays");
      upstream.release(holding, "ok");
      up[0] = false;
      assert.deepEqual(
        times(3, () => tried(upstream, "3", "ok")[0]),
        [3, 3, 3],
      );
    });

    test("a request that is bound to its server alone gets no other", () => {
      const up = [true, true, true];
      const health = { up: (peer: number) => up[peer] };
      const upstream = identified(group([server(1), server(2), server(3, { backup: true })], method), health);
      assert.deepEqual(tried(upstream, "2", "next", true), [2]);
      assert.deepEqual(tried(upstream, "3", "next", true), [3]);
      assert.deepEqual(tried(upstream, "none", "next", true), []);
      assert.equal(tried(upstream, "", "ok", true).length, 1);
      up[1] = false;
      assert.deepEqual(tried(upstream, "2", "next", true), []);
    });
  });
}

test("bound requests count as turns of their server, so that the others get more of those that are not", () => {
  const upstream = identified(group([server(1), server(2)]));
  const ports = times(6, () => [tried(upstream, "1", "ok")[0], tried(upstream, "", "ok")[0]]);
  assert.deepEqual(
    ports,
    times(6, () => [1, 2]),
  );
});
