/**
 * io_uring(7), and what the engine on it does to sockets by itself. Functions return what the system call does, or the negated errno.
 *
 * Node's FFI is quick (40 to 100 ns) for up to three arguments, and takes some 300 ns with more: hence write(2) where
 * send(2) would do, on descriptors that do not block, in a process that ignores SIGPIPE, as Node does.
 */
import { bind } from "./ffi.ts";
import { libc } from "./libc.ts";
import { mapMemory } from "./memory.ts";

export const OP_NOP = 0;
export const OP_POLL_ADD = 6;
export const OP_ASYNC_CANCEL = 14;
export const OP_CONNECT = 16;
export const OP_CLOSE = 19;
export const OP_READ = 22;
export const OP_SEND = 26;
export const OP_RECV = 27;

/** Flags of a submission (sqe->flags). */
export const SQE_ASYNC = 1 << 4;
export const SQE_BUFFER_SELECT = 1 << 5;
export const SQE_CQE_SKIP_SUCCESS = 1 << 6;
/** Flags of receiving and sending (sqe->ioprio), and of polling (sqe->len). */
export const POLL_FIRST = 1 << 0;
export const RECV_MULTISHOT = 1 << 1;
export const POLL_ADD_MULTI = 1 << 0;
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
export const REGISTER_IOWQ_MAX_WORKERS = 19;
export const REGISTER_PBUF_RING = 22;
/** In the flags of a probed operation: it is there. */
export const OP_SUPPORTED = 1 << 0;
/** Where the submissions are mapped (IORING_OFF_SQES). */
export const OFFSET_SQES = 0x10000000n;

/** The oldest calls have other numbers on each machine. */
const SYS_SENDFILE = process.arch === "x64" ? 40 : 71;
const SYS_IO_URING_SETUP = 425;
const SYS_IO_URING_ENTER = 426;
const SYS_IO_URING_REGISTER = 427;
const PAGE = 4096;
const MSG_NOSIGNAL = 0x4000;
const MSG_MORE = 0x8000;
const SOCK_NONBLOCK_CLOEXEC = 0x80800;

/** Pointers are lent for the length of a call, unless said otherwise. */
export interface IoUring {
  /** `params`: a struct io_uring_params. The descriptor is the caller's. */
  setup(entries: number, params: Uint8Array): number;
  /** `argument`: a struct io_uring_getevents_arg in a Mapping, or 0n. What the submissions point to is their submitter's. */
  enter(fd: number, submit: number, wait: number, flags: number, argument: bigint, size: bigint): number;
  /** What a registered structure points to belongs to the kernel until the ring is closed. */
  register(fd: number, opcode: number, argument: Uint8Array, count: number): number;
  writeBytes(fd: number, bytes: Uint8Array, length: number): number;
  /** Sends bytes in a Mapping. More follows at once: the kernel puts both into one packet (MSG_MORE). */
  sendMore(fd: number, addressLow: number, addressHigh: number, length: number): number;
  /** sendfile(2) from that position of the file, less than 2 GiB. Returns 0 where the file has no bytes there. */
  sendFile(fd: number, file: number, offset: number, length: number): number;
  /** Moves bytes from one descriptor to another; one of them is a pipe's. */
  splice(from: number, to: number, length: bigint, flags: number): number;
  /** Fills `ends` with two descriptors, which are the caller's: to read from, and to write to. */
  pipe(ends: Uint8Array, flags: number): number;
  connect(fd: number, address: Uint8Array): number;
  shutdown(fd: number, how: number): number;
  close(fd: number): number;
  /** Fills `address`, and `length` (a socklen_t) with its size. */
  getsockname(fd: number, address: Uint8Array, length: Uint8Array): number;
  /** The same with the peer's address. The descriptor is the caller's, and does not block. */
  accept(fd: number, address: Uint8Array, length: Uint8Array): number;
}

let loaded: IoUring | undefined;

export function ioUring(): IoUring {
  loaded ??= load();
  return loaded;
}

function load(): IoUring {
  const { close, errno } = libc();
  const c = bind(null, {
    // Variadic; integer arguments are passed in registers all the same. The last one is passed on the stack, where it is
    // read as a long.
    syscall: {
      return: "int32",
      arguments: ["int32", "uint32", "uint32", "uint32", "uint32", "pointer", "uint64"],
      sizes: { 5: 6 },
      nullable: [5],
    },
    sendmsg: { return: "int32", arguments: ["int32", "pointer", "int32"] },
    splice: {
      return: "int32",
      arguments: ["int32", "pointer", "int32", "pointer", "uint64", "uint32"],
      nullable: [1, 3],
    },
    pipe2: { return: "int32", arguments: ["buffer", "int32"] },
    connect: { return: "int32", arguments: ["int32", "buffer", "uint32"], sizes: { 1: 2 } },
    shutdown: { return: "int32", arguments: ["int32", "int32"] },
    getsockname: { return: "int32", arguments: ["int32", "buffer", "buffer"] },
    accept4: { return: "int32", arguments: ["int32", "buffer", "buffer", "int32"] },
  });
  const setup = bind(null, { syscall: { return: "int32", arguments: ["int32", "uint32", "buffer"] } });
  const register = bind(null, {
    syscall: { return: "int32", arguments: ["int32", "uint32", "uint32", "buffer", "uint32"] },
  });
  // Node passes seven arguments in memory that it shares with JavaScript, which takes less time than what it does with four.
  const sending = bind(null, {
    syscall: { return: "int32", arguments: ["int32", "int32", "int32", "pointer", "uint32", "uint32", "uint32"] },
  });
  const lent = bind(null, { write: { return: "int32", arguments: ["int32", "buffer", "uint32"], sizes: { 1: 2 } } });
  const result = (value: number): number => (value < 0 ? -errno() : value);
  /** The off_t that sendfile() reads and writes during a call; and a struct msghdr for sendmsg(), of one struct iovec. */
  const structs = mapMemory(PAGE);
  if (structs === undefined) throw new Error("mmap() failed");
  const { address: position } = structs;
  const positions = new Uint32Array(structs.buffer, 0, 2);
  const message = position + 64n;
  const header = new BigUint64Array(structs.buffer, 64, 7);
  header[2] = position + 128n;
  header[3] = 1n;
  const iovec = new Uint32Array(structs.buffer, 128, 4);
  return {
    setup: (entries, params) => result(setup.syscall(SYS_IO_URING_SETUP, entries, params)),
    enter: (fd, submit, wait, flags, argument, size) => {
      const value = c.syscall(SYS_IO_URING_ENTER, fd, submit, wait, flags, argument, size);
      return value < 0 ? -errno() : value;
    },
    register: (fd, opcode, argument, count) =>
      result(register.syscall(SYS_IO_URING_REGISTER, fd, opcode, argument, count)),
    writeBytes: (fd, bytes, length) => {
      const value = lent.write(fd, bytes, length);
      return value < 0 ? -errno() : value;
    },
    sendFile: (fd, file, offset, length) => {
      positions[0] = offset % 0x1_0000_0000;
      positions[1] = offset / 0x1_0000_0000;
      const value = sending.syscall(SYS_SENDFILE, fd, file, position, length, 0, 0);
      return value < 0 ? -errno() : value;
    },
    sendMore: (fd, addressLow, addressHigh, length) => {
      iovec[0] = addressLow;
      iovec[1] = addressHigh;
      iovec[2] = length;
      const value = c.sendmsg(fd, message, MSG_MORE | MSG_NOSIGNAL);
      return value < 0 ? -errno() : value;
    },
    splice: (from, to, length, flags) => result(c.splice(from, 0n, to, 0n, length, flags)),
    pipe: (ends, flags) => result(c.pipe2(ends, flags)),
    connect: (fd, address) => result(c.connect(fd, address, address.length)),
    shutdown: (fd, how) => result(c.shutdown(fd, how)),
    close: (fd) => result(close(fd)),
    getsockname: (fd, address, length) => result(c.getsockname(fd, address, length)),
    accept: (fd, address, length) => result(c.accept4(fd, address, length, SOCK_NONBLOCK_CLOEXEC)),
  };
}
