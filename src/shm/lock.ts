import { readFileSync } from "node:fs";
import { errnoCode } from "../sys/errno.ts";
import { futexWait, futexWake } from "../sys/futex.ts";

/**
 * A robust lock in one word of memory that several processes share. The word is 0 while it is free, else the holder's
 * process id, and WAITERS beside it once somebody sleeps until it is free. Only a holder that is dead loses it: the
 * master calls `free` for each lock when a process of its own has exited; whoever waits looks for itself as well,
 * since the holder may be another master's (during an upgrade).
 */

/** Above every process id: Linux has them below 2^22. */
const WAITERS = 1 << 30;
/** In place of a holder that died: what the lock protects may be half changed. */
const HOLDER_DIED = 1 << 29;

/** Looks at the lock before a process goes to sleep: it is held for some hundred instructions. */
const SPINS = 2000;
/** How often one who waits looks whether the holder is still alive, in ms. */
const LOOK_MS = 50;

const self = process.pid;

/** How long this process waits for a living holder, in ms. */
let patience = Number.POSITIVE_INFINITY;

/**
 * `take` throws after so many ms. For the master: a process that was taken over could have it wait for ever, as its memory
 * is where the locks are, and nobody would start the others again.
 */
export function limitWaiting(ms: number): void {
  patience = ms;
}

/** Nobody takes a lock twice: a holder with this process's id was another one, which died before this one got its id. */
function alive(holder: number): boolean {
  if (holder === self) return false;
  try {
    process.kill(holder, 0);
  } catch (error) {
    return errnoCode(error) !== "ESRCH";
  }
  return !isZombie(holder);
}

/** It has died, and its parent does not know yet: a master that waits for the lock cannot hear of it. */
function isZombie(holder: number): boolean {
  try {
    // PID (NAME) STATE …, where the name may be anything.
    return /^.*\) [ZX] /s.test(readFileSync(`/proc/${holder}/stat`, "latin1"));
  } catch {
    return false;
  }
}

export class Lock {
  readonly #words: Int32Array;
  readonly #at: number;
  /** Of the word in this process. undefined for memory that is this process's own, for which nobody ever waits. */
  readonly #address: bigint | undefined;

  constructor(words: Int32Array, at: number, address: bigint | undefined) {
    this.#words = words;
    this.#at = at;
    this.#address = address;
  }

  /** Takes it. True when its holder died: what the lock protects may be half changed, and is to be made right first. */
  take(): boolean {
    return Atomics.compareExchange(this.#words, this.#at, 0, self) !== 0 && this.#takeSlowly();
  }

  #takeSlowly(): boolean {
    const words = this.#words;
    const at = this.#at;
    for (let i = 0; i < SPINS; i++) {
      if (Atomics.load(words, at) === 0 && Atomics.compareExchange(words, at, 0, self) === 0) return false;
    }
    const until = performance.now() + patience;
    for (;;) {
      const held = Atomics.load(words, at);
      // Others may be asleep as well: whoever slept wakes the next one when it leaves.
      if (held === 0 || (held & HOLDER_DIED) !== 0) {
        if (Atomics.compareExchange(words, at, held, self | WAITERS) === held) return held !== 0;
        continue;
      }
      const marked = held | WAITERS;
      if (held !== marked && Atomics.compareExchange(words, at, held, marked) !== held) continue;
      if (this.#address !== undefined) futexWait(this.#address, marked, LOOK_MS);
      if (Atomics.load(words, at) !== marked || alive(marked & ~WAITERS)) {
        if (performance.now() > until) throw new Error(`process ${marked & ~WAITERS} holds a lock for too long`);
        continue;
      }
      if (Atomics.compareExchange(words, at, marked, self | WAITERS) === marked) return true;
    }
  }

  /** Leaves it, and wakes one of those that wait. */
  leave(): void {
    if ((Atomics.exchange(this.#words, this.#at, 0) & WAITERS) !== 0) this.#wake();
  }

  /** That process has died. If it holds the lock, the next one who takes it is told. */
  free(process: number): void {
    const held = Atomics.load(this.#words, this.#at);
    if ((held & ~WAITERS) !== process) return;
    if (Atomics.compareExchange(this.#words, this.#at, held, HOLDER_DIED | (held & WAITERS)) === held) this.#wake();
    // Somebody has begun to wait meanwhile.
    else this.free(process);
  }

  #wake(): void {
    if (this.#address !== undefined) futexWake(this.#address, 1);
  }
}
