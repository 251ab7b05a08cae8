import { closeSync, readSync } from "node:fs";
import type { IoUring } from "../../sys/io_uring.ts";
import { libc } from "../../sys/libc.ts";

/** The most that is moved at once. */
const ROOM = 512 * 1024;
const LENGTH = BigInt(ROOM);
/** <fcntl.h>: O_NONBLOCK and O_CLOEXEC; SPLICE_F_MOVE and SPLICE_F_NONBLOCK. */
const PIPE_FLAGS = 0o2004000;
const F_SETPIPE_SZ = 1031;
const SPLICE_FLAGS = 3;

/**
 * A pipe through which the kernel moves bytes from socket to socket, by splice(2): pages change hands, and nothing is copied.
 * One for all streams of the process, since nothing stays in it from call to call.
 */
export class SplicePipe {
  /** How many bytes are in it. */
  length = 0;
  private readonly calls: IoUring;
  /** The ends to read from and to write to; -1 until they are needed. */
  private output = -1;
  private input = -1;

  constructor(calls: IoUring) {
    this.calls = calls;
  }

  /** Takes what has come on a socket. Returns how many bytes, 0 at the end, or the negated errno. */
  fillFrom(socket: number): number {
    if (this.input < 0) {
      const ends = Buffer.alloc(8);
      const result = this.calls.pipe(ends, PIPE_FLAGS);
      if (result < 0) return result;
      this.output = ends.readInt32LE(0);
      this.input = ends.readInt32LE(4);
      // Where the user has too many, it stays smaller.
      libc().fcntl(this.input, F_SETPIPE_SZ, ROOM);
    }
    const count = this.calls.splice(socket, this.input, LENGTH, SPLICE_FLAGS);
    if (count > 0) this.length = count;
    return count;
  }

  /** Gives a socket as much as it takes. Returns how many bytes that was, or the negated errno. */
  emptyInto(socket: number): number {
    const count = this.calls.splice(this.output, socket, LENGTH, SPLICE_FLAGS);
    if (count > 0) this.length -= count;
    return count;
  }

  /** Copies the bytes that are left, or the first of them, into the buffer. Returns how many. */
  read(into: Buffer): number {
    const count = readSync(this.output, into);
    this.length -= count;
    return count;
  }

  /** Drops the bytes that are left. */
  clear(): void {
    if (this.length === 0) return;
    closeSync(this.output);
    closeSync(this.input);
    this.output = -1;
    this.input = -1;
    this.length = 0;
  }
}
