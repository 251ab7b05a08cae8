import fs from "node:fs";
import { osPath } from "../config/paths.ts";

/** `open_log_file_cache`: how log files whose names depend on requests are kept open. Times in ms. */
export interface LogFileCache {
  readonly max: number;
  /** Closed when not used for so long. */
  readonly inactive: number;
  /** After so long it is looked at whether the name still leads to the same file. */
  readonly valid: number;
  /** Kept open from so many uses on. */
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

/** The files of this thread, the one used longest ago first. They outlive a reload. */
const files = new Map<string, Kept>();

/** Appends a line (a byte string). Throws what node:fs throws. */
export function appendVarying(path: string, line: string, cache: LogFileCache | undefined): void {
  if (cache === undefined) {
    const fd = open(path);
    try {
      fs.writeSync(fd, line, null, "latin1");
    } finally {
      fs.closeSync(fd);
    }
    return;
  }
  const now = Date.now();
  const kept = files.get(path) ?? { fd: -1, ino: 0, uses: 0, checkedAt: now, usedAt: now };
  files.delete(path);
  expire(cache, now);
  if (kept.fd >= 0 && now - kept.checkedAt >= cache.valid) check(path, kept, now);
  if (kept.fd < 0) {
    kept.fd = open(path);
    kept.ino = fs.fstatSync(kept.fd).ino;
    kept.checkedAt = now;
  }
  kept.uses++;
  kept.usedAt = now;
  files.set(path, kept);
  try {
    fs.writeSync(kept.fd, line, null, "latin1");
  } finally {
    if (kept.uses < cache.minUses) close(kept);
  }
}

function open(path: string): number {
  return fs.openSync(osPath(path), "a", 0o644);
}

function close(kept: Kept): void {
  if (kept.fd >= 0) fs.closeSync(kept.fd);
  kept.fd = -1;
}

/** Makes room for one more, and lets go of what nobody uses. */
function expire({ max, inactive }: LogFileCache, now: number): void {
  for (const [path, kept] of files) {
    if (files.size < max && now - kept.usedAt < inactive) return;
    close(kept);
    files.delete(path);
  }
}

function check(path: string, kept: Kept, now: number): void {
  const stats = fs.statSync(osPath(path), { throwIfNoEntry: false });
  if (stats?.ino === kept.ino) kept.checkedAt = now;
  else close(kept);
}
