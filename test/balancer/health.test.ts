import assert from "node:assert/strict";
import { test } from "node:test";
import { group, input, pickPort, portOf, server, TestClock, times } from "./helpers.ts";

test("a server whose check says down gets nothing, alone or among others, main or backup", () => {
  const up = [true, false, true];
  const health = { up: (peer: number) => up[peer] };
  const upstream = group([server(1), server(2), server(3, { backup: true })], undefined, { health });
  assert.deepEqual(
    times(3, () => pickPort(upstream)),
    [1, 1, 1],
  );
  up[0] = false;
  assert.equal(pickPort(upstream), 3);
  up[2] = false;
  assert.equal(pickPort(upstream), undefined);

  const single = group([server(1)], undefined, { health: { up: () => up[0] } });
  assert.equal(pickPort(single), undefined);
  up[0] = true;
  assert.equal(pickPort(single), 1);
});

test("max_fails holds beside a check that says up", () => {
  const upstream = group([server(1), server(2)], undefined, { health: { up: () => true } });
  const attempt = upstream.begin(input());
  upstream.next(attempt);
  upstream.release(attempt, "failed");
  assert.deepEqual(
    times(3, () => pickPort(upstream)),
    [2, 2, 2],
  );
});

test("check_panic: with too few servers up, checks are not heeded", () => {
  const up = [true, true, true, true];
  const upstream = group([1, 2, 3, 4].map((port) => server(port)));
  upstream.watch({ up: (peer) => up[peer] }, 50);
  const ports = () => [...new Set(times(8, () => pickPort(upstream)))].sort();
  up[0] = false;
  up[1] = false;
  assert.deepEqual(ports(), [3, 4], "half is not fewer than half");
  up[2] = false;
  assert.deepEqual(ports(), [1, 2, 3, 4]);
  up[3] = false;
  assert.deepEqual(ports(), [1, 2, 3, 4]);
  up.fill(true, 1);
  assert.deepEqual(ports(), [2, 3, 4]);
});

test("slow_start: a server found up again grows from nothing to its weight", () => {
  const clock = new TestClock();
  const up = [true, true];
  const health = { up: (peer: number) => up[peer] };
  const servers = [server(1, { slowStart: 100_000 }), server(2)];
  const upstream = group(servers, undefined, { clock: clock.now, health });
  const share = () => times(200, () => pickPort(upstream)).filter((port) => port === 1).length / 200;
  assert.equal(share(), 0.5, "at first it has its weight");
  up[0] = false;
  assert.equal(share(), 0);
  up[0] = true;
  assert.equal(share(), 0);
  clock.pass(25);
  assert.ok(Math.abs(share() - 0.2) < 0.02, "0.25 beside 1");
  clock.pass(50);
  assert.ok(Math.abs(share() - 0.75 / 1.75) < 0.02, "0.75 beside 1");
  clock.pass(25);
  assert.equal(share(), 0.5);
});

test("slow_start after max_fails: begins when the server has answered again", () => {
  const clock = new TestClock();
  const upstream = group([server(1, { slowStart: 10_000 }), server(2)], undefined, { clock: clock.now });
  const attempt = upstream.begin(input());
  assert.equal(portOf(upstream, attempt), 1);
  upstream.release(attempt, "failed");
  clock.pass(11);
  assert.ok(times(4, () => pickPort(upstream)).includes(1), "the trial");
  assert.ok(!times(10, () => pickPort(upstream)).includes(1));
  clock.pass(10);
  assert.equal(times(10, () => pickPort(upstream)).filter((port) => port === 1).length, 5);
});

test("slow_start leaves a lone server alone", () => {
  const up = [false];
  const upstream = group([server(1, { slowStart: 10_000 })], undefined, { health: { up: () => up[0] } });
  assert.equal(pickPort(upstream), undefined);
  up[0] = true;
  assert.equal(pickPort(upstream), 1);
});
