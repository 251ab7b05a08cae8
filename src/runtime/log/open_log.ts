import { closeSync, constants, openSync } from "node:fs";
import { errnoCode, errnoText } from "../../sys/errno.ts";
import { osPath } from "../../sys/paths.ts";

/** Descriptors of log files by absolute path. They are the master's, which alone closes them. */
export type OpenLogs = ReadonlyMap<string, number>;

/** Paths of this process's own output. If it is a socket or another user's pipe, open() of such a path fails. */
const INHERITED: Readonly<Record<string, number>> = {
  "/dev/stdout": 1,
  "/dev/stderr": 2,
  "/dev/fd/1": 1,
  "/dev/fd/2": 2,
  "/proc/self/fd/1": 1,
  "/proc/self/fd/2": 2,
};

const { O_WRONLY, O_RDWR, O_APPEND, O_CREAT, O_NONBLOCK, O_NOCTTY } = constants;

/**
 * Opens a log for appending, and creates it where missing. Never blocks: a named pipe is opened even if nobody reads it,
 * and a write to a full one fails with EAGAIN. Returns the descriptor; 1 and 2 are not the caller's to close. Throws
 * `open() "…" failed (13: Permission denied)`.
 */
export function openLog(path: string): number {
  const name = osPath(path);
  try {
    return openSync(name, O_WRONLY | O_APPEND | O_CREAT | O_NONBLOCK | O_NOCTTY, 0o644);
  } catch (error) {
    const inherited = INHERITED[path];
    if (inherited !== undefined) return inherited;
    const code = errnoCode(error) ?? "EIO";
    // A named pipe without a reader: opened for reading as well, it buffers what is written until there is one.
    if (code === "ENXIO") {
      try {
        return openSync(name, O_RDWR | O_APPEND | O_NONBLOCK | O_NOCTTY);
      } catch {
        // A socket.
      }
    }
    throw new Error(`open() "${path}" failed ${errnoText(code)}`);
  }
}

/** Closes those of them that are not the standard output or error. */
export function closeLogs(fds: Iterable<number>): void {
  for (const fd of fds) if (fd > 2) closeSync(fd);
}
