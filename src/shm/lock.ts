import { existsSync, readlinkSync } from "node:fs";

/**
 * A robust lock in one word of shared memory. The word is 0 while it is free, else the holder's thread id as the system
 * counts them, and WAITERS beside it once somebody sleeps until it is free. Only a holder that is dead loses it.
 */

/** Above every thread id: Linux has them below 2^22. */
const WAITERS = 1 << 30;

/** Looks at the lock before a thread goes to sleep: it is held for some hundred instructions. */
const SPINS = 2000;
/** How often one who waits looks whether the holder is still alive, in ms. */
const LOOK_MS = 50;

const self = threadId();

/** This thread's id. 1 where the system does not say: then nobody can be found dead. */
function threadId(): number {
  try {
    return Number(/\d+$/.exec(readlinkSync("/proc/thread-self"))?.[0] ?? 1);
  } catch {
    return 1;
  }
}

/** Nobody takes a lock twice: a holder with this thread's id was another one, which died before this one got its id. */
function alive(thread: number): boolean {
  return self === 1 || (thread !== self && existsSync(`/proc/self/task/${thread}`));
}

/**
 * Takes the lock of the word at `at`. True when its holder died: what the lock protects may be half changed, and is to
 * be made right first.
 */
export function lock(words: Int32Array, at: number): boolean {
  return Atomics.compareExchange(words, at, 0, self) !== 0 && lockSlowly(words, at);
}

function lockSlowly(words: Int32Array, at: number): boolean {
  for (let i = 0; i < SPINS; i++) {
    if (Atomics.load(words, at) === 0 && Atomics.compareExchange(words, at, 0, self) === 0) return false;
  }
  for (let held = Atomics.load(words, at); ; held = Atomics.load(words, at)) {
    // Others may be asleep as well: whoever slept wakes the next one when it leaves.
    if (held === 0) {
      if (Atomics.compareExchange(words, at, 0, self | WAITERS) === 0) return false;
      continue;
    }
    const marked = held | WAITERS;
    if (held !== marked && Atomics.compareExchange(words, at, held, marked) !== held) continue;
    if (Atomics.wait(words, at, marked, LOOK_MS) !== "timed-out" || alive(marked & ~WAITERS)) continue;
    if (Atomics.compareExchange(words, at, marked, self | WAITERS) === marked) return true;
  }
}

/** Leaves it, and wakes one of those that wait. */
export function unlock(words: Int32Array, at: number): void {
  if ((Atomics.exchange(words, at, 0) & WAITERS) !== 0) Atomics.notify(words, at, 1);
}
