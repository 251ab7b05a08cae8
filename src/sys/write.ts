import { constants, writeSync } from "node:fs";
import { errnoCode } from "./errno.ts";
import { libc } from "./libc.ts";

/** How long to sleep before writing to a full pipe again, in ms. */
const PAUSE_MS = 2;

const asleep = new Int32Array(new SharedArrayBuffer(4));

/** Blocks this process, to wait for the reader of a full pipe. */
export function pause(ms: number = PAUSE_MS): void {
  Atomics.wait(asleep, 0, 0, ms);
}

/** Writes a line (a byte string), waiting up to `ms` for room in a pipe. Throws what node:fs throws. */
export function writeLine(fd: number, line: string, ms: number): void {
  const until = performance.now() + ms;
  for (let left = line; ; ) {
    try {
      left = left.slice(writeSync(fd, left, null, "latin1"));
      if (left === "") return;
    } catch (error) {
      if (errnoCode(error) !== "EAGAIN" || performance.now() >= until) throw error;
      pause();
    }
  }
}

/** Writes all of it, waiting for room in a pipe as long as it takes. After an error the rest is dropped. */
export function writeWhole(fd: number, bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length; ) {
    try {
      at += writeSync(fd, bytes, at);
    } catch (error) {
      if (errnoCode(error) !== "EAGAIN") return;
      pause();
    }
  }
}

const F_GETFL = 3;
const F_SETFL = 4;

/** From now on a write to a full pipe fails with EAGAIN: for all who have it open, since the flag is the pipe's. */
export function setNonBlocking(fd: number): void {
  const flags = libc().fcntl(fd, F_GETFL, 0);
  if (flags >= 0) libc().fcntl(fd, F_SETFL, flags | constants.O_NONBLOCK);
}
