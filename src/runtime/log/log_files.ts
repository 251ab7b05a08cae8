import { constants, gzipSync } from "node:zlib";
import { startTimer, type Timer } from "../../sys/timers.ts";
import { AppendFile } from "./append_file.ts";
import type { LogFile } from "./log.ts";
import type { OpenLogs } from "./open_log.ts";

/** How long the end of a thread waits for pipes that are full, in ms: shorter than the master's patience with it. */
const END_MS = 900;

/** The files this thread has open, by absolute path. */
const files = new Map<string, AppendFile>();
/** Descriptors that the master has opened. */
let shared: OpenLogs = new Map();
let exitHooked = false;

/**
 * The log file of that path (absolute, a byte string), shared by all who ask within this thread; opened for appending,
 * made where missing. Throws the sentence nginx has for a failed open: `open() "…" failed (13: Permission denied)`.
 */
export function openLogFile(path: string): LogFile {
  const known = files.get(path);
  if (known !== undefined) return known;
  const file = new AppendFile(path, (name) => shared.get(name));
  file.open();
  files.set(path, file);
  if (!exitHooked) {
    exitHooked = true;
    process.on("exit", flushLogFiles);
  }
  return file;
}

/** How a log is gathered before it is written: `access_log … buffer= flush= gzip=`. */
export interface LogBuffer {
  /** Bytes. */
  readonly size: number;
  /** Written at the latest so many ms after its first line; 0: when it is full. */
  readonly flush: number;
  /** Compression level 1 to 9; 0 for none. Each buffer makes a gzip member of its own. */
  readonly gzip: number;
}

/** The buffers of this thread, by path. */
const buffers = new Map<string, BufferedFile>();

/** The same file behind a buffer. Flushed with all others; a later call may change the buffer. */
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

/** Before the end: writes out what every file of this thread has gathered, and waits for slow readers as long as may be. */
export function flushLogFiles(): void {
  const until = performance.now() + END_MS;
  for (const file of buffers.values()) file.flush();
  for (const file of files.values()) file.drain(until);
  stderr.drain(until);
}

/** From now on these descriptors of the master's are in use; what was gathered goes to those before. */
export function adoptLogFiles(lent: OpenLogs): void {
  for (const file of buffers.values()) file.flush();
  shared = lent;
  for (const [path, file] of files) if (file.isOpen && lent.has(path)) file.open();
}

/** Whether this thread writes to no other file than those it was given last. */
export function usesOnlyAdopted(): boolean {
  for (const [path, file] of files) if (file.isOpen && !shared.has(path)) return false;
  return true;
}

/** After a reload: closes the files nobody has named. One that is written to all the same opens again by itself. */
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
  return gzipSync(Buffer.from(text, "latin1"), { level, memLevel: constants.Z_MAX_MEMLEVEL - 1 }).toString("latin1");
}

const stderr = new AppendFile("stderr", () => 2);

/** The standard error output as a log file; written at once, and never reopened. */
export const standardError: LogFile = {
  path: "stderr",
  append(line) {
    stderr.append(line);
    stderr.flush();
  },
  flush() {},
};
