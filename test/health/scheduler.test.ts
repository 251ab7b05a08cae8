import assert from "node:assert/strict";
import { test } from "node:test";
import type { Connect } from "../../src/health/check_connection.ts";
import { viewOf } from "../../src/health/plan.ts";
import { startChecks } from "../../src/health/scheduler.ts";
import { statusRows } from "../../src/health/status.ts";
import type { ConnectHandler, Stream } from "../../src/net/stream.ts";
import { logFaultsTo } from "../../src/sys/guard.ts";
import { waitFor } from "../support/wait.ts";
import { bind, ipv4, memoryLog, planOf, serve, silentStream, TestClock } from "./support.ts";

/** A connect whose outcome the test decides, without any network. */
function scripted() {
  const starts: number[] = [];
  const pending: { stream: Stream; handler: ConnectHandler }[] = [];
  let mode: "up" | "refused" | "silent" | "no files" = "up";
  const clock = new TestClock();
  const connect: Connect = ({ address }, handler) => {
    starts.push(clock.time);
    const stream = silentStream(address, handler);
    pending.push({ stream, handler });
    return stream;
  };
  /** Lets every connection that was begun come to its end. */
  const settle = () => {
    for (const { stream, handler } of pending.splice(0)) {
      if (mode === "up") handler.onConnect(stream);
      else if (mode === "refused")
        handler.onClose(stream, { code: "ECONNREFUSED", message: "111: Connection refused" });
      else if (mode === "no files") handler.onClose(stream, { code: "EMFILE", message: "24: Too many open files" });
    }
  };
  const run = (to: number, step = 5) => {
    while (clock.time < to) {
      clock.to(Math.min(to, clock.time + step));
      settle();
    }
  };
  return {
    settle,
    starts,
    clock,
    connect,
    run,
    set: (to: typeof mode) => {
      mode = to;
    },
  };
}

test("a cold start checks at once and in quick succession until there is a verdict", () => {
  const { clock, connect, run, starts } = scripted();
  const log = memoryLog();
  const plan = bind(planOf([ipv4(1)], { interval: 30_000, rise: 3 }));
  const checks = startChecks(plan, { log, clock, connect, random: () => 0.5 });
  run(500);
  assert.equal(statusRows(plan)[0].up, true);
  assert.equal(starts.length, 3);
  assert.equal(log.lines.length, 1);
  assert.match(
    log.lines[0],
    /^\[error\] enable check peer: 127\.0\.0\.1:1 , upstream: "u", check: tcp, reason: passed 3 in a row, was down for \d+ms$/,
  );
  run(150_000, 50);
  // The place in the interval is drawn, and a check may come 5 % early; drawn here is the middle of both.
  assert.ok(starts[3] < 30_200, `in the interval that follows, not at ${starts[3]}`);
  const gaps = starts.slice(4).map((start, number) => start - starts[number + 3]);
  assert.ok(gaps.length >= 3, `${gaps.length} more`);
  for (const gap of gaps) assert.ok(gap > 28_400 && gap < 31_600, `then once in an interval, not after ${gap}`);
  checks.stop();
});

test("fall failures take a server out after interval × fall + timeout at most; rise passes bring it back", () => {
  const { clock, connect, run, set } = scripted();
  const log = memoryLog();
  const plan = bind(planOf([ipv4(1)], { interval: 1000, fall: 3, rise: 2, timeout: 400 }));
  const checks = startChecks(plan, { log, clock, connect });
  run(5000);
  assert.equal(statusRows(plan)[0].up, true);
  set("silent");
  const stopped = clock.time;
  while (statusRows(plan)[0].up) run(clock.time + 5);
  assert.ok(clock.time - stopped <= 3 * 1000 + 400 + 20, `took ${clock.time - stopped} ms`);
  assert.equal(statusRows(plan)[0].fall, 3);
  assert.match(
    log.lines[1],
    /^\[error\] disable check peer: 127.0.0.1:1 , .*reason: connect: timeout after 400 ms, was up for \d\.\ds$/,
  );
  set("refused");
  run(clock.time + 3000);
  assert.match(statusRows(plan)[0].reason, /^connect: connection refused$/);
  set("up");
  run(clock.time + 2100);
  assert.equal(statusRows(plan)[0].up, true);
  assert.equal(log.lines.length, 3, "one line for each change");
  checks.stop();
});

test("checks of many servers are spread over the interval", () => {
  const { clock, connect, run, starts } = scripted();
  const plan = bind(
    planOf(
      Array.from({ length: 100 }, (_, i) => ipv4(i + 1)),
      { interval: 1000, rise: 1 },
    ),
  );
  const checks = startChecks(plan, { log: memoryLog(), clock, connect });
  run(3000);
  const from = starts.filter((at) => at > 1500 && at <= 2500);
  assert.ok(from.length >= 95 && from.length <= 115, `${from.length} checks in an interval`);
  for (let at = 1500; at < 2500; at += 100) {
    const part = from.filter((start) => start > at && start <= at + 100).length;
    assert.ok(part >= 4 && part <= 18, `${part} checks within 100 ms`);
  }
  checks.stop();
});

test("running out of file descriptors here changes nobody's state", () => {
  const { clock, connect, run, set } = scripted();
  const log = memoryLog();
  const plan = bind(planOf([ipv4(1)], { fall: 1, rise: 1 }));
  const checks = startChecks(plan, { log, clock, connect });
  run(100);
  set("no files");
  run(5000);
  assert.equal(statusRows(plan)[0].up, true);
  assert.equal(log.lines.filter((line) => line.startsWith("[crit] cannot check peer: 127.0.0.1:1")).length, 1);
  checks.stop();
});

test("a checker that was held up does not blame the servers", () => {
  const { clock, connect, run, settle } = scripted();
  const plan = bind(planOf([ipv4(1)], { fall: 1, rise: 1, interval: 1000, timeout: 300 }));
  const checks = startChecks(plan, { log: memoryLog(), clock, connect });
  run(900);
  for (let i = 0; i < 20; i++) {
    // Nothing happens for seconds; then timers and answers come at once, the timers first.
    clock.time += 700 + i * 97;
    clock.to(clock.time);
    settle();
    run(clock.time + 400);
  }
  assert.equal(statusRows(plan)[0].up, true);
  checks.stop();
});

test("check_panic lets every server be used while too few are up", () => {
  const { clock, connect, run, set } = scripted();
  const log = memoryLog();
  const plan = bind(planOf([ipv4(1), ipv4(2)], { fall: 1, rise: 1, interval: 100 }, 50));
  const view = viewOf(plan, "u");
  assert.ok(view);
  const checks = startChecks(plan, { log, clock, connect });
  run(300);
  set("refused");
  run(600);
  assert.deepEqual(
    statusRows(plan).map(({ up }) => up),
    [false, false],
  );
  assert.deepEqual([view.up(0), view.up(1)], [true, true]);
  assert.ok(log.lines.some((line) => line.includes("check panic begins: 0 of 2 servers up")));
  set("up");
  run(900);
  assert.ok(log.lines.some((line) => line.includes("check panic ends")));
  checks.stop();
});

test("a real server is found, lost and found again", async () => {
  const { address, close } = await serve((socket) => socket.resume());
  const log = memoryLog();
  const plan = bind(planOf([address], { interval: 30, fall: 2, rise: 2, timeout: 5000 }));
  const view = viewOf(plan, "u");
  assert.ok(view);
  assert.equal(view.up(0), false);
  const checks = startChecks(plan, { log });
  try {
    await waitFor(() => view.up(0), "up");
    close();
    await waitFor(() => !view.up(0), "down");
    assert.equal(statusRows(plan)[0].reason, "connect: connection refused");
  } finally {
    checks.stop();
    close();
  }
});

test("a server that accepts and says nothing, or never ends, fails by the timeout", async () => {
  const silent = await serve((socket) => socket.resume());
  const dribbling = await serve((socket) => {
    const timer = setInterval(() => socket.write("H"), 10);
    socket.on("close", () => clearInterval(timer));
    socket.once("data", () => socket.write("HTTP/1.1 200 OK\r\nX: "));
  });
  const body = { headers: [], body: [() => ""] };
  const definition = { type: "http", send: "GET / HTTP/1.0\r\n\r\n", fall: 1, timeout: 80, interval: 200 } as const;
  const expect = { status: (code: number) => code === 200, ...body };
  const plan = bind(planOf([silent.address, dribbling.address], { ...definition, expect }));
  const checks = startChecks(plan, { log: memoryLog() });
  try {
    // Where this process is held up, a connection may take as long, which is another reason.
    const reasons = (): string[] => statusRows(plan).map(({ fall, reason }) => (fall > 0 ? reason : ""));
    await waitFor(
      () => reasons().every((reason) => reason === "timeout after 80 ms"),
      () => `two failures, of which there are ${reasons()}`,
    );
  } finally {
    checks.stop();
    silent.close();
    dribbling.close();
  }
});

/** What the failures of a server that is up must take at least: `fall` of them, an interval apart (5 % early at most). */
const PATIENCE = { interval: 3000, fall: 5, rise: 2, timeout: 1000 };
const LEAST = 4 * 3000 * 0.95;
const MOST = 5 * 3000 + 1000;

/** Runs until the plan's only server is down; answers how long it took, or Infinity after a minute. */
function untilDown({ run, clock }: ReturnType<typeof scripted>, plan: ReturnType<typeof bind>): number {
  const from = clock.time;
  while (clock.time < from + 60_000) {
    if (!statusRows(plan)[0].up) return clock.time - from;
    run(clock.time + 20, 20);
  }
  return Number.POSITIVE_INFINITY;
}

function assertPatient(took: number): void {
  assert.ok(took >= LEAST && took <= MOST, `down after ${took} ms`);
}

for (const random of [0, 0.3, 0.999]) {
  test(`default_down=false: a dead server is up for fall intervals after a start (drawn: ${random})`, () => {
    const world = scripted();
    const plan = bind(planOf([ipv4(1)], { ...PATIENCE, defaultDown: false }));
    world.set("refused");
    const checks = startChecks(plan, { log: memoryLog(), ...world, random: () => random });
    assertPatient(untilDown(world, plan));
    checks.stop();
  });

  for (const change of ["path", "fall"] as const) {
    test(`a reload that edits the ${change} of a check leaves a server up for fall intervals (drawn: ${random})`, () => {
      const world = scripted();
      const before = bind(planOf([ipv4(1)], { ...PATIENCE, identity: "/old", ...(change === "fall" && { fall: 9 }) }));
      const checks = startChecks(before, { log: memoryLog(), ...world, random: () => random });
      world.run(20_000, 20);
      assert.equal(statusRows(before)[0].up, true);
      world.set("refused");
      const definition = { ...PATIENCE, identity: change === "path" ? "/new" : "/old" };
      const after = bind(planOf([ipv4(1)], definition), before.states, 2, world.clock.wall());
      checks.update(after);
      assert.equal(statusRows(after)[0].up, true);
      assertPatient(untilDown(world, after));
      checks.stop();
    });
  }
}

test("a server that is down and fails its first check is asked again in the interval that begins", () => {
  const world = scripted();
  world.set("refused");
  const plan = bind(planOf([ipv4(1)], { ...PATIENCE, rise: 3 }));
  const checks = startChecks(plan, { log: memoryLog(), ...world, random: () => 0.5 });
  world.run(500);
  assert.equal(world.starts.length, 1, "no burst of failures");
  world.set("up");
  world.run(3300);
  assert.equal(statusRows(plan)[0].up, true, "the passes follow in quick succession");
  checks.stop();
});

test("a reload lets a server back in as soon as an edited check passes, and keeps one out that goes on failing", () => {
  for (const passes of [true, false]) {
    const world = scripted();
    world.set("refused");
    const before = bind(planOf([ipv4(1)], { ...PATIENCE, identity: "/old" }));
    const checks = startChecks(before, { log: memoryLog(), ...world });
    world.run(20_000, 20);
    world.set(passes ? "up" : "refused");
    const after = bind(
      planOf([ipv4(1)], { ...PATIENCE, identity: "/new", defaultDown: false }),
      before.states,
      2,
      world.clock.wall(),
    );
    checks.update(after);
    world.run(world.clock.time + 500);
    assert.equal(statusRows(after)[0].up, passes);
    checks.stop();
  }
});

test("a failure that was counted before a reload keeps its distance to the next", () => {
  const world = scripted();
  const definition = { ...PATIENCE, fall: 2 };
  let plan = bind(planOf([ipv4(1)], definition));
  const checks = startChecks(plan, { log: memoryLog(), ...world });
  world.run(10_000, 20);
  world.set("refused");
  while (statusRows(plan)[0].fall === 0) world.run(world.clock.time + 20);
  const failed = world.clock.time;
  for (let generation = 2; statusRows(plan)[0].up; generation++) {
    plan = bind(planOf([ipv4(1)], definition), plan.states, generation, world.clock.wall());
    checks.update(plan);
    world.run(world.clock.time + 100);
  }
  assert.ok(world.clock.time - failed > 2800, `the second failure came after ${world.clock.time - failed} ms`);
  checks.stop();
});

test("a checker that was started again goes on counting at the same pace", () => {
  const world = scripted();
  const plan = bind(planOf([ipv4(1)], { ...PATIENCE, fall: 2 }));
  const first = startChecks(plan, { log: memoryLog(), ...world });
  world.run(10_000, 20);
  world.set("refused");
  while (statusRows(plan)[0].fall === 0) world.run(world.clock.time + 20);
  first.stop();
  const again = startChecks(plan, { log: memoryLog(), ...world });
  const from = world.clock.time;
  const took = untilDown(world, plan);
  assert.ok(took > 2800, `down ${took} ms after ${from}`);
  again.stop();
});

test("a server that was removed and comes back begins as default_down says", () => {
  for (const defaultDown of [true, false]) {
    const world = scripted();
    const definition = { ...PATIENCE, defaultDown };
    const both = () => planOf([ipv4(1), ipv4(2)], definition);
    const first = bind(both());
    const checks = startChecks(first, { log: memoryLog(), ...world });
    world.run(10_000, 20);
    assert.equal(statusRows(first)[1].up, true);
    const without = bind(planOf([ipv4(1)], definition), first.states, 2, world.clock.wall());
    checks.update(without);
    world.run(15_000, 20);
    world.set("refused");
    const back = bind(both(), first.states, 3, world.clock.wall());
    checks.update(back);
    world.run(world.clock.time + 400);
    assert.deepEqual(
      statusRows(back).map(({ up }) => up),
      [true, !defaultDown],
    );
    checks.stop();
  }
});
test("a check whose probe throws has failed, and the checks beside it go on", () => {
  const { clock, connect, run } = scripted();
  const log = memoryLog();
  logFaultsTo(log);
  const plan = bind(planOf([ipv4(1), ipv4(2)], { interval: 1000, rise: 1, fall: 2 }));
  const throwing: Connect = (options, handler) => {
    if (options.address.family === "ipv4" && options.address.port === 1) throw new TypeError("thrown on demand");
    return connect(options, handler);
  };
  const checks = startChecks(plan, { log, clock, connect: throwing, random: () => 0.5 });
  run(2500);
  const [first, second] = statusRows(plan);
  assert.equal(first.up, false);
  assert.equal(second.up, true);
  assert.ok(
    log.lines.some((line) => /^\[alert\] exception: TypeError: thrown on demand at .* while checking$/.test(line)),
  );
  assert.ok(log.lines.some((line) => line.includes("reason: exception: thrown on demand")));
  checks.stop();
});
