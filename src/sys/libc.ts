import { errnoName } from "./errno.ts";
import { bind, bindWhenUsed, memoryAt } from "./ffi.ts";

/** C library calls that Node has no API for. */
function load() {
  const functions = bind(null, {
    // Descriptors made here are closed here: node:fs warns about those that it did not open.
    close: { return: "int32", arguments: ["int32"] },
    _exit: { return: "void", arguments: ["int32"] },
    dup2: { return: "int32", arguments: ["int32", "int32"] },
    socket: { return: "int32", arguments: ["int32", "int32", "int32"] },
    socketpair: { return: "int32", arguments: ["int32", "int32", "int32", "buffer"] },
    bind: { return: "int32", arguments: ["int32", "buffer", "uint32"], sizes: { 1: 2 } },
    listen: { return: "int32", arguments: ["int32", "int32"] },
    setsockopt: { return: "int32", arguments: ["int32", "int32", "int32", "buffer", "uint32"], sizes: { 3: 4 } },
    getsockopt: { return: "int32", arguments: ["int32", "int32", "int32", "buffer", "buffer"] },
    sendto: {
      return: "int64",
      arguments: ["int32", "buffer", "uint64", "int32", "buffer", "uint32"],
      sizes: { 1: 2, 4: 5 },
    },
    // The msghdr, and all that it points to, is mapped memory (descriptor_passing.ts).
    sendmsg: { return: "int64", arguments: ["int32", "pointer", "int32"] },
    recvmsg: { return: "int64", arguments: ["int32", "pointer", "int32"] },
    poll: { return: "int32", arguments: ["buffer", "uint64", "int32"] },
    // The iovec, and what it points to, is mapped memory (page_cache.ts).
    preadv2: { return: "int32", arguments: ["int32", "pointer", "int32", "int64", "int32"] },
    fstatfs: { return: "int32", arguments: ["int32", "buffer"] },
    getrlimit: { return: "int32", arguments: ["int32", "buffer"] },
    setrlimit: { return: "int32", arguments: ["int32", "buffer"] },
    // prctl, fcntl and syscall are variadic; integer arguments are passed in registers all the same.
    prctl: { return: "int32", arguments: ["int32", "uint64", "uint64", "uint64", "uint64"] },
    fcntl: { return: "int32", arguments: ["int32", "int32", "int32"] },
    capset: { return: "int32", arguments: ["buffer", "buffer"] },
    sched_setaffinity: { return: "int32", arguments: ["int32", "uint64", "buffer"], sizes: { 2: 1 } },
    pthread_sigmask: { return: "int32", arguments: ["int32", "buffer", "pointer"], nullable: [2] },
    // The result is the kernel's mapping: whoever called owns it, and unmaps it.
    mmap: { return: "pointer", arguments: ["pointer", "uint64", "int32", "int32", "int32", "int64"], nullable: [0] },
    munmap: { return: "int32", arguments: ["pointer", "uint64"], sizes: { 0: 1 } },
    getrandom: { return: "int64", arguments: ["buffer", "uint64", "uint32"], sizes: { 0: 1 } },
    madvise: { return: "int32", arguments: ["pointer", "uint64", "int32"], sizes: { 0: 1 } },
    memfd_create: { return: "int32", arguments: ["string", "uint32"] },
    ftruncate: { return: "int32", arguments: ["int32", "int64"] },
    getauxval: { return: "uint64", arguments: ["uint64"] },
    malloc_trim: { return: "int32", arguments: ["uint64"] },
    // Of this thread, for as long as it lives.
    __errno_location: { return: "pointer", arguments: [] },
  });
  // futex(2) has no function in the C library. The word is in mapped memory; the timeout, a timespec, is lent.
  const futex = bind(null, {
    syscall: { return: "int64", arguments: ["int64", "pointer", "int32", "int32", "buffer"] },
  });
  // With a struct flock, which is lent.
  const locks = bindWhenUsed(null, { fcntl: { return: "int32", arguments: ["int32", "int32", "buffer"] } });
  const errno = new Int32Array(memoryAt(functions.__errno_location(), 4));
  return {
    ...functions,
    /** Closed on exec, as every descriptor is that Node makes. */
    dup: (fd: number) => functions.fcntl(fd, F_DUPFD_CLOEXEC, 0),
    socket: (family: number, type: number) => functions.socket(family, type, 0),
    socketpair: (family: number, type: number, ends: Uint8Array) => functions.socketpair(family, type, 0, ends),
    bind: (fd: number, address: Uint8Array) => functions.bind(fd, address, address.length),
    setsockopt: (fd: number, level: number, name: number, value: Uint8Array) =>
      functions.setsockopt(fd, level, name, value, value.length),
    sendto: (fd: number, bytes: Uint8Array, flags: number, address: Uint8Array) =>
      Number(functions.sendto(fd, bytes, BigInt(bytes.length), flags, address, address.length)),
    poll: (pollfds: Uint8Array, count: number, timeout: number) => functions.poll(pollfds, BigInt(count), timeout),
    prctl: (option: number, value: bigint) => functions.prctl(option, value, 0n, 0n, 0n),
    getrandom: (bytes: Uint8Array) => Number(functions.getrandom(bytes, BigInt(bytes.length), 0)),
    /** Gives whole pages back to the system. When they are used again, they are zeros, or the file's if they are of one. */
    discard: (address: bigint, bytes: bigint) => functions.madvise(address, bytes, MADV_DONTNEED),
    trimHeap: () => void functions.malloc_trim(0n),
    setAffinity: (mask: Uint8Array) => functions.sched_setaffinity(0, BigInt(mask.length), mask),
    /** With a sigset_t. */
    unblockSignals: (set: Uint8Array) => functions.pthread_sigmask(SIG_UNBLOCK, set, 0n),
    futex: (word: bigint, operation: number, value: number, timeout: Uint8Array) =>
      Number(futex.syscall(FUTEX_CALL, word, operation, value, timeout)),
    fcntlLock: (fd: number, command: number, flock: Uint8Array) => locks.fcntl(fd, command, flock),
    /** What the last call failed with, if it did: to be read at once. */
    errno: () => errno[0],
    errnoName: () => errnoName(-errno[0]),
  };
}

/** <fcntl.h>, <signal.h> */
const F_DUPFD_CLOEXEC = 1030;
const SIG_UNBLOCK = 1;
const MADV_DONTNEED = 4;

/** The number of futex(2) among the kernel's calls. */
const FUTEX_CALL = process.arch === "arm64" ? 98n : 202n;

export type Libc = ReturnType<typeof load>;

let loaded: Libc | undefined;

export function libc(): Libc {
  loaded ??= load();
  return loaded;
}
