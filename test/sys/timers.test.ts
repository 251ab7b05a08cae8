import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { armedDeadlines, clearDeadline, Deadline, setDeadline, startTimer } from "../../src/sys/timers.ts";
import { waitFor } from "../support/wait.ts";

function fired(ms: number, act?: (deadline: Deadline<null>) => void): Promise<number> {
  return new Promise((resolve) => {
    const start = performance.now();
    const deadline = new Deadline(null, () => resolve(performance.now() - start));
    setDeadline(deadline, ms);
    act?.(deadline);
  });
}

/** Whether something comes before a timer of so many ms. Where the process is held up both are late, and events go first. */
async function before(ms: number, what: Promise<unknown>): Promise<boolean> {
  let come = false;
  const coming = what.then(() => {
    come = true;
  });
  await Promise.race([coming, sleep(ms, undefined, { ref: false })]);
  for (let turn = 0; turn < 50 && !come; turn++) await new Promise((resolve) => setImmediate(resolve));
  return come;
}

test("a deadline fires once, never early, with its owner", async () => {
  for (const ms of [0, 1, 15, 16, 17, 40, 100]) {
    const after = fired(ms);
    assert.ok(await before(ms + 500, after), `${ms} ms fired late`);
    assert.ok((await after) >= ms, `${ms} ms fired after ${await after}`);
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
  assert.ok(
    await before(
      2000,
      fired(5000, (deadline) => setDeadline(deadline, 20)),
    ),
  );
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
  await waitFor(() => order.length === 3, "all calls");
  await fired(50);
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
  const start = process.cpuUsage();
  for (const deadline of all) setDeadline(deadline, 60_000);
  for (const deadline of all) setDeadline(deadline, 75_000);
  for (const deadline of all) clearDeadline(deadline);
  // 0.05 s; a list that is searched would take minutes.
  assert.ok(process.cpuUsage(start).user < 5e6);
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
