import { closeSync, fsyncSync, openSync } from "node:fs";

const POSIX_FADV_DONTNEED = 4;

/** Has the kernel forget the pages of a file, if it is on a disk: who reads it next has to wait for that. */
export function dropPages(path: string): void {
  const ffi = process.getBuiltinModule("node:ffi");
  const { functions } = ffi.dlopen(null, {
    posix_fadvise: { return: "int32", arguments: ["int32", "int64", "int64", "int32"] },
  });
  const fd = openSync(path, "r+");
  // Pages that are not written yet are not forgotten.
  fsyncSync(fd);
  functions.posix_fadvise(fd, 0n, 0n, POSIX_FADV_DONTNEED);
  closeSync(fd);
}
