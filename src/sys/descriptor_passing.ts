import { libc } from "./libc.ts";
import { mapMemory } from "./memory.ts";

/**
 * Descriptors passed from one process to another: SCM_RIGHTS over a unix socket (unix(7)). They go in batches of a byte
 * each, so that who knows how many descriptors to expect also knows how many messages to read.
 */

const AF_UNIX = 1;
const SOCK_STREAM_CLOEXEC = 1 | 0o2000000;
const SOL_SOCKET = 1;
const SCM_RIGHTS = 1;
const MSG_DONTWAIT = 0x40;
const MSG_NOSIGNAL = 0x4000;
const MSG_CMSG_CLOEXEC = 0x4000_0000;
/** The kernel's SCM_MAX_FD. */
const MOST = 253;

/** A struct msghdr, its iovec, the byte and the control message (header and descriptors) in one page. */
const IOVEC = 64;
const BYTE = 96;
const CONTROL = 128;
const CMSG_HEADER = 16;
const PAGE = 4096;
/** Indexes of the msghdr's fields, in 64-bit words. */
const MSG = { iov: 2, iovLength: 3, control: 4, controlLength: 5 } as const;

/** Mapped once, for as long as the process lives; in use only during a call. */
let page: { readonly address: bigint; readonly view: DataView } | undefined;

function message(): NonNullable<typeof page> {
  if (page !== undefined) return page;
  const mapping = mapMemory(PAGE);
  if (mapping === undefined) throw new Error("mmap() failed");
  const { address } = mapping;
  const view = new DataView(mapping.buffer);
  const pointer = (word: number, to: number): void => view.setBigUint64(word * 8, address + BigInt(to), true);
  pointer(MSG.iov, IOVEC);
  view.setBigUint64(MSG.iovLength * 8, 1n, true);
  pointer(MSG.control, CONTROL);
  pointer(IOVEC / 8, BYTE);
  view.setBigUint64(IOVEC + 8, 1n, true);
  page = { address, view };
  return page;
}

/** Both ends of a unix socket to pass descriptors over. They belong to the caller. Throws the errno name. */
export function descriptorSocket(): readonly [number, number] {
  const ends = Buffer.alloc(8);
  if (libc().socketpair(AF_UNIX, SOCK_STREAM_CLOEXEC, ends) !== 0) throw new Error(libc().errnoName());
  return [ends.readInt32LE(0), ends.readInt32LE(4)];
}

/** Sends duplicates of them. Returns the errno name of a failure: EAGAIN where the receiver has long read nothing. */
export function sendDescriptors(socket: number, fds: readonly number[]): string | undefined {
  const { address, view } = message();
  for (let from = 0; from < fds.length; from += MOST) {
    const batch = fds.slice(from, from + MOST);
    const length = CMSG_HEADER + batch.length * 4;
    view.setBigUint64(MSG.controlLength * 8, BigInt(length), true);
    view.setBigUint64(CONTROL, BigInt(length), true);
    view.setInt32(CONTROL + 8, SOL_SOCKET, true);
    view.setInt32(CONTROL + 12, SCM_RIGHTS, true);
    for (const [i, fd] of batch.entries()) view.setInt32(CONTROL + CMSG_HEADER + i * 4, fd, true);
    if (libc().sendmsg(socket, address, MSG_DONTWAIT | MSG_NOSIGNAL) < 0n) return libc().errnoName();
  }
  return undefined;
}

/**
 * Receives so many descriptors that were sent before. They belong to the caller, and are closed on exec. Throws a message
 * where some are missing; those that came are closed. A RangeError: this process may have no more of them open. Any other:
 * what is still to come would be taken for the next message's.
 */
export function receiveDescriptors(socket: number, count: number): number[] {
  const c = libc();
  const { address, view } = message();
  const fds: number[] = [];
  let failed: string | undefined;
  for (let left = count; left > 0; left -= MOST) {
    view.setBigUint64(MSG.controlLength * 8, BigInt(PAGE - CONTROL), true);
    const bytes = c.recvmsg(socket, address, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (bytes <= 0n) {
      failed = bytes === 0n ? "the other end is closed" : `recvmsg() failed (${c.errnoName()})`;
      break;
    }
    // All after the last one that fitted into the table of descriptors are lost.
    const controlLength = Number(view.getBigUint64(MSG.controlLength * 8, true));
    const length = controlLength < CMSG_HEADER ? CMSG_HEADER : Number(view.getBigUint64(CONTROL, true));
    for (let at = CMSG_HEADER; at < length; at += 4) fds.push(view.getInt32(CONTROL + at, true));
  }
  if (failed === undefined && fds.length === count) return fds;
  for (const fd of fds) c.close(fd);
  throw failed === undefined
    ? new RangeError(`${count - fds.length} of ${count} descriptors did not fit`)
    : new Error(failed);
}
