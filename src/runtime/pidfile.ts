import {
  chownSync,
  closeSync,
  openSync,
  readFileSync,
  renameSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
} from "node:fs";
import { errnoCode, errnoText } from "../sys/errno.ts";
import { osPath } from "../sys/paths.ts";
import { startedAsRoot } from "../sys/users.ts";

/** Writes the process id and a line feed, as a whole where the directory allows it. Throws the sentence of a failure. */
export function writePidFile(path: string): void {
  const text = `${process.pid}\n`;
  const temporary = `${path}.${process.pid}`;
  try {
    writeFileSync(osPath(temporary), text, { mode: 0o644 });
    keepForRoot(temporary);
    renameSync(osPath(temporary), osPath(path));
    return;
  } catch {
    // A directory where no file can be made may have a pid file all the same, made for this user.
  }
  try {
    writeFileSync(osPath(path), text, { mode: 0o644 });
    keepForRoot(path);
  } catch (error) {
    throw new Error(openFailed(path, error));
  }
}

/** What root will signal by this file is not for the user to choose that the process has become. */
function keepForRoot(path: string): void {
  if (!startedAsRoot) return;
  try {
    chownSync(osPath(path), 0, 0);
  } catch {
    // Without any of root's rights left it stays that user's.
  }
}

/** Removes it, unless another process has put its own there meanwhile; one in a directory that the process may not change any more is emptied. Answers the sentence of a failure. */
export function removePidFile(path: string): string | undefined {
  try {
    if (readPidFile(path) !== process.pid) return undefined;
  } catch {
    // No number in it: it goes.
  }
  try {
    unlinkSync(osPath(path));
  } catch (error) {
    if (errnoCode(error) === "ENOENT") return undefined;
    try {
      truncateSync(osPath(path));
    } catch {
      return `unlink() "${path}" failed ${errnoText(errnoCode(error) ?? "EIO")}`;
    }
  }
  return undefined;
}

/** Whether a pid file could be written there, as -t asks: makes it where missing. Throws the sentence of a failure. */
export function touchPidFile(path: string): void {
  try {
    closeSync(openSync(osPath(path), "a", 0o644));
  } catch (error) {
    throw new Error(openFailed(path, error));
  }
}

/** The process id in a pid file. Throws nginx's sentence. */
export function readPidFile(path: string): number {
  let text: string;
  try {
    text = readFileSync(osPath(path), "latin1").replace(/[\r\n]+$/, "");
  } catch (error) {
    throw new Error(openFailed(path, error));
  }
  // Zero would mean the own process group.
  if (!/^[1-9][0-9]{0,9}$/.test(text)) throw new Error(`invalid PID number "${text.slice(0, 20)}" in "${path}"`);
  return Number(text);
}

function openFailed(path: string, error: unknown): string {
  return `open() "${path}" failed ${errnoText(errnoCode(error) ?? "EIO")}`;
}
