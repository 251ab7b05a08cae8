import { writeSync } from "node:fs";
import { errnoCode } from "../config/errno.ts";

/** How long to sleep before a full pipe is tried again, in ms. */
const PAUSE_MS = 2;

const asleep = new Int32Array(new SharedArrayBuffer(4));

/** Stops this thread for a moment: for a pipe whose reader is slow, where nothing else can be done meanwhile. */
function pause(ms: number = PAUSE_MS): void {
  Atomics.wait(asleep, 0, 0, ms);
}

/** Writes all of it, however slow the reader of a pipe is. Nobody reads it any more: the rest is dropped. */
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
