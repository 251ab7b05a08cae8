/**
 * Tests whether handles of this Node behave as direct_write.ts and `unsent` assume, on a socket pair, before the process's
 * first connection. The code for TCP and for unix sockets is the same, up to the system call.
 */
import { readSync } from "node:fs";
import { Socket } from "node:net";
import { errnoName } from "../../sys/errno.ts";
import { libc } from "../../sys/libc.ts";
import { type DirectHandle, directHandleOf, type HandleCounts, handleCountsOf, trustHandles } from "./direct_write.ts";

// <sys/socket.h> on Linux.
const AF_UNIX = 1;
const SOCK_STREAM = 1;
const SOCK_NONBLOCK = 0x800;
const SOCK_CLOEXEC = 0x80000;
const SOL_SOCKET = 1;
const SO_SNDBUF = 7;

/** Less than PIECE, so that the kernel takes only a part of a write. */
const SEND_BUFFER = 4096;
/** The size of the largest direct write. */
const PIECE = 16 * 1024;
/** Turns of the event loop within which the end of a write must be reported. */
const TURNS = 50;

/** A connected socket whose handle is tested, and the non-blocking descriptor of its peer. */
export interface HandlePair {
  readonly socket: Socket;
  readonly handle: unknown;
  readonly peer: number;
}

/**
 * Runs the test, and enables direct writes if it succeeds; else returns what is wrong with the handles. `open` is for
 * tests.
 */
export async function proveDirectWrites(open: () => HandlePair | undefined = openPair): Promise<string | undefined> {
  trustHandles(false);
  let pair: HandlePair | undefined;
  let wrong: string | undefined;
  try {
    pair = open();
    wrong = pair === undefined ? "they could not be tried: that needs Linux and Node's FFI" : await tryHandle(pair);
  } catch (error) {
    wrong = error instanceof Error ? error.message : String(error);
  }
  pair?.socket.destroy();
  trustHandles(wrong === undefined);
  return wrong;
}

/** The first descriptor is closed by the socket, the second by `tryHandle`. @internal For tests of direct writes. */
export function openPair(): HandlePair | undefined {
  const c = libc();
  const ends = Buffer.alloc(8);
  if (c.socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, ends) !== 0) return undefined;
  const [fd, peer] = [ends.readInt32LE(0), ends.readInt32LE(4)];
  const size = Buffer.alloc(4);
  size.writeInt32LE(SEND_BUFFER);
  c.setsockopt(fd, SOL_SOCKET, SO_SNDBUF, size);
  try {
    const socket = new Socket({ fd, readable: false, writable: true });
    socket.on("error", () => {});
    return { socket, handle: (socket as unknown as { _handle?: unknown })._handle, peer };
  } catch (error) {
    c.close(fd);
    c.close(peer);
    throw error;
  }
}

async function tryHandle({ socket, handle, peer }: HandlePair): Promise<string | undefined> {
  let open = true;
  const close = (): void => {
    if (open) libc().close(peer);
    open = false;
  };
  try {
    const direct = directHandleOf(handle);
    const counts = handleCountsOf(handle);
    if (direct === undefined || counts === undefined) return "they lack what is needed";
    return (
      triedAtOnce(direct, counts, peer) ??
      (await triedQueued(socket, direct, counts, peer)) ??
      (await triedFailing(direct, close))
    );
  } finally {
    close();
  }
}

/** A write that the kernel takes completely. */
function triedAtOnce(direct: DirectHandle, counts: HandleCounts, peer: number): string | undefined {
  const text = "at once \xe9\xff\0";
  if (direct.writeLatin1String(null, text) !== 0) return "a write that was taken is not reported so";
  if (counts.bytesWritten !== text.length || counts.writeQueueSize !== 0) return "written bytes are not counted";
  return drain(peer) === text ? undefined : "written bytes did not arrive";
}

/** A write that the kernel takes in part, followed by one through node:net. */
async function triedQueued(
  socket: Socket,
  direct: DirectHandle,
  counts: HandleCounts,
  peer: number,
): Promise<string | undefined> {
  const before = counts.bytesWritten;
  const text = "0123456789abcdef".repeat(PIECE / 16);
  const result = direct.writeLatin1String(null, text);
  if (typeof result !== "object" || result === null || result.writeStatus !== null) {
    return "a write that waits is not reported so";
  }
  let status: number | undefined;
  let behind = false;
  result.oncomplete = (ended) => {
    status = ended;
  };
  socket.write("behind", "latin1", () => {
    behind = true;
  });
  const length = text.length + "behind".length;
  const sent = counts.bytesWritten - before;
  const waiting = counts.writeQueueSize;
  let arrived = drain(peer);
  if (sent !== length || waiting !== length - arrived.length) return "waiting bytes are not counted";
  for (let turn = 0; turn < TURNS && (status === undefined || !behind); turn++) {
    await nextTurn();
    arrived += drain(peer);
  }
  if (status !== 0 || !behind) return "the end of a write that waited is not reported";
  if (counts.writeQueueSize !== 0) return "waiting bytes are not counted";
  return arrived === `${text}behind` ? undefined : "written bytes did not arrive as they were written";
}

/** Writes to a closed peer: one that is queued, and one after it. */
async function triedFailing(direct: DirectHandle, close: () => void): Promise<string | undefined> {
  let status: number | undefined;
  const result = direct.writeLatin1String(null, "x".repeat(PIECE));
  if (typeof result !== "object" || result === null) return "a write that waits is not reported so";
  result.oncomplete = (ended) => {
    status = ended;
  };
  close();
  for (let turn = 0; turn < TURNS && status === undefined; turn++) await nextTurn();
  if (!isFailure(status)) return "the failure of a write that waited is not reported";
  return isFailure(direct.writeLatin1String(null, "x")) ? undefined : "the failure of a write is not reported";
}

function isFailure(status: unknown): boolean {
  return typeof status === "number" && status < 0 && ["EPIPE", "ECONNRESET"].includes(errnoName(status));
}

function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** Reads what has arrived. */
function drain(peer: number): string {
  const into = Buffer.alloc(2 * PIECE);
  let all = "";
  try {
    for (let read = readSync(peer, into); read > 0; read = readSync(peer, into)) all += into.latin1Slice(0, read);
  } catch (error) {
    if (!(error instanceof Error && "code" in error && error.code === "EAGAIN")) throw error;
  }
  return all;
}
