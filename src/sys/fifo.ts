import { constants, lstatSync, openSync, unlinkSync } from "node:fs";
import { errnoCode, errnoText } from "./errno.ts";
import { bindWhenUsed } from "./ffi.ts";
import { libc } from "./libc.ts";
import { osPath } from "./paths.ts";

const c = bindWhenUsed(null, { mkfifo: { return: "int32", arguments: ["string", "uint32"] } });

/**
 * A named pipe of this user's own, made where it is missing, and open for reading and writing: so it never ends, and reading it never
 * waits. Throws a sentence.
 */
export function openPipe(path: string): number {
  if (!isPipe(path) && c.mkfifo(path, 0o600) !== 0) {
    throw new Error(`mkfifo() "${path}" failed ${errnoText(libc().errnoName())}`);
  }
  return openSync(osPath(path), constants.O_RDWR | constants.O_NONBLOCK);
}

/** Removes what is none. */
function isPipe(path: string): boolean {
  try {
    if (lstatSync(osPath(path)).isFIFO()) return true;
    unlinkSync(osPath(path));
  } catch (error) {
    if (errnoCode(error) !== "ENOENT") throw error;
  }
  return false;
}
