import { libc } from "./libc.ts";

/** futex(2): sleeps in the kernel until a word of memory that several processes map has changed. */

const FUTEX_WAIT = 0;
const FUTEX_WAKE = 1;

/** A struct timespec. */
const timeout = Buffer.alloc(16);

/** Sleeps while the word at that address has this value, for `ms` at most. This thread handles no event meanwhile. */
export function futexWait(address: bigint, value: number, ms: number): void {
  timeout.writeBigInt64LE(BigInt(Math.floor(ms / 1000)), 0);
  timeout.writeBigInt64LE(BigInt(Math.floor((ms % 1000) * 1e6)), 8);
  libc().futex(address, FUTEX_WAIT, value, timeout);
}

/** Wakes that many of those that sleep at the address. */
export function futexWake(address: bigint, count: number): void {
  libc().futex(address, FUTEX_WAKE, count, timeout);
}
