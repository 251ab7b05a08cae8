import { closeSync, openSync, writeSync } from "node:fs";
import { errnoCode, errnoText } from "../config/errno.ts";
import { osPath } from "../config/paths.ts";
import type { LogFile } from "./log.ts";

/** A batch is written before the turn of the loop ends when it has grown to this many bytes. */
const BATCH_BYTES = 64 * 1024;

/** The files this thread has open, by absolute path. */
const files = new Map<string, AppendFile>();
/** Opening these anew fails where the process has become another user than the one who made them. */
const INHERITED: Readonly<Record<string, number>> = { "/dev/stdout": 1, "/dev/stderr": 2 };
let exitHooked = false;

/**
 * The log file of that path (absolute, a byte string), shared by all who ask within this thread; opened for appending,
 * made where missing. Throws the sentence nginx has for a failed open: `open() "…" failed (13: Permission denied)`.
 */
export function openLogFile(path: string): LogFile {
  const known = files.get(path);
  if (known !== undefined) return known;
  const file = new AppendFile(path);
  file.open();
  files.set(path, file);
  if (!exitHooked) {
    exitHooked = true;
    process.on("exit", flushLogFiles);
  }
  return file;
}

/** Writes out what every file of this thread has gathered. */
export function flushLogFiles(): void {
  for (const file of files.values()) file.flush();
}

/** USR1: opens every file of this thread anew. Answers the sentences of those that failed, which stay as they were. */
export function reopenLogFiles(): string[] {
  const errors: string[] = [];
  for (const file of files.values()) {
    if (!file.isOpen) continue;
    try {
      file.open();
    } catch (error) {
      errors.push(error instanceof Error ? error.message : String(error));
    }
  }
  return errors;
}

/** After a reload: closes the files nobody has named. One that is written to all the same opens again by itself. */
export function closeLogFilesExcept(paths: ReadonlySet<string>): void {
  for (const [path, file] of files) if (!paths.has(path)) file.close();
}

class AppendFile implements LogFile {
  readonly path: string;
  #fd = -1;
  #batch = "";
  #scheduled = false;
  #fullUntil = 0;
  readonly #flush = (): void => {
    this.#scheduled = false;
    this.flush();
  };

  constructor(path: string) {
    this.path = path;
  }

  get isOpen(): boolean {
    return this.#fd >= 0;
  }

  open(): void {
    this.flush();
    const inherited = INHERITED[this.path];
    if (inherited !== undefined) {
      this.#fd = inherited;
      return;
    }
    let fd: number;
    try {
      fd = openSync(osPath(this.path), "a", 0o644);
    } catch (error) {
      throw new Error(`open() "${this.path}" failed ${errnoText(errnoCode(error) ?? "EIO")}`);
    }
    this.close();
    this.#fd = fd;
  }

  close(): void {
    this.flush();
    if (this.#fd > 2) closeSync(this.#fd);
    this.#fd = -1;
  }

  append(line: string): void {
    this.#batch += line;
    if (this.#batch.length >= BATCH_BYTES) {
      this.flush();
    } else if (!this.#scheduled) {
      this.#scheduled = true;
      setImmediate(this.#flush);
    }
  }

  flush(): void {
    const batch = this.#batch;
    if (batch === "") return;
    this.#batch = "";
    // As nginx does: a full disk is left alone for a second, since writing to one may block for long.
    if (this.#fullUntil !== 0 && Date.now() < this.#fullUntil) return;
    this.#fullUntil = 0;
    try {
      if (this.#fd < 0) this.open();
      writeSync(this.#fd, batch, null, "latin1");
    } catch (error) {
      if (errnoCode(error) === "ENOSPC") this.#fullUntil = Date.now() + 1000;
    }
  }

  reopen(): void {
    try {
      this.open();
    } catch {
      // It stays as it was; reopenLogFiles is what reports.
    }
  }
}

/** The standard error output as a log file; written at once, and never reopened. */
export const standardError: LogFile = {
  path: "stderr",
  append(line) {
    try {
      writeSync(2, line, null, "latin1");
    } catch {
      // Nobody reads it any more, or a pipe is full: a log must not stop the program.
    }
  },
  flush() {},
  reopen() {},
};
