import assert from "node:assert/strict";
import { test } from "node:test";
import type { Engine } from "../../../src/net/engine.ts";
import { Deadline, setDeadline, startTimer } from "../../../src/sys/timers.ts";
import { waitFor } from "../../support/wait.ts";
import { hears, scene, TCP, turns } from "./harness.ts";

export function looping(engine: Engine): void {
  const { loop } = engine;

  test("what is deferred runs in another turn, what is to follow the event in between", async (t) => {
    const order: string[] = [];
    const note = (what: string, by: string): void => void order.push(`${what} by ${by}`);
    const { heard, peer } = await scene(t, engine, TCP[0], {
      onData() {
        loop.defer(note, "deferred", "onData");
        loop.afterEvent(note, "after", "onData");
        order.push("onData");
      },
    });
    peer.socket.write("x");
    await hears(heard, "data");
    await waitFor(() => order.length === 3, "all calls");
    assert.deepEqual(order, ["onData", "after by onData", "deferred by onData"]);
  });

  test("one wake-up, never early; the last one asked for counts", async () => {
    const woken: string[] = [];
    const start = performance.now();
    loop.wakeAt(start + 5, () => woken.push("first"));
    loop.wakeAt(start + 30, () => woken.push("second"));
    loop.holdProcess(false);
    loop.holdProcess(true);
    await waitFor(() => woken.length > 0, "the wake-up");
    assert.ok(performance.now() >= start + 30);
    loop.wakeAt(0, () => woken.push("at once"));
    assert.deepEqual(woken, ["second"], "not from within the call");
    await waitFor(() => woken.length > 1, "the wake-up");
    await turns();
    assert.deepEqual(woken, ["second", "at once"]);
  });

  test("what has come while the process was held up goes before what was due meanwhile", async (t) => {
    const order: string[] = [];
    const { peer } = await scene(t, engine, TCP[0], { onData: () => void order.push("data") });
    setDeadline(new Deadline(order, (all) => void all.push("deadline")), 30);
    startTimer(30, () => order.push("timer"));
    peer.socket.write("x");
    for (const until = performance.now() + 300; performance.now() < until; );
    await waitFor(() => order.length === 3, "all of them");
    assert.equal(order[0], "data");
  });
}
