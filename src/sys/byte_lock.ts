import { libc } from "./libc.ts";

/**
 * Locks of bytes of a file (fcntl(2), "open file description locks"). The kernel gives them back when the descriptor is closed, by a
 * death too. Within one descriptor they do not exclude each other.
 */

/** <fcntl.h>, <errno.h> */
const F_OFD_SETLK = 37;
const F_OFD_SETLKW = 38;
const F_WRLCK = 1;
const F_UNLCK = 2;
const EINTR = 4;
const EACCES = 13;
const EAGAIN = 11;

/** A struct flock: its type; where it starts, from the file's beginning; how long it is. */
const flock = Buffer.alloc(32);
const START = 8;
const LENGTH = 16;

/** Waits until nobody else has locked the byte: this thread handles no event meanwhile. Throws where the kernel has no more locks. */
export function lockByte(fd: number, at: number): void {
  set(fd, F_OFD_SETLKW, F_WRLCK, at);
}

/** False where somebody else has locked it. */
export function tryLockByte(fd: number, at: number): boolean {
  return set(fd, F_OFD_SETLK, F_WRLCK, at);
}

export function unlockByte(fd: number, at: number): void {
  set(fd, F_OFD_SETLK, F_UNLCK, at);
}

function set(fd: number, command: number, type: number, at: number): boolean {
  const c = libc();
  flock.writeInt16LE(type, 0);
  flock.writeBigInt64LE(BigInt(at), START);
  flock.writeBigInt64LE(1n, LENGTH);
  while (c.fcntlLock(fd, command, flock) < 0) {
    const errno = c.errno();
    if (errno === EAGAIN || errno === EACCES) return false;
    if (errno !== EINTR) throw new Error(`fcntl() failed (${c.errnoName()})`);
  }
  return true;
}
