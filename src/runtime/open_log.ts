import { constants, openSync } from "node:fs";
import { errnoCode, errnoText } from "../sys/errno.ts";
import { osPath } from "../sys/paths.ts";

/** Names of this process's own output. A socket behind one of them cannot be opened, nor another user's pipe. */
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
 * Opens a log for appending, makes it where missing, and waits for nobody: a pipe is opened without a reader, and one
 * that is full fails a write with EAGAIN. Answers the descriptor; 1 and 2 stay open. Throws the sentence nginx has:
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
    // A named pipe that nobody reads yet: with a reader of our own it keeps what comes until somebody does.
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
