import { chmodSync, chownSync, fchownSync, fstatSync, lstatSync, mkdirSync, type Stats, statSync } from "node:fs";
import { errnoCode, errnoText } from "../../sys/errno.ts";
import { osPath } from "../../sys/paths.ts";
import type { Identity } from "../../sys/users.ts";
import type { BuiltCycle } from "../build_cycle.ts";
import { errorLogFiles } from "../log/directive.ts";
import { closeLogs, type OpenLogs, openLog } from "../log/open_log.ts";

/**
 * What a cycle needs on disk before it can serve: makes the directories and opens the logs, all owned by the user that
 * the process becomes. Throws nginx's message for the first failure.
 */
export function prepareFiles({ cycle, application }: BuiltCycle, identity: Identity | undefined): OpenLogs {
  for (const directory of application.directories) makeDirectory(directory, identity);
  const logs = new Map<string, number>();
  try {
    for (const path of [...errorLogFiles(cycle), ...application.logFiles]) {
      if (!logs.has(path)) logs.set(path, openLogFor(path, identity));
    }
    return logs;
  } catch (error) {
    closeLogs(logs.values());
    throw error;
  }
}

/** ngx_create_paths: only the last part of the path is created, with mode 0700. */
function makeDirectory(path: string, identity: Identity | undefined): void {
  const name = osPath(path.length > 1 && path.endsWith("/") ? path.slice(0, -1) : path);
  try {
    mkdirSync(name, 0o700);
  } catch (error) {
    const code = errnoCode(error) ?? "EIO";
    if (code !== "EEXIST") throw new Error(`mkdir() "${path}" failed ${errnoText(code)}`);
  }
  if (identity === undefined) return;
  try {
    const { uid, mode } = statSync(name);
    if (uid !== identity.uid) chownSync(name, identity.uid, -1);
    if ((mode & 0o700) !== 0o700) chmodSync(name, mode | 0o700);
  } catch (error) {
    chownFailed(path, identity, error);
  }
}

/** Opens a log and gives it to that user. Throws nginx's message. */
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
      closeLogs([fd]);
      throw failure;
    }
  }
}

/**
 * Whether the path still names the opened file. A user who may write to the directory could put a link there to have
 * any file given to them: only root's symbolic links are followed, and no file with a second hard link is given away.
 */
function isLogOf(name: string | Buffer, { dev, ino, nlink }: Stats): boolean {
  const there = lstatSync(name);
  if (there.isSymbolicLink()) return there.uid === 0;
  return there.dev === dev && there.ino === ino && nlink === 1;
}

/** Without root's privileges (a system where the master could keep none) files stay as they are, which is no error. */
function chownFailed(path: string, identity: Identity, error: unknown): void {
  const code = errnoCode(error) ?? "EIO";
  if (code === "EPERM" && process.geteuid?.() !== 0) return;
  throw new Error(`chown("${path}", ${identity.uid}) failed ${errnoText(code)}`);
}
