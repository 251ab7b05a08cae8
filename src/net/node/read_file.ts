import fs from "node:fs";
import { contain } from "../../sys/guard.ts";
import type { FileReadHandler } from "../engine.ts";
import { streamError } from "../errors.ts";
import { takeSlab } from "../slabs.ts";

/** Engine.readFile, by a thread of libuv's pool. */
export function readFile(fd: number, position: number, length: number, handler: FileReadHandler): void {
  // As long as FILE_PIECE, and outside of the heap.
  const slab = takeSlab();
  fs.read(fd, slab.bytes, 0, Math.min(length, slab.bytes.length), position, (error, count) => {
    try {
      if (error === null) handler.onFileRead(slab.bytes.subarray(0, count), undefined);
      else handler.onFileRead(slab.bytes.subarray(0, 0), streamError(error));
    } catch (fault) {
      contain(handler, fault);
    }
    slab.release();
  });
}
