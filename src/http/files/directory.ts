import fs from "node:fs";
import { errorCode, errorText } from "../../sys/errno.ts";
import { contain, type FaultOwner } from "../../sys/guard.ts";
import { osPath } from "../../sys/paths.ts";
import { logError } from "../core/log_context.ts";
import type { Request } from "../core/request.ts";

/** How many entries the system is asked about at the same time. */
const ABREAST = 16;
/** How many names are read at once. */
const NAMES = 256;

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
    const notFound = code === "ENOENT" || code === "ENOTDIR" || code === "ENAMETOOLONG";
    const status = notFound ? 404 : code === "EACCES" ? 403 : 500;
    logError(request, status === 500 ? "crit" : "error", `opendir() "${path}" failed (${errorText(code)})`);
    return status;
  }
}

export function closeDirectory(request: Request, directory: fs.Dir, path: string): void {
  directory.close((error) => {
    if (error) logError(request, "alert", `closedir() "${path}" failed (${errorText(errorCode(error))})`);
  });
}

/** Reads a directory beside the event loop: it may have any number of entries, and its disk may be slow. */
export class DirectoryReading {
  readonly path: string;
  readonly #request: Request;
  readonly #directory: fs.Dir;
  readonly #visitor: DirectoryVisitor;
  #steps = ABREAST;
  #open = true;

  /** Begins; the directory is closed at the end. */
  constructor(request: Request, directory: fs.Dir, path: string, visitor: DirectoryVisitor) {
    this.path = path;
    this.#request = request;
    this.#directory = directory;
    this.#visitor = visitor;
    for (let i = 0; i < ABREAST; i++) new Step(this, visitor).next();
  }

  get open(): boolean {
    return this.#open;
  }

  /** Nothing more is wanted: the visitor is not called any more. */
  stop(): void {
    if (!this.#open) return;
    this.#open = false;
    closeDirectory(this.#request, this.#directory, this.path);
  }

  read(then: (error: NodeJS.ErrnoException | null, entry: fs.Dirent | null) => void): void {
    this.#directory.read(then);
  }

  /** One of the steps has found the end. */
  ended(): void {
    if (--this.#steps > 0) return;
    this.stop();
    this.#visitor.onEnd(true);
  }

  failed(call: string, name: string, error: unknown): void {
    this.log(call, name, error);
    this.stop();
    this.#visitor.onEnd(false);
  }

  log(call: string, name: string, error: unknown): void {
    logError(this.#request, "crit", `${call} "${this.path}${name}" failed (${errorText(errorCode(error))})`);
  }
}

/** Takes one entry after the other; several do so side by side. */
class Step {
  readonly #reading: DirectoryReading;
  readonly #visitor: DirectoryVisitor;
  #name = "";

  constructor(reading: DirectoryReading, visitor: DirectoryVisitor) {
    this.#reading = reading;
    this.#visitor = visitor;
  }

  next(): void {
    this.#reading.read(this.#onRead);
  }

  readonly #onRead = (error: NodeJS.ErrnoException | null, entry: fs.Dirent | null): void => {
    if (!this.#reading.open) return;
    try {
      if (error) this.#reading.failed("readdir()", "", error);
      else if (entry === null) this.#reading.ended();
      else this.#take(entry);
    } catch (fault) {
      this.#fault(fault);
    }
  };

  #take(entry: fs.Dirent): void {
    this.#name = entry.name;
    if (entry.name.startsWith(".") || !this.#visitor.onName(entry.name, entry)) this.#goOn();
    else fs.stat(osPath(`${this.#reading.path}/${entry.name}`), this.#onStat);
  }

  readonly #onStat = (error: NodeJS.ErrnoException | null, stats: fs.Stats): void => {
    if (!this.#reading.open) return;
    try {
      if (error) this.#statFailed(error);
      else this.#found(stats);
    } catch (fault) {
      this.#fault(fault);
    }
  };

  #statFailed(error: NodeJS.ErrnoException): void {
    const code = errorCode(error);
    const name = `/${this.#name}`;
    if (this.#visitor.dangling.has(code)) {
      fs.lstat(osPath(this.#reading.path + name), this.#onLinkStat);
    } else if (this.#visitor.skipped.has(code)) {
      this.#reading.log("stat()", name, error);
      this.#goOn();
    } else {
      this.#reading.failed("stat()", name, error);
    }
  }

  readonly #onLinkStat = (error: NodeJS.ErrnoException | null, stats: fs.Stats): void => {
    if (!this.#reading.open) return;
    try {
      if (error) this.#reading.failed("lstat()", `/${this.#name}`, error);
      else this.#found(stats);
    } catch (fault) {
      this.#fault(fault);
    }
  };

  #found(stats: fs.Stats): void {
    this.#visitor.onStats(this.#name, stats);
    this.#goOn();
  }

  #goOn(): void {
    if (this.#reading.open) this.next();
  }

  #fault(error: unknown): void {
    this.#reading.stop();
    contain(this.#visitor, error);
  }
}
