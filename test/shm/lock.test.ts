import assert from "node:assert/strict";
import { once } from "node:events";
import { test } from "node:test";
import { Worker } from "node:worker_threads";
import { lock, unlock } from "../../src/shm/lock.ts";
import { waitFor } from "../support/wait.ts";

const LINUX = process.platform === "linux" ? false : "only Linux says which threads there are";
/** What the lock's word has beside its holder once somebody waits for it. */
const WAITERS = 1 << 30;

function words(): Int32Array {
  return new Int32Array(new SharedArrayBuffer(6 * 4));
}

function thread(task: "die" | "hold" | "count", shared: Int32Array): Worker {
  return new Worker(new URL("./lock_thread.ts", import.meta.url), { workerData: { task, buffer: shared.buffer } });
}

test("one thread at a time holds it, whoever else waits", async () => {
  const shared = words();
  const threads = [1, 2, 3, 4].map(() => thread("count", shared));
  await Promise.all(threads.map((worker) => once(worker, "exit")));
  assert.deepEqual([...shared], [0, 0, 80_000, 0, 0, 0]);
});

test("a living holder is not robbed, however long it takes", async () => {
  const shared = words();
  const holder = thread("hold", shared);
  await once(holder, "message");
  const waiter = thread("hold", shared);
  await waitFor(() => (Atomics.load(shared, 0) & WAITERS ? true : undefined), "a waiter");
  const taken = once(waiter, "message");
  const early = await Promise.race([taken, new Promise<"not yet">((resolve) => setTimeout(resolve, 1000, "not yet"))]);
  assert.equal(early, "not yet");
  Atomics.store(shared, 1, 1);
  assert.deepEqual(await taken, [false]);
  await Promise.all([holder, waiter].map((worker) => (worker.threadId === -1 ? undefined : once(worker, "exit"))));
  assert.equal(shared[0], 0);
});

test("who leaves wakes one of those that sleep", async () => {
  const shared = words();
  lock(shared, 0);
  const waiter = thread("hold", shared);
  const taken = once(waiter, "message");
  const ended = once(waiter, "exit");
  await waitFor(() => (Atomics.load(shared, 0) & WAITERS ? true : undefined), "a waiter");
  const { notify } = Atomics;
  const woken: number[] = [];
  Object.assign(Atomics, {
    notify: (array: Int32Array, at: number, count?: number) => {
      // It may be on its way to sleep still.
      let found = 0;
      while (found === 0 && Atomics.load(shared, 2) === 0 && woken.length === 0) found = notify(array, at, count);
      woken.push(found);
      return found;
    },
  });
  try {
    Atomics.store(shared, 1, 1);
    unlock(shared, 0);
  } finally {
    Object.assign(Atomics, { notify });
  }
  assert.equal(woken.length, 1);
  assert.deepEqual(await taken, [false]);
  await ended;
});

test("nobody is woken where nobody waits", (t) => {
  const shared = words();
  const notify = t.mock.method(Atomics, "notify");
  assert.equal(lock(shared, 0), false);
  unlock(shared, 0);
  assert.equal(shared[0], 0);
  assert.equal(notify.mock.callCount(), 0);
});

test("the lock of a thread that died inside goes to one that waits, who is told", { skip: LINUX }, async () => {
  const shared = words();
  const dying = thread("die", shared);
  await once(dying, "message");
  const waiter = thread("hold", shared);
  await waitFor(() => (Atomics.load(shared, 0) & WAITERS ? true : undefined), "a waiter");
  const taken = once(waiter, "message");
  const ended = once(waiter, "exit");
  await dying.terminate();
  assert.deepEqual(await taken, [true]);
  Atomics.store(shared, 1, 1);
  await ended;
  assert.equal(shared[0], 0);
});

test("who comes after the death takes it over as well", { skip: LINUX }, async () => {
  const shared = words();
  const dying = thread("die", shared);
  await once(dying, "message");
  await dying.terminate();
  assert.equal(lock(shared, 0), true);
  unlock(shared, 0);
  assert.equal(lock(shared, 0), false);
  unlock(shared, 0);
});
