import { zlib } from "../../sys/builtin.ts";
import { startTimer, type Timer } from "../../sys/timers.ts";
import { AppendFile } from "./append_file.ts";
import type { LogFile } from "./log.ts";
import type { OpenLogs } from "./open_log.ts";

/** How long an exiting child blocks for full pipes, in ms: less than the master waits before it kills (master/children.ts). */
const END_MS = 900;

/** The files this process has open, by absolute path. */
const files = new Map<string, AppendFile>();
/** The descriptors that the master has sent last, and those of earlier configurations that may still log. */
let shared: OpenLogs = new Map();
let earlier: OpenLogs = new Map();
let exitHooked = false;

/**
 * The log file of that path (absolute, a byte string): one for the whole process. Opened for appending, and created where
 * missing. Throws `open() "…" failed (13: Permission denied)`.
 */
export function openLogFile(path: string): LogFile {
  const known = files.get(path);
  if (known !== undefined) return known;
  const file = new AppendFile(path, (name) => shared.get(name) ?? earlier.get(name));
  file.open();
  files.set(path, file);
  if (!exitHooked) {
    exitHooked = true;
    process.on("exit", flushLogFiles);
  }
  return file;
}

/** `access_log … buffer= flush= gzip=` */
export interface LogBuffer {
  /** Bytes. */
  readonly size: number;
  /** The longest time a line is buffered, ms; 0: until the buffer is full. */
  readonly flush: number;
  /** Compression level 1 to 9; 0 for none. Each buffer becomes a gzip member of its own. */
  readonly gzip: number;
}

/** The buffers of this process, by path. */
const buffers = new Map<string, BufferedFile>();

/** The same file with a buffer, whose parameters a later call may change. */
export function openBufferedLog(path: string, buffer: LogBuffer): LogFile {
  const known = buffers.get(path);
  if (known !== undefined) {
    known.buffer = buffer;
    return known;
  }
  const made = new BufferedFile(openLogFile(path), buffer);
  buffers.set(path, made);
  return made;
}

/** Before the process exits: writes what is buffered or queued for all files, blocking up to END_MS for full pipes. */
export function flushLogFiles(): void {
  const until = performance.now() + END_MS;
  for (const file of buffers.values()) file.flush();
  for (const file of files.values()) file.drain(until);
  stderr.drain(until);
}

/**
 * Switches to these descriptors of the master's, after writing buffered lines to the old ones. `left`: those of logs that only
 * earlier configurations name.
 */
export function adoptLogFiles(lent: OpenLogs, left: OpenLogs = new Map()): void {
  for (const file of buffers.values()) file.flush();
  shared = lent;
  earlier = left;
  for (const [path, file] of files) if (file.isOpen && lent.has(path)) file.open();
}

/** After a reload: closes the files that are no longer configured. A later line opens one again. */
export function closeLogFilesExcept(paths: ReadonlySet<string>): void {
  for (const [path, file] of buffers) if (!paths.has(path)) file.flush();
  for (const [path, file] of files) if (!paths.has(path)) file.close();
}

class BufferedFile implements LogFile {
  buffer: LogBuffer;
  readonly #file: LogFile;
  #text = "";
  #timer: Timer | undefined;

  constructor(file: LogFile, buffer: LogBuffer) {
    this.#file = file;
    this.buffer = buffer;
  }

  get path(): string {
    return this.#file.path;
  }

  append(line: string): void {
    const { size, flush } = this.buffer;
    if (this.#text.length + line.length > size) this.flush();
    this.#text += line;
    if (this.#text.length > size) this.flush();
    else if (flush > 0) this.#timer ??= startTimer(flush, () => this.flush(), { background: true });
  }

  flush(): void {
    this.#timer?.clear();
    this.#timer = undefined;
    const text = this.#text;
    if (text === "") return;
    this.#text = "";
    const { gzip } = this.buffer;
    this.#file.append(gzip === 0 ? text : compress(text, gzip));
    this.#file.flush();
  }
}

function compress(text: string, level: number): string {
  const { constants, gzipSync } = zlib();
  return gzipSync(Buffer.from(text, "latin1"), { level, memLevel: constants.Z_MAX_MEMLEVEL - 1 }).toString("latin1");
}

const stderr = new AppendFile("stderr", () => 2);

/** The standard error output as a log file. Written at once. */
export const standardError: LogFile = {
  path: "stderr",
  append(line) {
    stderr.append(line);
    stderr.flush();
  },
  flush() {},
};
