import { chmodSync, chownSync, fchownSync, fstatSync, lstatSync, mkdirSync, type Stats, statSync } from "node:fs";
import { errnoCode, errnoText } from "../sys/errno.ts";
import { osPath } from "../sys/paths.ts";
import type { Identity } from "../sys/users.ts";
import { errorLogFiles, type Generation } from "./generation.ts";
import { closeLogs, type LogFiles } from "./log_descriptors.ts";
import { openLog } from "./open_log.ts";

/**
 * What a generation needs on disk before it can serve: directories are made and log files opened, to be that user's who
 * the process becomes. Answers the descriptors of the logs. Throws the sentence of the first failure.
 */
export function prepareFiles(generation: Generation, identity: Identity | undefined): LogFiles {
  for (const directory of generation.application.directories) makeDirectory(directory, identity);
  const files = new Map<string, number>();
  try {
    for (const path of [...errorLogFiles(generation), ...generation.application.logFiles]) {
      if (!files.has(path)) files.set(path, openLogFor(path, identity));
    }
    return files;
  } catch (error) {
    closeLogs(files);
    throw error;
  }
}

/** nginx makes the last part of the path only, for its own user alone. */
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
      closeLogs(new Map([[path, fd]]));
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
function chownFailed(path: string, identity: Identity, error: unknown): void {
  const code = errnoCode(error) ?? "EIO";
  if (code === "EPERM" && process.geteuid?.() !== 0) return;
  throw new Error(`chown("${path}", ${identity.uid}) failed ${errnoText(code)}`);
}
