import assert from "node:assert/strict";
import { test } from "node:test";
import { group, input, pickPort, portOf, server } from "./helpers.ts";

test("a preferred server is taken first, and counted like any other", () => {
  const upstream = group([server(1), server(2), server(3)]);
  const attempt = upstream.begin(input(), 2);
  assert.equal(attempt.tries, 3);
  assert.equal(portOf(upstream, attempt), 3);
  assert.deepEqual([upstream.counters(2).conns, upstream.counters(2).requests], [1, 1]);
  upstream.release(attempt, "ok");
  assert.equal(upstream.counters(2).conns, 0);
  upstream.end(attempt);
  assert.equal(pickPort(upstream), 1, "the method's own turns go on as if nothing had been");
});

test("after a preferred server failed the method chooses among the others", () => {
  const upstream = group([server(1), server(2), server(3)]);
  const attempt = upstream.begin(input(), 1);
  assert.equal(portOf(upstream, attempt), 2);
  upstream.release(attempt, "failed");
  assert.equal(attempt.tries, 2);
  assert.equal(portOf(upstream, attempt), 1);
  upstream.release(attempt, "failed");
  assert.equal(portOf(upstream, attempt), 3);
  upstream.release(attempt, "ok");
  assert.equal(attempt.tries, 0);
});

test("a preferred server that cannot be had is passed over", () => {
  const up = [true, true, true, false];
  const servers = [server(1), server(2, { down: true }), server(3, { maxConns: 1 }), server(4)];
  const upstream = group(servers, undefined, { health: { up: (peer) => up[peer] } });
  const first = upstream.begin(input(), 2);
  assert.equal(portOf(upstream, first), 3);
  for (const preferred of [1, 2, 3]) assert.equal(portOf(upstream, upstream.begin(input(), preferred)), 1);
  upstream.release(first, "ok");
  up[0] = false;
  assert.equal(portOf(upstream, upstream.begin(input(), 3)), 3);
});

test("a preferred server is held out by max_fails too", () => {
  const upstream = group([server(1), server(2)]);
  const attempt = upstream.begin(input(), 1);
  upstream.next(attempt);
  upstream.release(attempt, "failed");
  assert.equal(portOf(upstream, upstream.begin(input(), 1)), 1);
});

test("a server that drains takes the requests bound to it, and one more is left to try", () => {
  const upstream = group([server(1), server(2, { drain: true })]);
  const attempt = upstream.begin(input(), 1);
  assert.equal(portOf(upstream, attempt), 2);
  upstream.release(attempt, "failed");
  assert.equal(attempt.tries, 1);
  assert.equal(portOf(upstream, attempt), 1);
});

test("an attempt used again prefers nothing", () => {
  const upstream = group([server(1), server(2)]);
  const attempt = upstream.begin(input(), 1);
  upstream.end(attempt);
  assert.equal(pickPort(upstream), 1);
});

test("a backup server may be preferred, and the main ones come after it", () => {
  const upstream = group([server(1), server(2, { backup: true })]);
  const attempt = upstream.begin(input(), 1);
  assert.equal(portOf(upstream, attempt), 2);
  upstream.release(attempt, "failed");
  assert.equal(portOf(upstream, attempt), 1);
});

test("an upstream of one server takes the preference for its only server", () => {
  for (const options of [{}, { maxConns: 1 }]) {
    const upstream = group([server(1, { drain: true, ...options })]);
    assert.equal(portOf(upstream, upstream.begin(input())), undefined);
    assert.equal(portOf(upstream, upstream.begin(input(), 0)), 1);
    assert.equal(upstream.counters(0).conns, 1);
  }
});
