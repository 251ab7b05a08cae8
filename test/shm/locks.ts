import { Lock } from "../../src/shm/lock.ts";
import type { Zone } from "../../src/shm/zone.ts";

/** A lock in the first word of a zone's contents. */
export function lockIn({ handle, words }: Zone): Lock {
  const { memory } = handle;
  return new Lock(words, 0, "address" in memory ? memory.address + BigInt(words.byteOffset) : undefined);
}
