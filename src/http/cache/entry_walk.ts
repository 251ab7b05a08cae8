import fs from "node:fs";
import { errorCode } from "../../sys/errno.ts";
import { osPath } from "../../sys/paths.ts";
import { decodeHead, type StoredHead } from "./entry_file.ts";

/** Entries' names: their digests. Temporary files have others. */
const NAME = /^[0-9a-f]{32}$/;
/** Directories lie no deeper. */
const MOST_LEVELS = 3;

/** The paths of all files of entries below a directory, a few names of it in memory at a time. */
export function* entryPaths(directory: string, levels = MOST_LEVELS): Generator<string> {
  let open: fs.Dir;
  try {
    open = fs.opendirSync(osPath(directory), { encoding: "latin1" });
  } catch (error) {
    const code = errorCode(error);
    // Nothing has been stored there yet, or it was removed meanwhile.
    if (code === "ENOENT" || code === "ENOTDIR") return;
    throw error;
  }
  try {
    for (let entry = open.readSync(); entry !== null; entry = open.readSync()) {
      const path = `${directory}/${entry.name}`;
      if (NAME.test(entry.name)) yield path;
      else if (levels > 0 && entry.isDirectory()) yield* entryPaths(path, levels - 1);
    }
  } finally {
    open.closeSync();
  }
}

/** The digest that a path is named by, 16 bytes. */
export function digestOfPath(path: string): string {
  return Buffer.from(path.slice(-32), "hex").latin1Slice();
}

const FIRST_READ = 8192;
/** No head is longer: it came through a buffer of the configuration's. */
const MOST_HEAD = 1024 * 1024;

/** The head of an entry's file, and the file's size; undefined where it is gone, or no entry's. */
export function readEntry(path: string): { readonly head: StoredHead; readonly size: number } | undefined {
  let fd: number;
  try {
    fd = fs.openSync(osPath(path), fs.constants.O_RDONLY | fs.constants.O_NONBLOCK);
  } catch {
    return undefined;
  }
  try {
    const { size } = fs.fstatSync(fd);
    let bytes = readSome(fd, FIRST_READ);
    let head = decodeHead(bytes);
    if (typeof head === "string" && bytes.length === FIRST_READ) {
      bytes = readSome(fd, Math.min(bytes.readUInt32LE(8), MOST_HEAD));
      head = decodeHead(bytes);
    }
    return typeof head === "string" ? undefined : { head, size };
  } catch {
    return undefined;
  } finally {
    fs.closeSync(fd);
  }
}

function readSome(fd: number, length: number): Buffer {
  const bytes = Buffer.allocUnsafe(length);
  return bytes.subarray(0, fs.readSync(fd, bytes, 0, length, 0));
}
