import { errnoName, errnoText } from "../../sys/errno.ts";
import {
  CQE_BUFFER,
  CQE_MORE,
  OP_ASYNC_CANCEL,
  OP_CLOSE,
  OP_CONNECT,
  OP_NOP,
  OP_POLL_ADD,
  OP_READ,
  OP_RECV,
  OP_SEND,
  OP_SUPPORTED,
  REGISTER_PROBE,
} from "../../sys/io_uring.ts";
import { libc } from "../../sys/libc.ts";
import type { BufferGroup } from "./buffers.ts";
import type { Ring } from "./ring.ts";

const OPERATIONS: Readonly<Record<string, number>> = {
  IORING_OP_NOP: OP_NOP,
  IORING_OP_POLL_ADD: OP_POLL_ADD,
  IORING_OP_ASYNC_CANCEL: OP_ASYNC_CANCEL,
  IORING_OP_CONNECT: OP_CONNECT,
  IORING_OP_CLOSE: OP_CLOSE,
  IORING_OP_READ: OP_READ,
  IORING_OP_SEND: OP_SEND,
  IORING_OP_RECV: OP_RECV,
};

/** struct io_uring_probe, and behind it a struct io_uring_probe_op for each of 256 operations. */
const PROBE_SIZE = 16;
const PROBE_OP_SIZE = 8;
const PROBED = 256;

const AF_UNIX = 1;
const SOCK_STREAM = 1;
const PATIENCE_MS = 1000;

/** Whether the kernel has every operation that the engine uses. Returns a sentence if not. */
export function probeOperations({ calls, fd }: Ring): string | undefined {
  const bytes = new Uint8Array(PROBE_SIZE + PROBED * PROBE_OP_SIZE);
  const result = calls.register(fd, REGISTER_PROBE, bytes, PROBED);
  if (result < 0) return `io_uring_register(IORING_REGISTER_PROBE) failed ${errnoText(errnoName(result))}`;
  const view = new DataView(bytes.buffer);
  for (const [name, operation] of Object.entries(OPERATIONS)) {
    const flags = view.getUint16(PROBE_SIZE + operation * PROBE_OP_SIZE + 2, true);
    if ((flags & OP_SUPPORTED) === 0) return `the kernel has no ${name}`;
  }
  return undefined;
}

/**
 * Receives a byte through a socket pair into a buffer of the group. A policy may forbid what the kernel has, and whether it
 * has multishot receives cannot be asked. Returns a sentence if it fails.
 */
export function tryReceive(ring: Ring, group: BufferGroup): string | undefined {
  const c = libc();
  const ends = Buffer.alloc(8);
  if (c.socketpair(AF_UNIX, SOCK_STREAM, ends) !== 0) return "socketpair() failed";
  const [fd, peer] = [ends.readInt32LE(0), ends.readInt32LE(4)];
  let received = 0;
  let flags = 0;
  const id = ring.owners.add({
    complete(_kind, result, completed) {
      if ((completed & CQE_BUFFER) !== 0) group.giveBack(completed >>> 16);
      if (received !== 0) return;
      received = result;
      flags = completed;
    },
  });
  ring.calls.writeBytes(peer, Buffer.from("x"), 1);
  ring.receive(id, fd, group.id, true, false);
  const look = (): number => {
    const failed = ring.queues.wait(PATIENCE_MS);
    return failed < 0 ? failed : ring.dispatch(1, () => {});
  };
  let failed = look();
  // The end of the receive, by that of the peer.
  c.close(peer);
  while (failed > 0 && ring.owners.busy(id)) failed = look();
  c.close(fd);
  if (failed < 0) return `io_uring_enter() failed ${errnoText(errnoName(failed))}`;
  if (received < 0) return `a multishot receive failed ${errnoText(errnoName(received))}`;
  if (received !== 1 || (flags & CQE_MORE) === 0 || failed === 0) return "a multishot receive is not as expected";
  ring.owners.remove(id);
  return undefined;
}
