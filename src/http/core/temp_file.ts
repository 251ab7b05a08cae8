import fs from "node:fs";
import type { FileReadHandler } from "../../net/engine.ts";
import { engine } from "../../net/engines.ts";
import type { StreamError } from "../../net/stream.ts";
import { errorCode, errorText } from "../../sys/errno.ts";
import { contain, type FaultOwner } from "../../sys/guard.ts";
import { osPath } from "../../sys/paths.ts";

/** A directory for temporary files, and how many digits each level of subdirectories has. */
export interface TempPath {
  readonly path: string;
  readonly levels: readonly number[];
}

/** How a write ended: the number of bytes, and the error text if it is 0. */
export type Written<T> = (owner: T, count: number, why: string) => void;

/** How a read ended: the bytes, lent for the call, and the error text if there are none. */
export type Read<T> = (owner: T, bytes: Buffer, why: string) => void;

/** An open temporary file. Reads and writes are asynchronous; the descriptor is closed after the last of them. */
export class TempFile {
  readonly path: string;
  /** -1 once it is closed: the number may be another file's then. */
  fd: number;
  private busy = 0;
  private closing = false;
  private given = false;

  constructor(path: string, fd: number) {
    this.path = path;
    this.fd = fd;
  }

  /** Writes bytes, perhaps not all of them; they must not change until `then` is called. */
  write<T extends FaultOwner>(bytes: Buffer, position: number, owner: T, then: Written<T>): void {
    this.busy++;
    fs.write(this.fd, bytes, 0, bytes.length, position, (error, count) => {
      try {
        this.done();
        then(owner, error === null ? count : 0, error === null ? "nothing written" : errorText(errorCode(error)));
      } catch (fault) {
        contain(owner, fault);
      }
    });
  }

  /** Reads bytes, at most FILE_PIECE, that readCached does not have. */
  read<T extends FaultOwner>(position: number, length: number, owner: T, then: Read<T>): void {
    this.busy++;
    engine().readFile(this.fd, position, length, new TempFileRead(this, owner, then));
  }

  /** A read or write is over. */
  done(): void {
    this.busy--;
    if (this.closing) this.close();
  }

  close(): void {
    const { fd } = this;
    this.closing = true;
    if (this.busy > 0 || fd < 0) return;
    this.fd = -1;
    fs.closeSync(fd);
  }

  /** The name is somebody else's from now on, who renames or removes it. */
  giveAway(): string {
    this.given = true;
    return this.path;
  }

  /** Unlinks it, unless it was given away; an open file can still be read. */
  remove(): void {
    if (!this.given) fs.rmSync(osPath(this.path), { force: true });
  }
}

class TempFileRead<T extends FaultOwner> implements FileReadHandler {
  private readonly file: TempFile;
  private readonly owner: T;
  private readonly end: Read<T>;

  constructor(file: TempFile, owner: T, end: Read<T>) {
    this.file = file;
    this.owner = owner;
    this.end = end;
  }

  onFileRead(bytes: Buffer, error: StreamError | undefined): void {
    this.file.done();
    this.end(this.owner, bytes, error?.message ?? "truncated file");
  }

  onFault(error: unknown): void {
    this.owner.onFault(error);
  }
}

/** No temporary file could be made; the message is nginx's sentence. */
export class TempFileError extends Error {}

let counter = Math.floor(Math.random() * 0x7fffffff);

/** Ten digits that name a temporary file (ngx_next_temp_number). */
export function nextTempName(): string {
  counter = (counter + 1) % 10_000_000_000;
  return String(counter).padStart(10, "0");
}

/**
 * Creates a file named as nginx does: ten digits, the last ones also naming the subdirectories. Throws TempFileError.
 */
export function openTemporary(into: TempPath, mode = 0o600): TempFile {
  for (let tries = 0; ; tries++) {
    const name = nextTempName();
    let directory = into.path;
    let end = name.length;
    for (const level of into.levels) {
      directory += `/${name.slice(end - level, end)}`;
      end -= level;
    }
    const path = `${directory}/${name}`;
    try {
      return new TempFile(path, createIn(directory, path, mode));
    } catch (error) {
      const code = errorCode(error);
      if (code !== "EEXIST" || tries > 100) throw new TempFileError(`open() "${path}" failed (${errorText(code)})`);
    }
  }
}

/** Creates missing directories only after the file could not be created. */
function createIn(directory: string, path: string, mode: number): number {
  const name = osPath(path);
  try {
    return fs.openSync(name, "wx+", mode);
  } catch (error) {
    if (errorCode(error) !== "ENOENT") throw error;
    fs.mkdirSync(osPath(directory), { recursive: true, mode: 0o700 });
    return fs.openSync(name, "wx+", mode);
  }
}
