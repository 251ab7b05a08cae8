import { sentence } from "../config/errors.ts";
import type { Identity } from "../sys/users.ts";
import { adoptLogFiles } from "./log/log_files.ts";
import { closeLog, type OpenLogs, openLogFor } from "./log/open_log.ts";
import type { SharedLogs } from "./messages.ts";

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
  take(files: OpenLogs): void {
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
    for (const one of before) if (one.version <= version) closeLog(one.fd);
  }
}
