import { adoptLogFiles } from "./log_files.ts";
import { closeLogs, type OpenLogs } from "./open_log.ts";

/**
 * The log descriptors in force in this process. One that has a successor is closed at once. Those of an earlier configuration
 * stay as long as that may log: its requests may have their first line for a log only after a reload.
 */
export class LentLogs {
  #files: OpenLogs = new Map();
  readonly #earlier = new Map<string, number>();

  get files(): OpenLogs {
    return this.#files;
  }

  /** Puts these in force. They belong to this object from now on. */
  take(files: OpenLogs): void {
    const before = [...this.#earlier, ...this.#files];
    const kept = new Set(files.values());
    const replaced: number[] = [];
    this.#earlier.clear();
    for (const [path, fd] of before) {
      if (kept.has(fd)) continue;
      if (files.has(path)) replaced.push(fd);
      else this.#earlier.set(path, fd);
    }
    this.#files = files;
    adoptLogFiles(files, this.#earlier);
    closeLogs(replaced);
  }

  /** No earlier configuration logs any more, and its log files are closed. */
  release(): void {
    closeLogs(this.#earlier.values());
    this.#earlier.clear();
  }
}
