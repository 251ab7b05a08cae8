import { libc } from "./libc.ts";

/** The most that getrandom(2) fills without being interrupted by a signal. */
const AT_ONCE = 256;

/** Fills a buffer with bytes that nobody can guess, without OpenSSL (builtin.ts). */
export function fillRandom(buffer: Uint8Array): void {
  for (let at = 0; at < buffer.length; at += AT_ONCE) {
    const piece = buffer.subarray(at, at + AT_ONCE);
    if (libc().getrandom(piece) !== piece.length) throw new Error("getrandom() failed");
  }
}

export function randomBytes(count: number): Buffer {
  const bytes = Buffer.alloc(count);
  fillRandom(bytes);
  return bytes;
}

/** A number of 32 bits, with its sign. */
export function randomInt32(): number {
  return randomBytes(4).readInt32LE();
}
