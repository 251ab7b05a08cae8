import { closeSync } from "node:fs";
import type { Identity } from "../sys/users.ts";
import { adoptLogFiles } from "./logfile.ts";
import { openLogFor } from "./prepare.ts";
import { sentence } from "./sentence.ts";

/** Descriptors of log files by absolute path. They stay the supervisor's, which alone closes them. */
export type LogFiles = ReadonlyMap<string, number>;

/** Those in force; each time one of them is replaced or goes, the version counts up. */
export interface SharedLogs {
  readonly version: number;
  readonly files: LogFiles;
}

/**
 * The log files of all threads. The supervisor opens them, as nginx's master does: the others may not be allowed to. It
 * closes what was replaced when every thread has let go of it.
 */
export class LogDescriptors {
  #shared: SharedLogs = { version: 0, files: new Map() };
  /** Those replaced, each with the version that has it no more. */
  #replaced: { readonly fd: number; readonly version: number }[] = [];

  get shared(): SharedLogs {
    return this.#shared;
  }

  /** From now on these are in force: in this thread at once, in the others when they are told. */
  take(files: LogFiles): void {
    const version = this.#shared.version + 1;
    for (const [path, fd] of this.#shared.files) {
      if (files.get(path) !== fd) this.#replaced.push({ fd, version });
    }
    this.#shared = { version, files };
    adoptLogFiles(files);
  }

  /** USR1. Answers the sentences of what could not be opened anew, which stays as it was. */
  reopen(identity: Identity | undefined): string[] {
    const errors: string[] = [];
    const files = new Map(this.#shared.files);
    for (const path of files.keys()) {
      try {
        files.set(path, openLogFor(path, identity));
      } catch (error) {
        errors.push(sentence(error));
      }
    }
    this.take(files);
    return errors;
  }

  /** No thread uses what that version has no more. */
  release(version: number): void {
    const before = this.#replaced;
    this.#replaced = before.filter((one) => one.version > version);
    for (const one of before) if (one.version <= version) close(one.fd);
  }
}

/** Of a generation that is refused. */
export function closeLogs(files: LogFiles): void {
  for (const fd of files.values()) close(fd);
}

function close(fd: number): void {
  // Standard output is nobody's to close.
  if (fd > 2) closeSync(fd);
}
