import fs from "node:fs";
import { errorCode, errorText } from "../../sys/errno.ts";
import { contain, type FaultOwner } from "../../sys/guard.ts";
import { osPath } from "../../sys/paths.ts";

/** A directory for temporary files and how many digits its levels of subdirectories take. */
export interface TempPath {
  readonly path: string;
  readonly levels: readonly number[];
}

/** How a write or a read ended: so many bytes, and why there are none. */
export type Transferred<T> = (owner: T, count: number, why: string) => void;

/** An open temporary file. It is read and written beside the event loop; its descriptor is closed when the last of that is over. */
export class TempFile {
  readonly path: string;
  readonly fd: number;
  private busy = 0;
  private closing = false;

  constructor(path: string, fd: number) {
    this.path = path;
    this.fd = fd;
  }

  /** Writes bytes, which must stay as they are until `then`; perhaps not all of them. */
  write<T extends FaultOwner>(bytes: Buffer, position: number, owner: T, then: Transferred<T>): void {
    this.busy++;
    fs.write(this.fd, bytes, 0, bytes.length, position, (error, count) => {
      this.transferred(owner, then, error === null ? count : 0, error, "nothing written");
    });
  }

  /** Reads into bytes, which belong to the file until `then`. */
  read<T extends FaultOwner>(into: Buffer, position: number, owner: T, then: Transferred<T>): void {
    this.busy++;
    fs.read(this.fd, into, 0, into.length, position, (error, count) => {
      this.transferred(owner, then, error === null ? count : 0, error, "truncated file");
    });
  }

  private transferred<T extends FaultOwner>(
    owner: T,
    then: Transferred<T>,
    count: number,
    error: Error | null,
    nothing: string,
  ): void {
    this.busy--;
    try {
      if (this.closing) this.close();
      then(owner, count, error === null ? nothing : errorText(errorCode(error)));
    } catch (fault) {
      contain(owner, fault);
    }
  }

  close(): void {
    this.closing = true;
    if (this.busy === 0) fs.closeSync(this.fd);
  }

  /** Takes its name away; what is written can still be read. */
  remove(): void {
    fs.rmSync(osPath(this.path), { force: true });
  }
}

/** No temporary file could be made; the message is nginx's sentence. */
export class TempFileError extends Error {}

let counter = Math.floor(Math.random() * 0x7fffffff);

/** Creates one with nginx's naming: ten digits, the last ones also naming the subdirectories. Throws TempFileError. */
export function openTemporary(into: TempPath): TempFile {
  for (let tries = 0; ; tries++) {
    counter = (counter + 1) % 10_000_000_000;
    const name = String(counter).padStart(10, "0");
    let directory = into.path;
    let end = name.length;
    for (const level of into.levels) {
      directory += `/${name.slice(end - level, end)}`;
      end -= level;
    }
    const path = `${directory}/${name}`;
    try {
      return new TempFile(path, createIn(directory, path));
    } catch (error) {
      const code = errorCode(error);
      if (code !== "EEXIST" || tries > 100) throw new TempFileError(`open() "${path}" failed (${errorText(code)})`);
    }
  }
}

/** Makes the directory only where it turns out to be missing. */
function createIn(directory: string, path: string): number {
  const name = osPath(path);
  try {
    return fs.openSync(name, "wx+", 0o600);
  } catch (error) {
    if (errorCode(error) !== "ENOENT") throw error;
    fs.mkdirSync(osPath(directory), { recursive: true, mode: 0o700 });
    return fs.openSync(name, "wx+", 0o600);
  }
}
