import { constants } from "node:os";
import { util } from "./builtin.ts";

/** strerror() of the C library, which nginx logs; Node's texts differ. */
const SENTENCES: Readonly<Record<string, string>> = {
  E2BIG: "Argument list too long",
  EACCES: "Permission denied",
  EADDRINUSE: "Address already in use",
  EADDRNOTAVAIL: "Cannot assign requested address",
  EAFNOSUPPORT: "Address family not supported by protocol",
  EAGAIN: "Resource temporarily unavailable",
  EBADF: "Bad file descriptor",
  EBUSY: "Device or resource busy",
  ECONNABORTED: "Software caused connection abort",
  ECONNREFUSED: "Connection refused",
  ECONNRESET: "Connection reset by peer",
  EDQUOT: "Disk quota exceeded",
  EEXIST: "File exists",
  EFBIG: "File too large",
  EHOSTUNREACH: "No route to host",
  EINTR: "Interrupted system call",
  EINVAL: "Invalid argument",
  EIO: "Input/output error",
  EISDIR: "Is a directory",
  ELOOP: "Too many levels of symbolic links",
  EMFILE: "Too many open files",
  EMLINK: "Too many links",
  EMSGSIZE: "Message too long",
  ENAMETOOLONG: "File name too long",
  ENETDOWN: "Network is down",
  ENETUNREACH: "Network is unreachable",
  ENFILE: "Too many open files in system",
  ENOBUFS: "No buffer space available",
  ENODEV: "No such device",
  ENOENT: "No such file or directory",
  ENOMEM: "Cannot allocate memory",
  ENOSPC: "No space left on device",
  ENOTCONN: "Transport endpoint is not connected",
  ENOTDIR: "Not a directory",
  ENOTEMPTY: "Directory not empty",
  ENOTSUP: "Operation not supported",
  ENXIO: "No such device or address",
  EPERM: "Operation not permitted",
  EPIPE: "Broken pipe",
  EPROTO: "Protocol error",
  EPROTONOSUPPORT: "Protocol not supported",
  EROFS: "Read-only file system",
  ESRCH: "No such process",
  ETIMEDOUT: "Connection timed out",
  EXDEV: "Invalid cross-device link",
};

const NUMBERS: Readonly<Record<string, number>> = constants.errno;

/** Of two names for one number, nginx's C library prints the other's text. */
const ALIASES = new Set(["EWOULDBLOCK", "EOPNOTSUPP"]);
const NAMES = new Map(
  Object.entries(NUMBERS)
    .filter(([name]) => !ALIASES.has(name))
    .map(([name, number]) => [number, name]),
);

/** The name of a negated errno, as the kernel's and libuv's results are: ECONNRESET … */
export function errnoName(result: number): string {
  // The few that `os` lacks (EHOSTDOWN).
  return NAMES.get(-result) ?? util().getSystemErrorMap().get(result)?.[0] ?? `errno ${-result}`;
}

/** `111: Connection refused`: what nginx logs of a failed system call. An unknown code is returned as it is. */
export function errorText(code: string): string {
  const number = NUMBERS[code];
  return number === undefined ? code : `${number}: ${SENTENCES[code] ?? code}`;
}

/** The same in parentheses: `(2: No such file or directory)`. */
export function errnoText(code: string): string {
  return `(${errorText(code)})`;
}

/** The code of an exception thrown by Node: ENOENT, EACCES …; undefined if it is no system error. */
export function errnoCode(error: unknown): string | undefined {
  if (typeof error !== "object" || error === null || !("code" in error)) return undefined;
  return typeof error.code === "string" ? error.code : undefined;
}

/** The same, but the message if it is no system error; for `errorText`. */
export function errorCode(error: unknown): string {
  return errnoCode(error) ?? (error instanceof Error ? error.message : String(error));
}
