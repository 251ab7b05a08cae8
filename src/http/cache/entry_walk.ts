import fs from "node:fs";
import { errorCode } from "../../sys/errno.ts";
import { osPath } from "../../sys/paths.ts";
import { decodeHead, type StoredHead } from "./entry_file.ts";

/** Going over the files of a cache beside the event loop, in the checker. */

/** Entries' names: their digests. Temporary files have others. */
const NAME = /^[0-9a-f]{32}$/;

/** The paths of all files of entries below a directory, `depth` directories deep; a few names of it in memory at a time. */
export async function* entryPaths(directory: string, depth: number): AsyncGenerator<string> {
  let open: fs.Dir;
  try {
    open = await fs.promises.opendir(osPath(directory), { encoding: "latin1", bufferSize: 256 });
  } catch (error) {
    const code = errorCode(error);
    // It was removed meanwhile.
    if (code === "ENOENT" || code === "ENOTDIR") return;
    throw error;
  }
  const below: string[] = [];
  for await (const entry of open) {
    const path = `${directory}/${entry.name}`;
    if (depth > 0 && entry.isDirectory()) below.push(path);
    else if (NAME.test(entry.name)) yield path;
  }
  for (const path of below) yield* entryPaths(path, depth - 1);
}

/** The digest that a path is named by, 16 bytes. */
export function digestOfPath(path: string): string {
  return Buffer.from(path.slice(-32), "hex").latin1Slice();
}

const FIRST_READ = 8192;
/** As far as its length. */
const LEAST = 12;
/** No head is longer: it came through a buffer of the configuration's. */
const MOST_HEAD = 1024 * 1024;

/** The head of an entry's file, and the file's size; undefined where it is gone, or no entry's. */
export async function readEntry(
  path: string,
): Promise<{ readonly head: StoredHead; readonly size: number } | undefined> {
  let file: fs.promises.FileHandle;
  try {
    file = await fs.promises.open(osPath(path), fs.constants.O_RDONLY | fs.constants.O_NONBLOCK);
  } catch {
    return undefined;
  }
  try {
    const { size } = await file.stat();
    let bytes = await readSome(file, FIRST_READ);
    let head = decodeHead(bytes);
    // It may be longer, or have been renewed at this moment.
    if (typeof head === "string" && bytes.length >= LEAST) {
      bytes = await readSome(file, Math.min(Math.max(bytes.readUInt32LE(8), FIRST_READ), MOST_HEAD));
      head = decodeHead(bytes);
    }
    return typeof head === "string" ? undefined : { head, size };
  } catch {
    return undefined;
  } finally {
    await file.close();
  }
}

async function readSome(file: fs.promises.FileHandle, length: number): Promise<Buffer> {
  const bytes = Buffer.allocUnsafe(length);
  return bytes.subarray(0, (await file.read(bytes, 0, length, 0)).bytesRead);
}
