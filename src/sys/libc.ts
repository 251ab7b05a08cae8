/**
 * C library calls that Node has no API for, through `node:ffi` (Node 26; behind a flag or absent before). Every caller
 * has a fallback, or a clear error, for when `libc()` is undefined. Pointers are lent for the length of a call.
 */

export interface Libc {
  /** Linux: PR_SET_KEEPCAPS and the like. 0, or -1 on failure. */
  prctl(option: number, value: bigint): number;
  /** Linux: the calling thread's capabilities. */
  capset(header: Uint8Array, data: Uint8Array): number;
  /** Linux: sched_setaffinity() of the calling thread. */
  setAffinity(mask: Uint8Array): number;
  getrlimit(resource: number, limits: Uint8Array): number;
  setrlimit(resource: number, limits: Uint8Array): number;
  socket(family: number, type: number): number;
  /** For descriptors made here: node:fs warns about those that it did not open. */
  close(fd: number): number;
  /** Fills `ends` with two descriptors of 32 bits. */
  socketpair(family: number, type: number, ends: Uint8Array): number;
  sendto(fd: number, bytes: Uint8Array, flags: number, address: Uint8Array): number;
  bind(fd: number, address: Uint8Array): number;
  listen(fd: number, backlog: number): number;
  setsockopt(fd: number, level: number, name: number, value: Uint8Array): number;
  /** `length`: a socklen_t, the size of `value`. */
  getsockopt(fd: number, level: number, name: number, value: Uint8Array, length: Uint8Array): number;
  /** Linux: `count` of struct pollfd. Returns how many of them have events, or -1. */
  poll(pollfds: Uint8Array, count: number, timeout: number): number;
  /** errno of the last call that failed. */
  errno(): number;
  dup(fd: number): number;
  dup2(from: number, to: number): number;
  /** pthread_sigmask(SIG_UNBLOCK) with a sigset_t. */
  unblockSignals(set: Uint8Array): number;
}

const SIG_UNBLOCK = process.platform === "linux" ? 1 : 2;
/** The function that returns the address of this thread's errno. */
const ERRNO = process.platform === "linux" ? "__errno_location" : "__error";

let loaded: Libc | null | undefined;

/** Undefined without FFI in this Node or on this system. */
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
            // prctl is variadic; its integer arguments are passed in registers all the same.
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
