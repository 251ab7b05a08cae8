import { writeSync } from "node:fs";
import { errnoCode } from "./errno.ts";

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
