import assert from "node:assert/strict";
import { on, once } from "node:events";
import { type TestContext, test } from "node:test";
import { limitWaiting } from "../../src/shm/lock.ts";
import { makeOwnZone, makeZone, type Zone } from "../../src/shm/zone.ts";
import { libc } from "../../src/sys/libc.ts";
import { ended, kill, startProcess } from "../support/sharing.ts";
import { waitFor } from "../support/wait.ts";
import { lockIn } from "./locks.ts";

const KIND = { name: "test", version: 1 };
/** What the lock's word has beside its holder once somebody waits for it. */
const WAITERS = 1 << 30;

function newZone(): Zone {
  return makeZone(KIND, "lock", 6 * 4);
}

function start(t: TestContext, task: "die" | "hold" | "count", zone: Zone) {
  const child = startProcess(t, new URL("./lock_process.ts", import.meta.url), { zones: [zone], task });
  return {
    child,
    /** Whether it was told that the lock's holder had died, once it has the lock. */
    taken: (async () => {
      for await (const [message] of on(child, "message")) if (message !== "begins") return message;
    })(),
  };
}

/** A process that waits for a lock that another one holds. */
async function startWaiter(t: TestContext, zone: Zone) {
  const waiter = start(t, "hold", zone);
  await waitFor(() => (Atomics.load(zone.words, 0) & WAITERS ? true : undefined), "a waiter");
  return waiter;
}

test("one process at a time holds it, whoever else waits", async (t) => {
  const zone = newZone();
  const processes = [1, 2, 3, 4].map(() => start(t, "count", zone).child);
  await Promise.all(processes.map(ended));
  assert.deepEqual([...zone.words], [0, 0, 80_000, 0, 0, 0]);
});

test("a living holder is not robbed, however long it takes", async (t) => {
  const zone = newZone();
  const holder = start(t, "hold", zone);
  assert.equal(await holder.taken, false);
  const waiter = await startWaiter(t, zone);
  const early = await Promise.race([
    waiter.taken,
    new Promise<"not yet">((resolve) => setTimeout(resolve, 500, "not yet")),
  ]);
  assert.equal(early, "not yet");
  lockIn(zone).free(process.pid);
  assert.equal(zone.words[0], (holder.child.pid ?? 0) | WAITERS, "another's death is not its own");
  Atomics.store(zone.words, 1, 1);
  assert.equal(await waiter.taken, false);
  await Promise.all([holder, waiter].map(({ child }) => ended(child)));
  assert.equal(zone.words[0], 0);
});

test("who leaves wakes one of those that sleep", async (t) => {
  const zone = newZone();
  const lock = lockIn(zone);
  lock.take();
  const waiter = await startWaiter(t, zone);
  const c = libc();
  const { futex } = c;
  const woken: number[] = [];
  t.mock.method(c, "futex", (...call: Parameters<typeof futex>) => {
    // It may be on its way to sleep still, and sleeps for some time only.
    let found = 0;
    while (found === 0 && Atomics.load(zone.words, 2) === 0) found = futex(...call);
    woken.push(found);
    return found;
  });
  Atomics.store(zone.words, 1, 1);
  lock.leave();
  assert.equal(woken.length, 1);
  assert.equal(await waiter.taken, false);
  await ended(waiter.child);
});

test("nobody is woken where nobody waits", (t) => {
  const futex = t.mock.method(libc(), "futex");
  for (const zone of [newZone(), makeOwnZone(KIND, "own", 24)]) {
    const lock = lockIn(zone);
    assert.equal(lock.take(), false);
    assert.equal(zone.words[0], process.pid);
    lock.leave();
    assert.equal(zone.words[0], 0);
  }
  assert.equal(futex.mock.callCount(), 0);
});

test("the lock of a process that died inside goes to one that waits, which finds that out itself", async (t) => {
  const zone = newZone();
  const dying = start(t, "die", zone);
  assert.equal(await dying.taken, false);
  const waiter = await startWaiter(t, zone);
  await kill(dying.child);
  assert.equal(await waiter.taken, true);
  Atomics.store(zone.words, 1, 1);
  await ended(waiter.child);
  assert.equal(zone.words[0], 0);
});

test("who comes after the death takes it over as well, and is the last to be told", async (t) => {
  for (const freed of [false, true]) {
    const zone = newZone();
    const lock = lockIn(zone);
    const dying = start(t, "die", zone);
    await dying.taken;
    await kill(dying.child);
    if (freed) lock.free(dying.child.pid ?? 0);
    assert.equal(lock.take(), true, `freed: ${freed}`);
    lock.leave();
    assert.equal(lock.take(), false);
    lock.leave();
  }
});

test("a holder that was killed has died also before its parent, which waits for the lock, knows", async (t) => {
  const zone = newZone();
  const dying = start(t, "die", zone);
  await dying.taken;
  limitWaiting(10_000);
  t.after(() => limitWaiting(Number.POSITIVE_INFINITY));
  const killed = kill(dying.child);
  assert.equal(lockIn(zone).take(), true);
  await killed;
});

test("the master's word that a holder has died hands its lock to one that waits", async (t) => {
  const zone = newZone();
  // It lives, so that the one that waits has only that word to go by.
  const holder = start(t, "die", zone);
  await holder.taken;
  const waiter = await startWaiter(t, zone);
  lockIn(zone).free(holder.child.pid ?? 0);
  assert.equal(await waiter.taken, true);
  Atomics.store(zone.words, 1, 1);
  await ended(waiter.child);
  assert.equal(zone.words[0], 0);
});

test("a holder that had the process id that this process has now is dead", () => {
  const lock = lockIn(newZone());
  lock.take();
  assert.equal(lock.take(), true);
});

test("one that is killed while it waits leaves nothing behind", async (t) => {
  const zone = newZone();
  const lock = lockIn(zone);
  lock.take();
  const waiter = await startWaiter(t, zone);
  const [pid] = [waiter.child.pid ?? 0];
  waiter.child.kill("SIGKILL");
  await once(waiter.child, "exit");
  lock.free(pid);
  lock.leave();
  assert.equal(zone.words[0], 0);
});
