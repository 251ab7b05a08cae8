import { sentence } from "../../config/errors.ts";
import type { Identity } from "../../sys/users.ts";
import { adoptLogFiles } from "../log/log_files.ts";
import { closeLogs, type OpenLogs } from "../log/open_log.ts";
import type { SharedLogs } from "../messages.ts";
import { openLogFor } from "./files.ts";

/**
 * The log files in force. The master opens them, as nginx's does, since its children may not be allowed to. A descriptor
 * that was replaced is closed once no child uses it any more.
 */
export class LogDescriptors {
  #shared: SharedLogs = { version: 0, files: new Map() };
  /** Replaced descriptors, each with the first version that is without it. */
  #replaced: { readonly fd: number; readonly version: number }[] = [];

  get shared(): SharedLogs {
    return this.#shared;
  }

  /** Puts these in force: in the master at once, in each child when it is told. */
  take(files: OpenLogs): void {
    const version = this.#shared.version + 1;
    for (const [path, fd] of this.#shared.files) {
      if (files.get(path) !== fd) this.#replaced.push({ fd, version });
    }
    this.#shared = { version, files };
    adoptLogFiles(files);
  }

  /** USR1. A file that cannot be opened again keeps its descriptor; returns the messages. */
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

  /** Every child has this version or a later one: closes what that version has replaced. */
  release(version: number): void {
    const before = this.#replaced;
    this.#replaced = before.filter((one) => one.version > version);
    closeLogs(before.filter((one) => one.version <= version).map(({ fd }) => fd));
  }
}
