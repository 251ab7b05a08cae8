import { openSync } from "node:fs";
import { mapForReading } from "../../sys/memory.ts";
import { osPath } from "../../sys/paths.ts";

/** What begins LMDB's lock file (MDB_txbody in mdb.c): a mark, the format, and the number of the last transaction. */
const MARK = 0xbeefc0de;
const LOW = 2;
const HIGH = 3;
const BYTES = 16;

/**
 * How far the transactions of all processes have come. LMDB itself keeps the number in memory that they share: each commit moves it
 * before the next one can begin, and where a process died in between, whoever writes next sets it right. To look costs a load.
 */
export class CommitCounter {
  readonly #words: Uint32Array;

  /** Of an environment that is open. Throws what node:fs does, and where the file is not as expected. */
  constructor(directory: string) {
    const path = `${directory}/lock.mdb`;
    // Never closed: who closes a file gives up all locks of his process on it.
    const mapping = mapForReading(openSync(osPath(path), "r"), BYTES);
    if (mapping === undefined) throw new Error(`mmap() of "${path}" failed`);
    this.#words = new Uint32Array(mapping.buffer, 0, BYTES / Uint32Array.BYTES_PER_ELEMENT);
    if (this.#words[0] !== MARK) throw new Error(`"${path}" is no lock file of LMDB's`);
  }

  /** The number of the transaction that was committed last. */
  get last(): number {
    return Atomics.load(this.#words, HIGH) * 2 ** 32 + Atomics.load(this.#words, LOW);
  }
}
