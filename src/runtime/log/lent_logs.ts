import { adoptLogFiles, usesOnlyAdopted } from "./log_files.ts";
import { closeLogs, type OpenLogs } from "./open_log.ts";

/** The log descriptors in force in this process. One that was replaced is closed once no log file here uses it. */
export class LentLogs {
  #files: OpenLogs = new Map();
  #replaced: number[] = [];

  get files(): OpenLogs {
    return this.#files;
  }

  /** Puts these in force. They belong to this object from now on. */
  take(files: OpenLogs): void {
    const kept = new Set(files.values());
    for (const fd of this.#files.values()) if (!kept.has(fd)) this.#replaced.push(fd);
    this.#files = files;
    adoptLogFiles(files);
    this.release();
  }

  /** To be called when log files were closed. */
  release(): void {
    if (this.#replaced.length > 0 && usesOnlyAdopted()) closeLogs(this.#replaced.splice(0));
  }
}
