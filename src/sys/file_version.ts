import { statSync } from "node:fs";
import { osPath } from "./paths.ts";

/** By what a file would be known to be another one, or to have been written to, since it was read. */
export interface FileVersion {
  readonly ino: number;
  /** ms since 1970 */
  readonly mtime: number;
}

/** Undefined where there is no such file. */
export function fileVersion(path: string): FileVersion | undefined {
  try {
    const { ino, mtimeMs } = statSync(osPath(path));
    return { ino, mtime: mtimeMs };
  } catch {
    return undefined;
  }
}

/** As nginx, which compares inodes and seconds; but two writes within one second are two versions. */
export function isSameVersion(before: FileVersion | undefined, now: FileVersion | undefined): boolean {
  if (before?.ino !== now?.ino) return false;
  if (before === undefined || now === undefined || before.mtime === now.mtime) return true;
  // A program that copies files with their times may do so in whole seconds.
  return now.mtime % 1000 === 0 && now.mtime === Math.floor(before.mtime / 1000) * 1000;
}
