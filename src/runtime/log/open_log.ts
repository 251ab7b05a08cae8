import { closeSync, constants, fchownSync, fstatSync, lstatSync, openSync, type Stats } from "node:fs";
import { errnoCode, errnoText } from "../../sys/errno.ts";
import { osPath } from "../../sys/paths.ts";
import type { Identity } from "../../sys/users.ts";

/** Descriptors of log files by absolute path. They are the supervisor's, which alone closes them. */
export type OpenLogs = ReadonlyMap<string, number>;

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

/** Opens a log, which is to be that user's. Throws the sentence of a failure. */
export function openLogFor(path: string, identity: Identity | undefined): number {
  const fd = openLog(path);
  if (identity === undefined) return fd;
  try {
    const status = fstatSync(fd);
    if (status.isFile() && status.uid !== identity.uid && isLogOf(osPath(path), status)) {
      fchownSync(fd, identity.uid, -1);
    }
    return fd;
  } catch (error) {
    try {
      chownFailed(path, identity, error);
      return fd;
    } catch (failure) {
      closeLog(fd);
      throw failure;
    }
  }
}

/** Whoever may write in the log directory could put a link there to any file, to be given it: only root's links count. */
function isLogOf(name: string | Buffer, { dev, ino, nlink }: Stats): boolean {
  const there = lstatSync(name);
  if (there.isSymbolicLink()) return there.uid === 0;
  return there.dev === dev && there.ino === ino && nlink === 1;
}

/** Once root's rights are given up (on a system where none can be kept), it is no error that files stay as they are. */
export function chownFailed(path: string, identity: Identity, error: unknown): void {
  const code = errnoCode(error) ?? "EIO";
  if (code === "EPERM" && process.geteuid?.() !== 0) return;
  throw new Error(`chown("${path}", ${identity.uid}) failed ${errnoText(code)}`);
}

export function closeLogs(logs: OpenLogs): void {
  for (const fd of logs.values()) closeLog(fd);
}

/** Standard output and error stay open. */
export function closeLog(fd: number): void {
  if (fd > 2) closeSync(fd);
}
