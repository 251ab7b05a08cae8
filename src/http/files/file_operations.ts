import fs from "node:fs";
import { errorCode, errorText } from "../../sys/errno.ts";
import { osPath } from "../../sys/paths.ts";
import type { LogLine } from "../core/log_context.ts";
import { nextTempName } from "../core/temp_file.ts";

/**
 * Operations on files that may take long (ngx_file.c): each call waits beside the event loop. Paths are byte strings, times
 * whole seconds.
 */

const { O_RDONLY, O_NONBLOCK } = fs.constants;

/** A system call that has failed; the message is nginx's sentence. */
export class FileCallError extends Error {
  /** ENOENT … */
  readonly code: string;

  constructor(code: string, message: string) {
    super(message);
    this.code = code;
  }
}

/** Awaits a system call. Throws FileCallError. */
export async function fileCall<T>(call: string, path: string, result: Promise<T>): Promise<T> {
  try {
    return await result;
  } catch (error) {
    const code = errorCode(error);
    throw new FileCallError(code, `${call} "${path}" failed (${errorText(code)})`);
  }
}

/** Permissions of a directory for files with these: whoever may read may search (ngx_dir_access). */
export function directoryAccess(access: number): number {
  return access | ((access & 0o444) >> 2);
}

export function unlink(path: string): Promise<void> {
  return fileCall("unlink()", path, fs.promises.unlink(osPath(path)));
}

export function rmdir(path: string): Promise<void> {
  return fileCall("rmdir()", path, fs.promises.rmdir(osPath(path)));
}

/** Removes what an operation that has failed leaves; that the file is not there is no error. */
export async function discard(path: string, log: LogLine): Promise<void> {
  try {
    await unlink(path);
  } catch (error) {
    if (!(error instanceof FileCallError)) throw error;
    if (error.code !== "ENOENT") log("crit", error.message);
  }
}

/**
 * Makes something with a name of its own beside `path`, on the same file system, to be renamed: nobody ever sees a part of
 * it under its name. Returns that name.
 */
export async function makeBeside(path: string, make: (name: string) => Promise<void>): Promise<string> {
  const directory = path.slice(0, path.lastIndexOf("/") + 1);
  for (let tries = 1; ; tries++) {
    const name = `${directory}.${nextTempName()}`;
    try {
      await make(name);
      return name;
    } catch (error) {
      if (!(error instanceof FileCallError) || error.code !== "EEXIST" || tries > 100) throw error;
    }
  }
}

export interface RenameOptions {
  /** Permissions that the file gets; 0: those that it has. */
  readonly access: number;
  /** Its modification time; -1: the one it has. */
  readonly time: number;
  /** Creates missing directories, with these permissions; undefined: does not. */
  readonly pathAccess: number | undefined;
}

/**
 * Renames a file, or copies it where the target is on another file system (ngx_ext_rename_file). Throws FileCallError; the
 * file then still has its old name.
 */
export async function extRenameFile(from: string, to: string, options: RenameOptions, log: LogLine): Promise<void> {
  const { access, time, pathAccess } = options;
  if (access !== 0) await fileCall("chmod()", from, fs.promises.chmod(osPath(from), access));
  if (time !== -1) await fileCall("utimes()", from, fs.promises.utimes(osPath(from), time, time));
  try {
    await rename(from, to);
    return;
  } catch (error) {
    if (!(error instanceof FileCallError)) throw error;
    if (error.code === "EXDEV") return copyAndUnlink(from, to, log);
    if (error.code !== "ENOENT" || pathAccess === undefined) throw error;
  }
  await createFullPath(to, directoryAccess(pathAccess));
  try {
    await rename(from, to);
  } catch (error) {
    if (!(error instanceof FileCallError) || error.code !== "EXDEV") throw error;
    await copyAndUnlink(from, to, log);
  }
}

export async function rename(from: string, to: string): Promise<void> {
  try {
    await fs.promises.rename(osPath(from), osPath(to));
  } catch (error) {
    const code = errorCode(error);
    throw new FileCallError(code, `rename() "${from}" to "${to}" failed (${errorText(code)})`);
  }
}

async function copyAndUnlink(from: string, to: string, log: LogLine): Promise<void> {
  await replaceByCopy(from, to, log);
  await unlink(from);
}

/** Copies a file to a name that nothing or an old file has. */
export async function replaceByCopy(from: string, to: string, log: LogLine): Promise<void> {
  const name = await makeBeside(to, (path) => copyFile(from, path, log));
  try {
    await rename(name, to);
  } catch (error) {
    await discard(name, log);
    throw error;
  }
}

/** Creates the directories of a path up to its last slash (ngx_create_full_path). */
async function createFullPath(path: string, access: number): Promise<void> {
  let failure: FileCallError | undefined;
  for (let at = path.indexOf("/", 1); at > 0; at = path.indexOf("/", at + 1)) {
    const directory = path.slice(0, at);
    try {
      await fileCall("mkdir()", directory, fs.promises.mkdir(osPath(directory), access));
      failure = undefined;
    } catch (error) {
      if (!(error instanceof FileCallError)) throw error;
      // One that is there may be in a directory that cannot be written.
      failure = error.code === "EEXIST" ? undefined : error;
      if (failure !== undefined && failure.code !== "EACCES") throw failure;
    }
  }
  if (failure !== undefined) throw failure;
}

/** How much of a file is copied at a time. Longer pieces would keep threads from others that wait for the disk. */
const PIECE = 256 * 1024;

/** Copies a regular file to a new one, with its permissions and time. What has been copied is removed if it fails. */
export async function copyFile(from: string, to: string, log: LogLine): Promise<void> {
  // A FIFO without a writer would keep a thread for ever.
  const source = await fileCall("open()", from, fs.promises.open(osPath(from), O_RDONLY | O_NONBLOCK));
  try {
    const { size, mode, mtimeMs } = await source.stat();
    if ((mode & fs.constants.S_IFMT) !== fs.constants.S_IFREG) {
      throw new FileCallError("EINVAL", `"${from}" is not a regular file`);
    }
    const target = await fileCall("open()", to, fs.promises.open(osPath(to), "wx", mode & 0o777));
    try {
      await copyBytes(source, target, size, from, to);
      const seconds = Math.floor(mtimeMs / 1000);
      await fileCall("utimes()", to, target.utimes(seconds, seconds));
    } catch (error) {
      await discard(to, log);
      throw error;
    } finally {
      await target.close();
    }
  } finally {
    await source.close();
  }
}

async function copyBytes(
  source: fs.promises.FileHandle,
  target: fs.promises.FileHandle,
  size: number,
  from: string,
  to: string,
): Promise<void> {
  const buffer = Buffer.allocUnsafeSlow(Math.min(PIECE, size));
  for (let at = 0; at < size; ) {
    const wanted = Math.min(buffer.length, size - at);
    const { bytesRead } = await fileCall("read()", from, source.read(buffer, 0, wanted, at));
    if (bytesRead === 0) {
      throw new FileCallError("EIO", `read() has read only ${at} of ${size} from ${from}`);
    }
    for (let written = 0; written < bytesRead; ) {
      const piece = target.write(buffer, written, bytesRead - written, at + written);
      written += (await fileCall("write()", to, piece)).bytesWritten;
    }
    at += bytesRead;
  }
}
