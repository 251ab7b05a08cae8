import fs from "node:fs";
import { openLog } from "../../../runtime/log/open_log.ts";
import { errorCode, errorText } from "../../../sys/errno.ts";
import { osPath } from "../../../sys/paths.ts";
import { writeLine } from "../../../sys/write.ts";

/** `open_log_file_cache`: how log files whose names have variables are kept open. Times in ms. */
export interface LogFileCache {
  readonly max: number;
  /** Closed when unused for this long. */
  readonly inactive: number;
  /** How often it is checked whether the name still refers to the same file. */
  readonly valid: number;
  /** Kept open after this many uses. */
  readonly minUses: number;
}

interface Kept {
  /** -1 while it is not kept open. */
  fd: number;
  ino: number;
  uses: number;
  checkedAt: number;
  usedAt: number;
}

/** Files in use, least recently used first. They outlive a reload. */
const files = new Map<string, Kept>();

/** How long writing a line to a pipe may block while its reader is slow, in ms. */
const WRITE_MS = 1000;

/** Appends a line (a byte string). Returns the error of a failed write; throws that of a failed open. */
export function appendVarying(path: string, line: string, cache: LogFileCache | undefined): string | undefined {
  if (cache === undefined) {
    const fd = openLog(path);
    try {
      return write(fd, path, line);
    } finally {
      close(fd);
    }
  }
  const now = Date.now();
  const kept = files.get(path) ?? { fd: -1, ino: 0, uses: 0, checkedAt: now, usedAt: now };
  files.delete(path);
  expire(cache, now);
  if (kept.fd >= 0 && now - kept.checkedAt >= cache.valid) check(path, kept, now);
  if (kept.fd < 0) open(path, kept, now);
  kept.uses++;
  kept.usedAt = now;
  files.set(path, kept);
  try {
    return write(kept.fd, path, line);
  } finally {
    if (kept.uses < cache.minUses) letGo(kept);
  }
}

function write(fd: number, path: string, line: string): string | undefined {
  try {
    writeLine(fd, line, WRITE_MS);
    return undefined;
  } catch (error) {
    return `write() to "${path}" failed (${errorText(errorCode(error))})`;
  }
}

function open(path: string, kept: Kept, now: number): void {
  kept.fd = openLog(path);
  kept.checkedAt = now;
  try {
    kept.ino = fs.fstatSync(kept.fd).ino;
  } catch {
    // Without an inode the next check opens the file again.
  }
}

function close(fd: number): void {
  // Never stdin, stdout or stderr.
  if (fd > 2) fs.closeSync(fd);
}

function letGo(kept: Kept): void {
  close(kept.fd);
  kept.fd = -1;
}

/** Closes files unused for `inactive`, and more if there is no room for another one. */
function expire({ max, inactive }: LogFileCache, now: number): void {
  for (const [path, kept] of files) {
    if (files.size < max && now - kept.usedAt < inactive) return;
    letGo(kept);
    files.delete(path);
  }
}

function check(path: string, kept: Kept, now: number): void {
  let ino: number | undefined;
  try {
    ino = fs.statSync(osPath(path)).ino;
  } catch {
    // Not the same file. If that is an error, opening it reports it.
  }
  if (ino === kept.ino) kept.checkedAt = now;
  else letGo(kept);
}
