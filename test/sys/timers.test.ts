import assert from "node:assert/strict";
import { test } from "node:test";
import { armedDeadlines, clearDeadline, Deadline, setDeadline, startTimer } from "../../src/sys/timers.ts";

function fired(ms: number, act?: (deadline: Deadline<null>) => void): Promise<number> {
  return new Promise((resolve) => {
    const start = performance.now();
    const deadline = new Deadline(null, () => resolve(performance.now() - start));
    setDeadline(deadline, ms);
    act?.(deadline);
  });
}

test("a deadline fires once, never early, with its owner", async () => {
  for (const ms of [0, 1, 15, 16, 17, 40, 100]) {
    const took = await fired(ms);
    assert.ok(took >= ms, `${ms} ms fired after ${took}`);
    assert.ok(took < ms + 500, `${ms} ms fired after ${took}`);
  }
  const owners: string[] = [];
  const deadline = new Deadline("owner", (owner) => owners.push(owner));
  setDeadline(deadline, 1);
  await fired(60);
  assert.deepEqual(owners, ["owner"]);
  assert.equal(deadline.armed, false);
  assert.equal(armedDeadlines(), 0);
});

test("re-arming to later and to earlier takes effect, clearing disarms", async () => {
  assert.ok((await fired(20, (deadline) => setDeadline(deadline, 120))) >= 120);
  assert.ok((await fired(5000, (deadline) => setDeadline(deadline, 20))) < 2000);
  let count = 0;
  const cleared = new Deadline(null, () => count++);
  setDeadline(cleared, 5);
  clearDeadline(cleared);
  clearDeadline(cleared);
  await fired(50);
  assert.equal(count, 0);
  assert.equal(armedDeadlines(), 0);
});

test("a callback may arm itself and clear deadlines that expire in the same slot", async () => {
  const order: string[] = [];
  const second: Deadline<null> = new Deadline(null, () => order.push("second"));
  const first: Deadline<null> = new Deadline(null, () => {
    order.push("first");
    clearDeadline(second);
    if (order.length < 3) setDeadline(first, 0);
  });
  setDeadline(first, 10);
  setDeadline(second, 10);
  await fired(150);
  assert.deepEqual(order, ["first", "first", "first"]);
});

test("deadlines beyond the wheel wait for their time", async () => {
  let early = 0;
  const hours = new Deadline(null, () => early++);
  setDeadline(hours, 3_600_000);
  await fired(50);
  assert.equal(early, 0);
  assert.equal(hours.armed, true);
  clearDeadline(hours);
});

test("a hundred thousand armed deadlines are cheap", () => {
  const all = Array.from({ length: 100_000 }, () => new Deadline(null, () => {}));
  const start = performance.now();
  for (const deadline of all) setDeadline(deadline, 60_000);
  for (const deadline of all) setDeadline(deadline, 75_000);
  for (const deadline of all) clearDeadline(deadline);
  assert.ok(performance.now() - start < 2000);
  assert.equal(armedDeadlines(), 0);
});

test("a timer of its own fires once, never early, and not at all once it was cleared", async () => {
  const start = performance.now();
  let cleared = 0;
  startTimer(5, () => cleared++).clear();
  await new Promise<void>((resolve) => startTimer(30, resolve));
  assert.ok(performance.now() - start >= 30);
  assert.equal(cleared, 0);
});

test("times longer than setTimeout can count do not fire at once", async () => {
  let early = 0;
  const timers = [2 ** 31 - 1, 2 ** 31, 365 * 86_400_000, Number.MAX_SAFE_INTEGER].map((ms) =>
    startTimer(ms, () => early++),
  );
  const deadlines = [2 ** 31, Number.MAX_SAFE_INTEGER].map((ms) => {
    const deadline = new Deadline(null, () => early++);
    setDeadline(deadline, ms);
    return deadline;
  });
  await fired(50);
  assert.equal(early, 0);
  for (const timer of timers) timer.clear();
  for (const deadline of deadlines) clearDeadline(deadline);
});

test("a time that was counted in parts is counted to its end", (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  let clock = 1000;
  t.mock.method(performance, "now", () => clock);
  const pass = (ms: number) => {
    clock += ms;
    t.mock.timers.tick(ms);
  };
  let calls = 0;
  startTimer(2 ** 31 + 1000, () => calls++);
  pass(2 ** 31 - 1);
  pass(1000);
  assert.equal(calls, 0);
  pass(1);
  assert.equal(calls, 1);
  pass(2 ** 31);
  assert.equal(calls, 1);
});
