import { closeSync, constants, fstatSync, openSync, writeSync } from "node:fs";
import { lockByte, tryLockByte, unlockByte } from "../../sys/byte_lock.ts";
import { errnoCode, errorText } from "../../sys/errno.ts";
import { mapDescriptor } from "../../sys/memory.ts";
import { osPath } from "../../sys/paths.ts";

const FILE = "open.lock";
/** All workers there may be, those of another master, and room for tools: as many as LMDB has readers. */
const PROCESSES = 1024;
/** In words: the first is not 0 while somebody opens the environment, others are not while a process commits. Each has a cache line. */
const LINE = 16;
const OPENING = 0;
const BYTES = (PROCESSES + 1) * LINE * Int32Array.BYTES_PER_ELEMENT;
/** How often who opens looks whether another process has committed, ms. */
const LOOK_MS = 1;

/**
 * Keeps processes that commit to an environment from one that opens it. LMDB does not: who opens it reads the number of the last
 * commit, maps the file, and then writes that number into the memory that all share (mdb_env_open2 in mdb.c), whatever was
 * committed meanwhile. Readers go back to what was before then, the next commit takes the place of those that were forgotten, and
 * pages that are in use are written over. So a worker that begins could undo what another one had confirmed, or kill it.
 *
 * Who commits says so in a word of his own, then looks whether somebody opens, and if so waits; who opens says so, then waits for all
 * that commit. That needs no call to the kernel but where somebody opens. Words are in a file beside the database; each process has
 * the byte of its number locked there, by which the others know that it lives, and who opens has that of 0.
 */
export class CommitLock {
  readonly #fd: number;
  readonly #words: Int32Array;
  readonly #number: number;
  /** Transactions of this process that are under way: several beside the event loop. */
  #commits = 0;

  /** Throws a sentence where it cannot be had. */
  constructor(directory: string) {
    const path = `${directory}/${FILE}`;
    // Never closed once it is in use: whoever dies closes it.
    this.#fd = open(path);
    try {
      lockByte(this.#fd, OPENING);
      this.#words = wordsOf(this.#fd);
      this.#number = this.#claim();
      unlockByte(this.#fd, OPENING);
    } catch (error) {
      this.close();
      throw new Error(`"${path}" cannot be locked: ${error instanceof Error ? error.message : String(error)}`);
    }
  }

  /** Of an environment that could not be opened. */
  close(): void {
    closeSync(this.#fd);
  }

  /** Calls `work`, which opens the environment, while no other process commits or opens it. */
  opening<T>(work: () => T): T {
    lockByte(this.#fd, OPENING);
    try {
      Atomics.store(this.#words, OPENING, 1);
      for (let number = 1; number <= PROCESSES; number++) this.#awaitCommits(number);
      return work();
    } finally {
      Atomics.store(this.#words, OPENING, 0);
      unlockByte(this.#fd, OPENING);
    }
  }

  /** Calls `work`, which commits. */
  committing<T>(work: () => T): T {
    this.hold();
    try {
      return work();
    } finally {
      this.release();
    }
  }

  /** From here to `release` a commit is under way. */
  hold(): void {
    if (this.#commits === 0) {
      Atomics.store(this.#words, this.#number * LINE, 1);
      while (this.#opening) {
        Atomics.store(this.#words, this.#number * LINE, 0);
        this.#awaitOpening();
        Atomics.store(this.#words, this.#number * LINE, 1);
      }
    }
    this.#commits++;
  }

  release(): void {
    if (--this.#commits === 0) Atomics.store(this.#words, this.#number * LINE, 0);
  }

  /** Another process waits until no commit is under way here: one that begins now is to wait for those that are. */
  get awaited(): boolean {
    return this.#commits > 0 && this.#opening;
  }

  get #opening(): boolean {
    return Atomics.load(this.#words, OPENING) !== 0;
  }

  /** A number that no living process has. */
  #claim(): number {
    for (let number = 1; number <= PROCESSES; number++) {
      if (!tryLockByte(this.#fd, number)) continue;
      Atomics.store(this.#words, number * LINE, 0);
      return number;
    }
    throw new Error(`more than ${PROCESSES} processes use it`);
  }

  #awaitCommits(number: number): void {
    const word = number * LINE;
    if (number === this.#number) return;
    while (Atomics.load(this.#words, word) !== 0) {
      if (tryLockByte(this.#fd, number)) {
        // It has died.
        Atomics.store(this.#words, word, 0);
        unlockByte(this.#fd, number);
        return;
      }
      Atomics.wait(NOBODY, 0, 0, LOOK_MS);
    }
  }

  #awaitOpening(): void {
    lockByte(this.#fd, OPENING);
    // Who said so is through with it, or has died.
    Atomics.store(this.#words, OPENING, 0);
    unlockByte(this.#fd, OPENING);
  }
}

function open(path: string): number {
  try {
    return openSync(osPath(path), constants.O_RDWR | constants.O_CREAT, 0o600);
  } catch (error) {
    throw new Error(`open() "${path}" failed (${errorText(errnoCode(error) ?? "EIO")})`);
  }
}

/** Memory that nobody else has, to sleep on. */
const NOBODY = new Int32Array(new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT));

function wordsOf(fd: number): Int32Array {
  const { size } = fstatSync(fd);
  // Written, and not only made longer: where the disk is full, to touch a page that is not there would be SIGBUS.
  for (let at = size; at < BYTES; ) at += writeSync(fd, Buffer.alloc(BYTES - at), 0, BYTES - at, at);
  const mapping = mapDescriptor(fd, BYTES, 0n);
  if (mapping === undefined) throw new Error("mmap() failed");
  return new Int32Array(mapping.buffer);
}
