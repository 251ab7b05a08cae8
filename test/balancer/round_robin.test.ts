import assert from "node:assert/strict";
import { test } from "node:test";
import { group, input, pickPort, portOf, server, TestClock, times } from "./helpers.ts";

test("smooth weighted round robin spreads a heavy server's turns", () => {
  const upstream = group([server(1, { weight: 5 }), server(2), server(3)]);
  assert.deepEqual(
    times(7, () => pickPort(upstream)),
    [1, 1, 2, 1, 3, 1, 1],
  );
});

test("a failed server is left out for fail_timeout, tried once, and readmitted when it answers", () => {
  const clock = new TestClock();
  const upstream = group([server(1), server(2)], undefined, { clock: clock.now });
  const attempt = upstream.begin(input());
  assert.equal(attempt.tries, 2);
  assert.equal(portOf(upstream, attempt), 1);
  upstream.release(attempt, "failed");
  assert.equal(attempt.disabled, true);
  assert.equal(attempt.tries, 1);
  assert.equal(portOf(upstream, attempt), 2);
  upstream.release(attempt, "ok");

  clock.pass(10);
  assert.deepEqual(
    times(3, () => pickPort(upstream)),
    [2, 2, 2],
  );
  clock.pass(1);
  const ports = times(4, () => pickPort(upstream));
  assert.ok(ports.includes(1), "readmitted after more than fail_timeout");
  assert.equal(upstream.counters(0).fails, 0);
});

test("only one request tries a failed server until it has answered", () => {
  const clock = new TestClock();
  const upstream = group([server(1), server(2)], undefined, { clock: clock.now });
  const attempt = upstream.begin(input());
  upstream.next(attempt);
  upstream.release(attempt, "failed");
  clock.pass(11);
  const trials = times(6, () => {
    const trial = upstream.begin(input());
    return portOf(upstream, trial);
  });
  assert.equal(trials.filter((port) => port === 1).length, 1);
});

test("with every server failed there is none left, and no failure is forgotten early", () => {
  const clock = new TestClock();
  const upstream = group([server(1), server(2)], undefined, { clock: clock.now });
  const attempt = upstream.begin(input());
  upstream.next(attempt);
  upstream.release(attempt, "failed");
  upstream.next(attempt);
  upstream.release(attempt, "failed");
  assert.equal(attempt.tries, 0);
  assert.equal(upstream.next(attempt), undefined);
  assert.equal(pickPort(upstream), undefined);
  clock.pass(11);
  assert.notEqual(pickPort(upstream), undefined);
});

test("a single server is used however often it failed, but once a request", () => {
  const upstream = group([server(1, { maxFails: 1 })]);
  for (let i = 0; i < 5; i++) {
    const attempt = upstream.begin(input());
    assert.equal(portOf(upstream, attempt), 1);
    upstream.release(attempt, "failed");
    assert.equal(attempt.disabled, false);
    assert.equal(attempt.tries, 0);
  }
});

test("backup servers come when the main ones are exhausted and are counted in tries", () => {
  const upstream = group([server(3, { backup: true }), server(1), server(2, { down: true })]);
  const attempt = upstream.begin(input());
  assert.equal(attempt.tries, 2);
  assert.equal(portOf(upstream, attempt), 1);
  upstream.release(attempt, "next");
  assert.equal(portOf(upstream, attempt), 3);
  upstream.release(attempt, "ok");
  assert.equal(upstream.next(attempt), undefined);
});

test("max_conns holds a server out while its connections are open", () => {
  const upstream = group([server(1, { maxConns: 1 }), server(2, { maxConns: 1 })]);
  const first = upstream.begin(input());
  const second = upstream.begin(input());
  assert.equal(portOf(upstream, first), 1);
  assert.equal(portOf(upstream, second), 2);
  assert.equal(pickPort(upstream), undefined);
  upstream.release(first, "ok");
  assert.equal(pickPort(upstream), 1);
});

test("a failure lowers the weight by weight/max_fails and it grows back pick by pick", () => {
  const upstream = group([server(1, { weight: 4, maxFails: 2 }), server(2, { weight: 4 })]);
  const attempt = upstream.begin(input());
  assert.equal(portOf(upstream, attempt), 1);
  upstream.release(attempt, "failed");
  assert.equal(upstream.counters(0).effectiveWeight, 2);
  pickPort(upstream);
  assert.equal(upstream.counters(0).effectiveWeight, 3);
});
