/** The interfaces of logs. */

/** nginx's error log levels, most severe first; the index is the severity. */
export const LEVELS = ["stderr", "emerg", "alert", "crit", "error", "warn", "notice", "info", "debug"] as const;
export type Level = (typeof LEVELS)[number];

/** An open error log (one or several `error_log` targets in force in a scope). */
export interface ErrorLog {
  /** Whether messages of this level are written; to be asked before a costly one is built. */
  wants(level: Level): boolean;
  /** Writes `DATE [level] PID#TID: message`, with `*connection ` before the message where given. One line, control bytes escaped. */
  write(level: Level, message: string, connection?: number): void;
}

/** An append-only file, shared by all who log to its path within a process. Lines of one turn of the loop leave in one write. */
export interface LogFile {
  readonly path: string;
  /** Appends a line (with its line feed; a byte string). */
  append(line: string): void;
  flush(): void;
}
