import fs from "node:fs";
import { errorCode, errorText } from "../../sys/errno.ts";
import { contain, type FaultOwner } from "../../sys/guard.ts";
import { osPath } from "../../sys/paths.ts";
import { logError } from "../core/log_context.ts";
import type { Request } from "../core/request.ts";
import { NOT_FOUND } from "./open_file.ts";

/** How many entries the system is asked about at the same time. */
const ABREAST = 16;
/** How many names are read at once. */
const NAMES = 256;
/** So many entries are read and asked about without leaving the event: it takes no longer than opening a few files. */
const AT_ONCE = 32;

/** Receiver of a directory's entries, without those that are hidden. Names are byte strings. */
export interface DirectoryVisitor extends FaultOwner {
  /** Errors of stat() after which the entry itself is asked about, in place of what it links to. */
  readonly dangling: ReadonlySet<string>;
  /** Errors of stat() after which an entry is left out. Any other ends the reading. */
  readonly skipped: ReadonlySet<string>;
  /** An entry. True if `onStats` is to follow. */
  onName(name: string, entry: fs.Dirent): boolean;
  onStats(name: string, stats: fs.Stats): void;
  /** The directory is read; or not all of it could be, which has been logged. */
  onEnd(complete: boolean): void;
}

/** Opens a directory. A status, after an error was logged, if that fails. */
export function openDirectory(request: Request, path: string): fs.Dir | number {
  try {
    return fs.opendirSync(osPath(path), { encoding: "latin1", bufferSize: NAMES });
  } catch (error) {
    const code = errorCode(error);
    const status = NOT_FOUND.has(code) ? 404 : code === "EACCES" ? 403 : 500;
    logError(request, status === 500 ? "crit" : "error", `opendir() "${path}" failed (${errorText(code)})`);
    return status;
  }
}

/** Closes it; it was not read beside the event loop. That waits for no disk, and asking another thread would take longer than the reading did. */
export function closeDirectory(request: Request, directory: fs.Dir, path: string): void {
  try {
    directory.closeSync();
  } catch (error) {
    logNotClosed(request, path, error);
  }
}

function logNotClosed(request: Request, path: string, error: unknown): void {
  logError(request, "alert", `closedir() "${path}" failed (${errorText(errorCode(error))})`);
}

/** Reads a directory beside the event loop: it may have any number of entries, and its disk may be slow. */
export class DirectoryReading {
  readonly path: string;
  readonly #request: Request;
  readonly #directory: fs.Dir;
  readonly #visitor: DirectoryVisitor;
  #atOnce = AT_ONCE;
  /** Entries that the system is being asked about, and whether a name is being read. */
  #asked = 0;
  #reading = false;
  /** Names were read beside the event loop. node:fs takes no other call as long as it is in the callback of such a read. */
  #beside = false;
  #ended = false;
  #open = true;

  constructor(request: Request, directory: fs.Dir, path: string, visitor: DirectoryVisitor) {
    this.path = path;
    this.#request = request;
    this.#directory = directory;
    this.#visitor = visitor;
  }

  /** Begins; the directory is closed at the end, which a small one has reached when this returns. */
  begin(): void {
    for (; this.#open && !this.#ended && this.#atOnce > 0; this.#atOnce--) {
      const entry = this.#readNow();
      if (entry === undefined) return;
      if (entry === null) this.#ended = true;
      else this.#take(entry);
    }
    this.#next();
  }

  /** Null at the end, and undefined after an error. */
  #readNow(): fs.Dirent | null | undefined {
    try {
      return this.#directory.readSync();
    } catch (error) {
      this.#failed("readdir()", this.path, error);
      return undefined;
    }
  }

  /** Nothing more is wanted: the visitor is not called any more. */
  stop(): void {
    if (!this.#open) return;
    this.#open = false;
    if (!this.#beside) {
      closeDirectory(this.#request, this.#directory, this.path);
      return;
    }
    this.#directory.close((error) => {
      if (error) logNotClosed(this.#request, this.path, error);
    });
  }

  #next(): void {
    if (!this.#open || this.#reading) return;
    if (!this.#ended) {
      if (this.#asked === ABREAST) return;
      this.#reading = true;
      this.#beside = true;
      this.#directory.read(this.#onRead);
    } else if (this.#asked === 0) {
      this.stop();
      this.#visitor.onEnd(true);
    }
  }

  readonly #onRead = (error: NodeJS.ErrnoException | null, entry: fs.Dirent | null): void => {
    this.#reading = false;
    if (!this.#open) return;
    try {
      if (error) this.#failed("readdir()", this.path, error);
      else if (entry === null) this.#ended = true;
      else this.#take(entry);
      this.#next();
    } catch (fault) {
      this.#fault(fault);
    }
  };

  #take(entry: fs.Dirent): void {
    const { name } = entry;
    if (name.startsWith(".") || !this.#visitor.onName(name, entry)) return;
    if (this.#atOnce > 0) {
      this.#statNow(name);
      return;
    }
    this.#asked++;
    fs.stat(this.#pathOf(name), (error, stats) => this.#answered(name, error, stats, false));
  }

  #pathOf(name: string): string | Buffer {
    return osPath(`${this.path}/${name}`);
  }

  #statNow(name: string): void {
    let stats: fs.Stats;
    try {
      stats = fs.statSync(this.#pathOf(name));
    } catch (error) {
      this.#statFailed(name, error);
      return;
    }
    this.#visitor.onStats(name, stats);
  }

  #statFailed(name: string, error: unknown): void {
    const code = errorCode(error);
    if (this.#visitor.dangling.has(code)) {
      this.#asked++;
      fs.lstat(this.#pathOf(name), (failure, stats) => this.#answered(name, failure, stats, true));
    } else if (this.#visitor.skipped.has(code)) {
      this.#log("stat()", `${this.path}/${name}`, error);
    } else {
      this.#failed("stat()", `${this.path}/${name}`, error);
    }
  }

  #answered(name: string, error: NodeJS.ErrnoException | null, stats: fs.Stats, link: boolean): void {
    this.#asked--;
    if (!this.#open) return;
    try {
      if (!error) this.#visitor.onStats(name, stats);
      else if (!link) this.#statFailed(name, error);
      // Without an entry, it was removed since its name was read, as happens more easily here than in nginx, which does nothing else.
      else if (errorCode(error) !== "ENOENT") this.#failed("lstat()", `${this.path}/${name}`, error);
      this.#next();
    } catch (fault) {
      this.#fault(fault);
    }
  }

  #failed(call: string, path: string, error: unknown): void {
    this.#log(call, path, error);
    this.stop();
    this.#visitor.onEnd(false);
  }

  #log(call: string, path: string, error: unknown): void {
    logError(this.#request, "crit", `${call} "${path}" failed (${errorText(errorCode(error))})`);
  }

  #fault(error: unknown): void {
    this.stop();
    contain(this.#visitor, error);
  }
}
