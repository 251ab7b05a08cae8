import { constants } from "node:os";
import type { StreamError } from "./stream.ts";

/** strerror(3) texts of the errors a socket or a file meets, as nginx's logs show them. */
const TEXTS: Readonly<Record<string, string>> = {
  EPERM: "Operation not permitted",
  ENOENT: "No such file or directory",
  EIO: "Input/output error",
  EBADF: "Bad file descriptor",
  EAGAIN: "Resource temporarily unavailable",
  ENOMEM: "Cannot allocate memory",
  EACCES: "Permission denied",
  EEXIST: "File exists",
  ENOTDIR: "Not a directory",
  EISDIR: "Is a directory",
  EINVAL: "Invalid argument",
  ENFILE: "Too many open files in system",
  EMFILE: "Too many open files",
  EFBIG: "File too large",
  ENOSPC: "No space left on device",
  EROFS: "Read-only file system",
  EPIPE: "Broken pipe",
  ENAMETOOLONG: "File name too long",
  ELOOP: "Too many levels of symbolic links",
  EPROTO: "Protocol error",
  EADDRINUSE: "Address already in use",
  EADDRNOTAVAIL: "Cannot assign requested address",
  ENETDOWN: "Network is down",
  ENETUNREACH: "Network is unreachable",
  ECONNABORTED: "Software caused connection abort",
  ECONNRESET: "Connection reset by peer",
  ETIMEDOUT: "Connection timed out",
  ECONNREFUSED: "Connection refused",
  EHOSTUNREACH: "No route to host",
  EDQUOT: "Disk quota exceeded",
};

/** `111: Connection refused`: what nginx prints in parentheses after a failed system call. Unknown codes print as they are. */
export function errorText(code: string): string {
  const number = (constants.errno as Readonly<Record<string, number>>)[code];
  return number === undefined ? code : `${number}: ${TEXTS[code] ?? code}`;
}

/** The errno name of anything thrown or emitted by Node's fs and net. */
export function errorCode(error: unknown): string {
  if (typeof error === "object" && error !== null && "code" in error && typeof error.code === "string")
    return error.code;
  return error instanceof Error ? error.message : String(error);
}

export function streamError(error: unknown): StreamError {
  const code = errorCode(error);
  return { code, message: errorText(code) };
}
