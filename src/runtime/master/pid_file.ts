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
import { errnoCode, errnoText } from "../../sys/errno.ts";
import { osPath } from "../../sys/paths.ts";
import { startedAsRoot } from "../../sys/users.ts";
import type { Cycle } from "../cycle.ts";
import { coreDirectives } from "../directives.ts";

export function pidPath(cycle: Cycle): string {
  return cycle.path(coreDirectives.in(cycle.root).pid);
}

/** Writes the process id and a line feed; atomically if the directory is writable. Throws nginx's message. */
export function writePidFile(path: string): void {
  const text = `${process.pid}\n`;
  const temporary = `${path}.${process.pid}`;
  try {
    writeFileSync(osPath(temporary), text, { mode: 0o644 });
    keepForRoot(temporary);
    renameSync(osPath(temporary), osPath(path));
    return;
  } catch {
    // A directory that is not writable may still hold a pid file that is.
  }
  try {
    writeFileSync(osPath(path), text, { mode: 0o644 });
    keepForRoot(path);
  } catch (error) {
    throw new Error(openFailed(path, error));
  }
}

/** Root will signal the pid in this file, so the user that the process has become must not be able to change it. */
function keepForRoot(path: string): void {
  if (!startedAsRoot) return;
  try {
    chownSync(osPath(path), 0, 0);
  } catch {
    // Without root's capabilities it stays that user's.
  }
}

/**
 * Removes it, unless it has another process's id by now. In a directory that is not writable (any more) it is truncated.
 * Returns the message of a failure.
 */
export function removePidFile(path: string): string | undefined {
  try {
    if (readPidFile(path) !== process.pid) return undefined;
  } catch {
    // No number in it: removed too.
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

/** For -t: whether a pid file could be written there; creates it where missing. Throws nginx's message. */
export function touchPidFile(path: string): void {
  try {
    closeSync(openSync(osPath(path), "a", 0o644));
  } catch (error) {
    throw new Error(openFailed(path, error));
  }
}

/** Throws nginx's message. */
export function readPidFile(path: string): number {
  let text: string;
  try {
    text = readFileSync(osPath(path), "latin1").replace(/[\r\n]+$/, "");
  } catch (error) {
    throw new Error(openFailed(path, error));
  }
  // kill(0) would signal the process group.
  if (!/^[1-9][0-9]{0,9}$/.test(text)) throw new Error(`invalid PID number "${text.slice(0, 20)}" in "${path}"`);
  return Number(text);
}

function openFailed(path: string, error: unknown): string {
  return `open() "${path}" failed ${errnoText(errnoCode(error) ?? "EIO")}`;
}
