import fs from "node:fs";
import { osPath } from "../../../sys/paths.ts";
import type { LogLine } from "../../core/log_context.ts";
import { copyFile, directoryAccess, FileCallError, fileCall, rmdir, unlink } from "../../files/file_operations.ts";
import { davError } from "./operation.ts";

/**
 * Directories with all that is in them (ngx_walk_tree). A symbolic link is one of the things in a directory and is not
 * followed: nginx removes what it leads to, wherever that is, and copies without end where it leads to a directory above.
 */

/** Each tree that is walked has a descriptor open and a thread busy, so no more than this are walked at once. */
const AT_ONCE = 4;

let walking = 0;
const waiting: (() => void)[] = [];

/** Walks a tree when it is its turn. */
export async function inTurn<T>(walk: () => Promise<T>): Promise<T> {
  if (walking === AT_ONCE) await new Promise<void>((resolve) => waiting.push(resolve));
  else walking++;
  try {
    return await walk();
  } finally {
    const next = waiting.shift();
    if (next === undefined) walking--;
    else next();
  }
}

/**
 * Removes all that is in a directory. What cannot be removed is logged, and stays. False if the directory could not be read
 * to its end, which was logged.
 */
export async function emptyDirectory(path: string, log: LogLine): Promise<boolean> {
  const outcome = await forEachEntry(path, log, async (entry, name) => {
    if (entry.isDirectory()) {
      await emptyDirectory(name, log);
      await rmdir(name);
    } else {
      await unlink(name);
    }
  });
  return outcome !== "unread";
}

/**
 * Copies all that is in a directory into another one, with permissions and times; but no sockets, devices and the like. What
 * cannot be copied is logged: false. The new directory may itself be below the old one, and is then left out.
 */
export async function copyContents(from: string, to: string, log: LogLine): Promise<boolean> {
  const { dev, ino } = await fileCall("stat()", to, fs.promises.stat(osPath(to), { bigint: true }));
  return copyTree(from, to, log, (stats) => stats.dev === dev && stats.ino === ino);
}

async function copyTree(
  from: string,
  to: string,
  log: LogLine,
  isRoot: (stats: fs.BigIntStats) => boolean,
): Promise<boolean> {
  let whole = true;
  const outcome = await forEachEntry(from, log, async (entry, name) => {
    const target = `${to}/${entry.name}`;
    if (entry.isFile()) {
      await copyFile(name, target, log);
    } else if (entry.isSymbolicLink()) {
      const text = await fileCall("readlink()", name, fs.promises.readlink(osPath(name), "latin1"));
      await fileCall("symlink()", target, fs.promises.symlink(osPath(text), osPath(target)));
    } else if (entry.isDirectory()) {
      const stats = await fileCall("stat()", name, fs.promises.stat(osPath(name), { bigint: true }));
      if (isRoot(stats)) return;
      const access = directoryAccess(Number(stats.mode & 0o777n));
      await fileCall("mkdir()", target, fs.promises.mkdir(osPath(target), access));
      if (!(await copyTree(name, target, log, isRoot))) whole = false;
      const seconds = Number(stats.mtimeMs / 1000n);
      await fileCall("utimes()", target, fs.promises.utimes(osPath(target), seconds, seconds));
    }
  });
  return whole && outcome === "whole";
}

/**
 * Calls `visit` for each entry of a directory, with its path; what that throws is logged. Directories come last, when this one
 * is closed again: with a descriptor open for each level, a deep tree would take all that a worker has. "unread": the
 * directory could not be read to its end.
 */
async function forEachEntry(
  path: string,
  log: LogLine,
  visit: (entry: fs.Dirent, path: string) => Promise<void>,
): Promise<"whole" | "in part" | "unread"> {
  let outcome: "whole" | "in part" = "whole";
  const below = path.endsWith("/") ? path : `${path}/`;
  const directories: fs.Dirent[] = [];
  const take = async (entry: fs.Dirent): Promise<void> => {
    try {
      await visit(entry, below + entry.name);
    } catch (error) {
      davError(log, error, 404);
      outcome = "in part";
    }
  };
  try {
    const opening = fs.promises.opendir(osPath(path), { encoding: "latin1" });
    const directory = await fileCall("opendir()", path, opening);
    try {
      for (;;) {
        const entry = await fileCall("readdir()", path, directory.read());
        if (entry === null) break;
        if (entry.isDirectory()) directories.push(entry);
        else await take(entry);
      }
    } finally {
      await directory.close();
    }
  } catch (error) {
    if (!(error instanceof FileCallError)) throw error;
    log("crit", error.message);
    return "unread";
  }
  for (const entry of directories) await take(entry);
  return outcome;
}
