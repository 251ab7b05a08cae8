import {
  chmodSync,
  chownSync,
  closeSync,
  fchownSync,
  fstatSync,
  lstatSync,
  mkdirSync,
  type Stats,
  statSync,
} from "node:fs";
import { errnoCode, errnoText } from "../config/errno.ts";
import { osPath } from "../config/paths.ts";
import { errorLogFiles, type Generation } from "./generation.ts";
import { openLog } from "./open_log.ts";
import type { Identity } from "./users.ts";

/**
 * What a generation needs on disk before it can serve: directories are made and log files opened once, to be that
 * user's who the process becomes. Throws the sentence of the first failure.
 */
export function prepareFiles(generation: Generation, identity: Identity | undefined): void {
  for (const directory of generation.application.directories) makeDirectory(directory, identity);
  prepareLogs(generation, identity);
}

/** The log files alone: after a rotation they are made anew for that user, who may not be allowed to. Throws as above. */
export function prepareLogs(generation: Generation, identity: Identity | undefined): void {
  const files = new Set([...errorLogFiles(generation), ...generation.application.logFiles]);
  for (const file of files) makeLogFile(file, identity);
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

function makeLogFile(path: string, identity: Identity | undefined): void {
  const fd = openLog(path);
  try {
    const status = fstatSync(fd);
    if (identity === undefined || !status.isFile() || status.uid === identity.uid) return;
    if (isLogOf(osPath(path), status)) fchownSync(fd, identity.uid, -1);
  } catch (error) {
    if (identity !== undefined) chownFailed(path, identity, error);
  } finally {
    if (fd > 2) closeSync(fd);
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
