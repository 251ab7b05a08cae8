import assert from "node:assert/strict";
import { test } from "node:test";
import { viewOf } from "../../src/health/plan.ts";
import type { Connect } from "../../src/health/probe.ts";
import { startChecks } from "../../src/health/scheduler.ts";
import { statusRows } from "../../src/health/status.ts";
import type { Address } from "../../src/net/address.ts";
import type { ConnectHandler, Stream } from "../../src/net/stream.ts";
import { bind, ipv4, memoryLog, planOf, serve, TestClock, until } from "./support.ts";

/** A connect whose outcome the test decides, without any network. */
function scripted() {
  const starts: number[] = [];
  const pending: { stream: Stream; handler: ConnectHandler }[] = [];
  let mode: "up" | "refused" | "silent" | "no files" = "up";
  const clock = new TestClock();
  const connect: Connect = ({ address }, handler) => {
    starts.push(clock.time);
    const stream = fakeStream(address, handler);
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

function fakeStream(remote: Address, handler: ConnectHandler): Stream {
  return {
    handler,
    remote,
    local: remote,
    write: () => true,
    cork() {},
    uncork() {},
    queued: 0,
    pause() {},
    resume() {},
    end() {},
    destroy() {},
    close() {},
    closed: false,
    setNoDelay() {},
    setKeepAlive() {},
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

test("a thread that was held up does not blame the servers", () => {
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
  const plan = bind(planOf([address], { interval: 30, fall: 2, rise: 2, timeout: 200 }));
  const view = viewOf(plan, "u");
  assert.ok(view);
  assert.equal(view.up(0), false);
  const checks = startChecks(plan, { log });
  try {
    await until(() => view.up(0), "up");
    close();
    await until(() => !view.up(0), "down");
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
    await until(() => statusRows(plan).every(({ fall }) => fall > 0), "two failures");
    for (const { reason } of statusRows(plan)) assert.equal(reason, "timeout after 80 ms");
  } finally {
    checks.stop();
    silent.close();
    dribbling.close();
  }
});
