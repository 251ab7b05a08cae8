/**
 * io_uring(7) and what goes with it, through `node:ffi`: raw system calls, memory outside of the JavaScript heap, and a few
 * calls on sockets. Functions return what the system call does, or the negated errno.
 *
 * Node's FFI is quick (40 to 100 ns) for up to three arguments, and takes some 300 ns with more: hence write(2) where
 * send(2) would do, on descriptors that do not block, in a process that ignores SIGPIPE, as Node does.
 */
import { nameOfErrno } from "./errno.ts";

export const OP_POLL_ADD = 6;
export const OP_ASYNC_CANCEL = 14;
export const OP_CONNECT = 16;
export const OP_CLOSE = 19;
export const OP_SEND = 26;
export const OP_RECV = 27;

/** Flags of a submission (sqe->flags). */
export const SQE_BUFFER_SELECT = 1 << 5;
export const SQE_CQE_SKIP_SUCCESS = 1 << 6;
/** Flags of receiving and sending (sqe->ioprio), and of polling (sqe->len). */
export const POLL_FIRST = 1 << 0;
export const RECV_MULTISHOT = 1 << 1;
export const POLL_ADD_MULTI = 1 << 0;
/** Flags of canceling (sqe->cancel_flags). */
export const CANCEL_ALL = 1 << 0;
export const CANCEL_FD = 1 << 1;
/** Flags of a completion (cqe->flags); the number of the buffer stands in the upper half. */
export const CQE_BUFFER = 1 << 0;
export const CQE_MORE = 1 << 1;

export const SETUP_CQSIZE = 1 << 3;
export const SETUP_CLAMP = 1 << 4;
export const SETUP_SUBMIT_ALL = 1 << 7;
export const SETUP_COOP_TASKRUN = 1 << 8;
export const SETUP_SINGLE_ISSUER = 1 << 12;
export const SETUP_DEFER_TASKRUN = 1 << 13;
export const FEAT_SINGLE_MMAP = 1 << 0;
export const FEAT_NODROP = 1 << 1;
export const FEAT_EXT_ARG = 1 << 8;
export const FEAT_CQE_SKIP = 1 << 11;
export const ENTER_GETEVENTS = 1 << 0;
export const ENTER_EXT_ARG = 1 << 3;
export const REGISTER_PROBE = 8;
export const REGISTER_PBUF_RING = 22;
/** In the flags of a probed operation: it is there. */
export const OP_SUPPORTED = 1 << 0;
/** Where the submissions are mapped (IORING_OFF_SQES). */
export const OFFSET_SQES = 0x10000000n;

const SYS_IO_URING_SETUP = 425;
const SYS_IO_URING_ENTER = 426;
const SYS_IO_URING_REGISTER = 427;
const PROT_READ_WRITE = 3;
const MAP_SHARED_POPULATE = 0x8001;
const MAP_PRIVATE_ANONYMOUS = 0x22;
const MADV_DONTNEED = 4;
const MSG_NOSIGNAL = 0x4000;
const MSG_MORE = 0x8000;
const SOCK_NONBLOCK_CLOEXEC = 0x80800;

/**
 * Memory that the kernel may keep pointers to: it neither moves nor is it collected. It is never unmapped, since nobody can
 * tell whether a view of it is left; what is not needed is given back with `discard`.
 */
export interface Mapping {
  readonly address: bigint;
  readonly memory: ArrayBuffer;
}

/** Pointers are lent for the length of a call, unless said otherwise. */
export interface IoUring {
  /** `params`: a struct io_uring_params. The descriptor is the caller's. */
  setup(entries: number, params: Uint8Array): number;
  /** `argument`: a struct io_uring_getevents_arg in a Mapping, or 0n. What the submissions point to is their submitter's. */
  enter(fd: number, submit: number, wait: number, flags: number, argument: bigint, size: bigint): number;
  /** What a registered structure points to belongs to the kernel until the ring is closed. */
  register(fd: number, opcode: number, argument: Uint8Array, count: number): number;
  /** Of a descriptor, or anonymous and filled with zeros. Undefined without memory. */
  map(length: number, fd?: number, offset?: bigint): Mapping | undefined;
  /** Gives whole pages back to the system; they are zeros when they are used again. */
  discard(address: bigint, length: number): number;
  /** `address`: within a Mapping. */
  write(fd: number, address: bigint, length: number): number;
  writeBytes(fd: number, bytes: Uint8Array, length: number): number;
  /** Another write follows at once: the kernel puts both into one packet (MSG_MORE). */
  writeMore(fd: number, bytes: Uint8Array, length: number): number;
  /** sendfile(2) from that position of the file. Returns 0 where the file has no bytes there. */
  sendFile(fd: number, file: number, offset: number, length: number): number;
  connect(fd: number, address: Uint8Array): number;
  shutdown(fd: number, how: number): number;
  close(fd: number): number;
  /** Fills `address`, and `length` (a socklen_t) with its size. */
  getsockname(fd: number, address: Uint8Array, length: Uint8Array): number;
  /** The same with the peer's address. The descriptor is the caller's, and does not block. */
  accept(fd: number, address: Uint8Array, length: Uint8Array): number;
}

let loaded: IoUring | null | undefined;

/** Undefined on systems other than Linux, and without FFI. */
export function ioUring(): IoUring | undefined {
  if (loaded === undefined) loaded = load();
  return loaded ?? undefined;
}

function load(): IoUring | null {
  try {
    const ffi = process.platform === "linux" ? process.getBuiltinModule("node:ffi") : undefined;
    if (ffi === undefined) return null;
    const c = ffi.dlopen(null, {
      // Variadic; integer arguments are passed in registers all the same.
      syscall: {
        return: "int32",
        // The last one is passed on the stack, where it is read as a long.
        arguments: ["int32", "uint32", "uint32", "uint32", "uint32", "pointer", "uint64"],
      },
      mmap: { return: "pointer", arguments: ["pointer", "uint64", "int32", "int32", "int32", "int64"] },
      madvise: { return: "int32", arguments: ["pointer", "uint64", "int32"] },
      write: { return: "int32", arguments: ["int32", "pointer", "uint32"] },
      send: { return: "int32", arguments: ["int32", "buffer", "uint32", "int32"] },
      sendfile: { return: "int64", arguments: ["int32", "int32", "pointer", "uint64"] },
      connect: { return: "int32", arguments: ["int32", "buffer", "uint32"] },
      shutdown: { return: "int32", arguments: ["int32", "int32"] },
      close: { return: "int32", arguments: ["int32"] },
      getsockname: { return: "int32", arguments: ["int32", "buffer", "buffer"] },
      accept4: { return: "int32", arguments: ["int32", "buffer", "buffer", "int32"] },
      __errno_location: { return: "pointer", arguments: [] },
    }).functions;
    const { syscall: syscall2 } = ffi.dlopen(null, {
      syscall: { return: "int32", arguments: ["int32", "uint32", "buffer"] },
    }).functions;
    const { syscall: syscall4 } = ffi.dlopen(null, {
      syscall: { return: "int32", arguments: ["int32", "uint32", "uint32", "buffer", "uint32"] },
    }).functions;
    const { write: writeBuffer } = ffi.dlopen(null, {
      write: { return: "int32", arguments: ["int32", "buffer", "uint32"] },
    }).functions;
    /** This thread's errno, which stays where it is as long as the thread lives. */
    const errno = new Int32Array(ffi.toArrayBuffer(BigInt(c.__errno_location()), 4, false));
    const result = (value: number): number => (value < 0 ? -errno[0] : value);
    const map = (length: number, fd: number, offset: bigint): Mapping | undefined => {
      const kind = fd === -1 ? MAP_PRIVATE_ANONYMOUS : MAP_SHARED_POPULATE;
      const address = BigInt(c.mmap(0n, BigInt(length), PROT_READ_WRITE, kind, fd, offset));
      // MAP_FAILED is (void *) -1.
      if (BigInt.asIntN(64, address) === -1n) return undefined;
      return { address, memory: ffi.toArrayBuffer(address, length, false) };
    };
    /** The off_t that sendfile() reads and writes during a call. */
    const position = map(4096, -1, 0n);
    if (position === undefined) return null;
    const positions = new BigInt64Array(position.memory, 0, 1);
    return {
      setup: (entries, params) => result(syscall2(SYS_IO_URING_SETUP, entries, params)),
      enter: (fd, submit, wait, flags, argument, size) => {
        const value = c.syscall(SYS_IO_URING_ENTER, fd, submit, wait, flags, argument, size);
        return value < 0 ? -errno[0] : value;
      },
      register: (fd, opcode, argument, count) => result(syscall4(SYS_IO_URING_REGISTER, fd, opcode, argument, count)),
      map: (length, fd = -1, offset = 0n) => map(length, fd, offset),
      discard: (address, length) => result(c.madvise(address, BigInt(length), MADV_DONTNEED)),
      write: (fd, address, length) => {
        const value = c.write(fd, address, length);
        return value < 0 ? -errno[0] : value;
      },
      writeBytes: (fd, bytes, length) => {
        const value = writeBuffer(fd, bytes, length);
        return value < 0 ? -errno[0] : value;
      },
      sendFile: (fd, file, offset, length) => {
        positions[0] = BigInt(offset);
        return result(Number(c.sendfile(fd, file, position.address, BigInt(length))));
      },
      writeMore: (fd, bytes, length) => result(c.send(fd, bytes, length, MSG_MORE | MSG_NOSIGNAL)),
      connect: (fd, address) => result(c.connect(fd, address, address.length)),
      shutdown: (fd, how) => result(c.shutdown(fd, how)),
      close: (fd) => result(c.close(fd)),
      getsockname: (fd, address, length) => result(c.getsockname(fd, address, length)),
      accept: (fd, address, length) => result(c.accept4(fd, address, length, SOCK_NONBLOCK_CLOEXEC)),
    };
  } catch {
    return null;
  }
}

/** The name of a negated errno, as results are: ECONNRESET … */
export function errnoName(result: number): string {
  return nameOfErrno(-result);
}
