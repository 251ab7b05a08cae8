import type { Zone, ZoneKind } from "../shm/zone.ts";
import type { Matrix } from "./matrix.ts";

/** What the checker has published of the group, for the workers: a text in shared memory. */
export const SNAPSHOT_ZONE: ZoneKind = { name: "cluster", version: 1 };

/** Words before the text. */
const SEQUENCE = 0;
const LENGTH = 1;
const HEAD_BYTES = 64;
/** A writer takes microseconds; who reads while it writes looks again. */
const TRIES = 1000;

/** Written by the checker alone. */
export class Snapshot {
  readonly #zone: Zone;
  #matrix: Matrix | undefined = undefined;
  /** Its sequence. */
  #matrixAt = 0;

  constructor(zone: Zone) {
    this.#zone = zone;
  }

  /** Changes with each publication. */
  get sequence(): number {
    return Atomics.load(this.#zone.words, SEQUENCE);
  }

  /** Returns false where there is no room: what was there stays. */
  publish(text: string): boolean {
    const { words, bytes } = this.#zone;
    const encoded = Buffer.from(text);
    if (encoded.length > bytes.length - HEAD_BYTES) return false;
    // Odd while it is being written; already odd if a checker died in here.
    const writing = words[SEQUENCE] | 1;
    Atomics.store(words, SEQUENCE, writing);
    encoded.copy(bytes, HEAD_BYTES);
    words[LENGTH] = encoded.length;
    Atomics.store(words, SEQUENCE, (writing + 1) | 0);
    return true;
  }

  /** The matrix, whose strings are byte strings, the same object while it is the same; undefined: there is none yet. */
  matrix(): Matrix | undefined {
    const { sequence } = this;
    if (sequence === this.#matrixAt) return this.#matrix;
    const bytes = this.read();
    if (bytes === undefined) return undefined;
    const matrix = parsed<Matrix>(bytes);
    if (matrix === undefined) return this.#matrix;
    this.#matrix = matrix;
    this.#matrixAt = sequence;
    return matrix;
  }

  /** The bytes as they were published; undefined: nothing was yet. */
  read(): Buffer | undefined {
    const { words, bytes } = this.#zone;
    for (let tries = 0; tries < TRIES; tries++) {
      const sequence = Atomics.load(words, SEQUENCE);
      if (sequence === 0) return undefined;
      const length = Math.min(Math.max(0, words[LENGTH]), bytes.length - HEAD_BYTES);
      const copy = Buffer.from(bytes.subarray(HEAD_BYTES, HEAD_BYTES + length));
      if ((sequence & 1) === 0 && Atomics.load(words, SEQUENCE) === sequence) return copy;
    }
    return undefined;
  }
}

/**
 * What was published, which is written by this program's checker alone; undefined where two were at it at once, as when
 * another one takes over: there is more in a moment.
 */
export function parsed<T>(bytes: Buffer): T | undefined {
  try {
    return JSON.parse(bytes.toString()) as T;
  } catch {
    return undefined;
  }
}
