import assert from "node:assert/strict";
import { test } from "node:test";
import { Children } from "../../../src/runtime/master/children.ts";

/** A thread that takes every generation, and leaves when told to. */
const ENTRY = new URL(`data:text/javascript,
import { parentPort } from "node:worker_threads";
parentPort.on("message", ({ type, data }) => {
  if (type === "cycle" && data.generation === 9) return;
  if (type === "cycle") parentPort.postMessage({ type: "ready", generation: data.generation });
  else process.exit(0);
});`);

const DATA = {
  generation: 1,
  directives: [],
  prefix: "/",
  confPrefix: "/",
  errorLog: "",
  zones: {},
  hosts: {},
};

test("a thread that the system refuses is tried again, at once when a reload comes", async (t) => {
  const lines: string[] = [];
  const log = { wants: () => true, write: (_level: string, message: string) => lines.push(message) };
  let refused = false;
  const env = () => {
    if (refused) throw new Error("no more threads");
    return {};
  };
  const gone: number[] = [];
  const children = new Children({ entry: ENTRY, env, log: () => log, forget: (slot) => gone.push(slot) });
  t.after(() => children.stop());
  assert.deepEqual(await children.apply(DATA, 1), []);
  refused = true;
  const [refusal] = await children.apply({ ...DATA, generation: 2 }, 2);
  assert.match(refusal, /^worker thread 2 exited with Error: no more threads$/);
  refused = false;
  assert.deepEqual(await children.apply({ ...DATA, generation: 3 }, 2), []);
  assert.deepEqual(gone, [1]);
});

test("a thread that hangs does not hold up the reloads to come", async (t) => {
  const log = { wants: () => true, write: () => {} };
  const children = new Children({ entry: ENTRY, env: () => ({}), log: () => log, cycleTimeout: 3000 });
  t.after(() => children.stop());
  assert.deepEqual(await children.apply(DATA, 1), []);
  assert.deepEqual(await children.apply({ ...DATA, generation: 9 }, 1), [
    "checker thread has not taken the configuration over within 3 s",
    "worker thread 1 has not taken the configuration over within 3 s",
  ]);
  assert.deepEqual(await children.apply({ ...DATA, generation: 10 }, 1), []);
});
