import assert from "node:assert/strict";
import { test } from "node:test";
import { ThreadPool } from "../../src/runtime/threads.ts";

/** A thread that takes every generation, and leaves when told to. */
const ENTRY = new URL(`data:text/javascript,
import { parentPort } from "node:worker_threads";
parentPort.on("message", ({ type, data }) => {
  if (type === "cycle") parentPort.postMessage({ type: "ready", generation: data.generation });
  else process.exit(0);
});`);

test("a thread that the system refuses is tried again, at once when a reload comes", async (t) => {
  const lines: string[] = [];
  const log = { wants: () => true, write: (_level: string, message: string) => lines.push(message) };
  let refused = false;
  const env = () => {
    if (refused) throw new Error("no more threads");
    return {};
  };
  const gone: number[] = [];
  const pool = new ThreadPool({ entry: ENTRY, env, log: () => log, forget: (slot) => gone.push(slot) });
  t.after(() => pool.stop());
  const tree = { files: [], root: [] };
  const data = { generation: 1, tree, prefix: "/", confPrefix: "/", errorLog: "", zones: {}, hosts: {} };
  assert.deepEqual(await pool.apply(data as never, 1), []);
  refused = true;
  const [refusal] = await pool.apply({ ...data, generation: 2 } as never, 2);
  assert.match(refusal, /^worker thread 2 exited with Error: no more threads$/);
  refused = false;
  assert.deepEqual(await pool.apply({ ...data, generation: 3 } as never, 2), []);
  assert.deepEqual(gone, [1]);
});
