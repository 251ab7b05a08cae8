/**
 * The few calls of the C library that Node has no door to, through its built-in `node:ffi` (Node 26; behind a flag or
 * absent before). Every user of them has a way to go on, or a clear error, where `libc()` is undefined.
 */

export interface Libc {
  /** Linux: PR_SET_KEEPCAPS and the like. 0, or -1 on failure. */
  prctl(option: number, value: bigint): number;
  /** Linux: the calling thread's capabilities. */
  capset(header: Uint8Array, data: Uint8Array): number;
  /** Linux: pins the calling thread (pid 0). */
  setAffinity(mask: Uint8Array): number;
  getrlimit(resource: number, limits: Uint8Array): number;
  setrlimit(resource: number, limits: Uint8Array): number;
  socket(family: number, type: number): number;
  /** For descriptors that were made here: node:fs has a warning for those that it did not open. */
  close(fd: number): number;
  /** Writes two descriptors, 32 bits each, into `ends`. */
  socketpair(family: number, type: number, ends: Uint8Array): number;
  sendto(fd: number, bytes: Uint8Array, flags: number, address: Uint8Array): number;
  bind(fd: number, address: Uint8Array): number;
  listen(fd: number, backlog: number): number;
  setsockopt(fd: number, level: number, name: number, value: Uint8Array): number;
  /** `length`: a socklen_t with the room there is. */
  getsockopt(fd: number, level: number, name: number, value: Uint8Array, length: Uint8Array): number;
  /** Linux: `count` of struct pollfd. How many of them have events, or -1. */
  poll(pollfds: Uint8Array, count: number, timeout: number): number;
  /** errno of the last call that failed. */
  errno(): number;
  dup(fd: number): number;
  dup2(from: number, to: number): number;
  /** Takes the signals of a sigset_t from what the calling thread has blocked. */
  unblockSignals(set: Uint8Array): number;
}

const SIG_UNBLOCK = process.platform === "linux" ? 1 : 2;
/** The function that answers where this thread's errno is. */
const ERRNO = process.platform === "linux" ? "__errno_location" : "__error";

let loaded: Libc | null | undefined;

/** Undefined where this Node or this system has no way to call C. */
export function libc(): Libc | undefined {
  if (loaded === undefined) loaded = load();
  return loaded ?? undefined;
}

function load(): Libc | null {
  try {
    const ffi = process.getBuiltinModule("node:ffi");
    if (ffi === undefined) return null;
    const common = ffi.dlopen(null, {
      getrlimit: { return: "int32", arguments: ["int32", "buffer"] },
      setrlimit: { return: "int32", arguments: ["int32", "buffer"] },
      socket: { return: "int32", arguments: ["int32", "int32", "int32"] },
      close: { return: "int32", arguments: ["int32"] },
      socketpair: { return: "int32", arguments: ["int32", "int32", "int32", "buffer"] },
      sendto: { return: "int64", arguments: ["int32", "buffer", "uint64", "int32", "buffer", "uint32"] },
      bind: { return: "int32", arguments: ["int32", "buffer", "uint32"] },
      listen: { return: "int32", arguments: ["int32", "int32"] },
      setsockopt: { return: "int32", arguments: ["int32", "int32", "int32", "buffer", "uint32"] },
      getsockopt: { return: "int32", arguments: ["int32", "int32", "int32", "buffer", "buffer"] },
      [ERRNO]: { return: "pointer", arguments: [] },
      dup: { return: "int32", arguments: ["int32"] },
      dup2: { return: "int32", arguments: ["int32", "int32"] },
      pthread_sigmask: { return: "int32", arguments: ["int32", "buffer", "pointer"] },
    }).functions;
    const linux =
      process.platform === "linux"
        ? ffi.dlopen(null, {
            // The variadic prctl is only ever called with integer arguments, which travel in registers all the same.
            prctl: { return: "int32", arguments: ["int32", "uint64", "uint64", "uint64", "uint64"] },
            capset: { return: "int32", arguments: ["buffer", "buffer"] },
            sched_setaffinity: { return: "int32", arguments: ["int32", "uint64", "buffer"] },
            poll: { return: "int32", arguments: ["buffer", "uint64", "int32"] },
          }).functions
        : undefined;
    return {
      prctl: (option, value) => linux?.prctl(option, value, 0n, 0n, 0n) ?? -1,
      capset: (header, data) => linux?.capset(header, data) ?? -1,
      setAffinity: (mask) => linux?.sched_setaffinity(0, BigInt(mask.length), mask) ?? -1,
      getrlimit: (resource, limits) => common.getrlimit(resource, limits),
      setrlimit: (resource, limits) => common.setrlimit(resource, limits),
      socket: (family, type) => common.socket(family, type, 0),
      close: (fd) => common.close(fd),
      socketpair: (family, type, ends) => common.socketpair(family, type, 0, ends),
      sendto: (fd, bytes, flags, address) =>
        Number(common.sendto(fd, bytes, BigInt(bytes.length), flags, address, address.length)),
      bind: (fd, address) => common.bind(fd, address, address.length),
      listen: (fd, backlog) => common.listen(fd, backlog),
      setsockopt: (fd, level, name, value) => common.setsockopt(fd, level, name, value, value.length),
      getsockopt: (fd, level, name, value, length) => common.getsockopt(fd, level, name, value, length),
      poll: (pollfds, count, timeout) => linux?.poll(pollfds, BigInt(count), timeout) ?? -1,
      errno: () => ffi.getInt32(BigInt(common[ERRNO]())),
      dup: (fd) => common.dup(fd),
      dup2: (from, to) => common.dup2(from, to),
      unblockSignals: (set) => common.pthread_sigmask(SIG_UNBLOCK, set, 0n),
    };
  } catch {
    return null;
  }
}
