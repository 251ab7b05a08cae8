import { libc } from "../../sys/libc.ts";
import { startTimer, type Timer } from "../../sys/timers.ts";

/**
 * Peers of paused streams: libuv does not watch a stream that is not read, so that nothing would tell that its peer has
 * gone. While any stream is paused, the system is asked a few times a second (poll(2), without waiting), for so many of
 * them at a time that the question costs a fraction of a millisecond; with more, each has its turn. A stream that is
 * paused for a moment costs an entry in a set.
 */

/** A stream as it is seen here. */
export interface PausedStream {
  /** Below 0 where it has none (any more). */
  readonly descriptor: number;
  /** The peer has closed its side; what it sent before is still to be read. Called at each look. */
  peerClosed(): void;
  /** The connection has failed with this errno: a reset, a keep-alive probe without an answer. */
  peerFailed(errno: number): void;
}

const INTERVAL_MS = 200;
const AT_ONCE = 1024;

/** Numbers of <poll.h> and <sys/socket.h> on Linux; other systems' poll does not tell of a peer that closed its side. */
const POLLERR = 0x8;
const POLLHUP = 0x10;
const POLLRDHUP = 0x2000;
const SOL_SOCKET = 1;
const SO_ERROR = 4;

/** struct pollfd: the descriptor, the events asked for (16 bits), and those that are there. */
const POLLFD = 8;
/** Lent to poll for the length of the call. */
const pollfds = Buffer.alloc(process.platform === "linux" ? AT_ONCE * POLLFD : 0);
const value = Buffer.alloc(4);
const length = Buffer.alloc(4);

const watched = new Set<PausedStream>();
let timer: Timer | undefined;

/** From when it is paused. */
export function watchPeer(stream: PausedStream): void {
  if (pollfds.length === 0) return;
  watched.add(stream);
  if (timer === undefined) wait();
}

/** Until it is resumed, or has gone. */
export function unwatchPeer(stream: PausedStream): void {
  watched.delete(stream);
}

function wait(): void {
  timer = startTimer(INTERVAL_MS, look, { background: true });
}

function look(): void {
  timer = undefined;
  const asked = next();
  if (asked.length > 0) ask(asked);
  if (watched.size > 0) wait();
}

/** Those whose turn it is; they go behind the others. */
function next(): readonly PausedStream[] {
  const asked: PausedStream[] = [];
  for (const stream of watched) {
    const { descriptor } = stream;
    if (descriptor < 0) continue;
    pollfds.writeInt32LE(descriptor, asked.length * POLLFD);
    pollfds.writeInt32LE(POLLRDHUP, asked.length * POLLFD + 4);
    asked.push(stream);
    if (asked.length === AT_ONCE) break;
  }
  if (asked.length === AT_ONCE) {
    for (const stream of asked) {
      watched.delete(stream);
      watched.add(stream);
    }
  }
  return asked;
}

function ask(asked: readonly PausedStream[]): void {
  const c = libc();
  if (c === undefined || c.poll(pollfds, asked.length, 0) <= 0) return;
  // All answers first: what is told to one may close another, and its descriptor may be somebody else's at once.
  const answers = asked.map((_, i) => pollfds.readUInt16LE(i * POLLFD + 6));
  for (const [i, stream] of asked.entries()) {
    if (answers[i] === 0 || !watched.has(stream)) continue;
    const errno = (answers[i] & POLLERR) === 0 ? 0 : errorOf(stream.descriptor);
    if (errno > 0) stream.peerFailed(errno);
    else if ((answers[i] & (POLLRDHUP | POLLHUP)) !== 0) stream.peerClosed();
  }
}

/** SO_ERROR, which asking takes away; 0 for none. */
function errorOf(fd: number): number {
  length.writeInt32LE(value.length);
  return libc()?.getsockopt(fd, SOL_SOCKET, SO_ERROR, value, length) === 0 ? value.readInt32LE() : 0;
}
