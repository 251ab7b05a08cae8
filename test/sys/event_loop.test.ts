import assert from "node:assert/strict";
import { test } from "node:test";
import { type EventLoop, nodeLoop, useEventLoop } from "../../src/sys/event_loop.ts";
import { afterEvent, defer } from "../../src/sys/guard.ts";
import { clearDeadline, Deadline, setDeadline } from "../../src/sys/timers.ts";

test("deadlines and deferred calls are the business of the event loop in use", (t) => {
  const asked: string[] = [];
  let wake: (() => void) | undefined;
  const loop: EventLoop = {
    defer(callback, first, second) {
      asked.push("defer");
      callback(first, second);
    },
    afterEvent(callback, first, second) {
      asked.push("afterEvent");
      callback(first, second);
    },
    wakeAt(time, callback) {
      asked.push(time > performance.now() ? "wakeAt" : "wakeAt the past");
      wake = callback;
    },
    holdProcess: (hold) => void asked.push(`hold ${hold}`),
  };
  useEventLoop(loop);
  t.after(() => useEventLoop(nodeLoop));
  const owners: string[] = [];
  const called = (owner: string): void => void owners.push(owner);
  defer(called, "deferred");
  afterEvent(called, "after");
  let clock = performance.now();
  t.mock.method(performance, "now", () => clock);
  const deadline = new Deadline("expired", called);
  setDeadline(deadline, 20);
  clearDeadline(deadline);
  setDeadline(deadline, 20);
  // Not so late that events go first.
  clock += 60;
  wake?.();
  assert.deepEqual(owners, ["deferred", "after", "expired"]);
  assert.deepEqual(asked, ["defer", "afterEvent", "hold true", "wakeAt", "hold false", "hold true"]);
});
