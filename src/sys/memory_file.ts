import { closeSync, writeSync } from "node:fs";
import { libc } from "./libc.ts";

const MFD_CLOEXEC = 1;

/** Calls with the path of a file that has these bytes, in memory, which is gone when the call returns. Throws RangeError. */
export function withMemoryFile(bytes: Uint8Array, use: (path: string) => void): void {
  const c = libc();
  const fd = c.memfd_create("file", MFD_CLOEXEC);
  if (fd < 0) throw new RangeError(`memfd_create() failed (${c.errnoName()})`);
  try {
    for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at);
    use(`/proc/self/fd/${fd}`);
  } finally {
    closeSync(fd);
  }
}
