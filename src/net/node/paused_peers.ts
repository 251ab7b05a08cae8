import { libc } from "../../sys/libc.ts";
import { startTimer, type Timer } from "../../sys/timers.ts";

/**
 * Detects closed peers of paused streams. libuv does not poll a socket that is not being read, so a disconnect would go
 * unnoticed. While streams are paused, poll(2) is called a few times a second with a timeout of 0, for up to AT_ONCE of
 * them in turn, which takes a fraction of a millisecond. A short pause costs no more than an entry in a set.
 */

/** A stream that can be paused. */
export interface PausedStream {
  /** Negative if it has none, or none any more. */
  readonly descriptor: number;
  /** The peer has closed its side; data it sent before is still to be read. Called each time this is detected. */
  peerClosed(): void;
  /** The connection has failed with this errno (ECONNRESET, ETIMEDOUT of a keep-alive probe). */
  peerFailed(errno: number): void;
}

const INTERVAL_MS = 200;
const AT_ONCE = 1024;

/** <poll.h> and <sys/socket.h> */
const POLLERR = 0x8;
const POLLHUP = 0x10;
const POLLRDHUP = 0x2000;
const SOL_SOCKET = 1;
const SO_ERROR = 4;

/** The size of a struct pollfd: descriptor, events, revents (16 bits each). */
const POLLFD = 8;
/** Used by poll during the call only. */
const pollfds = Buffer.alloc(AT_ONCE * POLLFD);
const value = Buffer.alloc(4);
const length = Buffer.alloc(4);

const watched = new Set<PausedStream>();
let timer: Timer | undefined;

/** To be called when it is paused. */
export function watchPeer(stream: PausedStream): void {
  watched.add(stream);
  if (timer === undefined) wait();
}

/** To be called when it is resumed or closed. */
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

/** The next ones to poll, which move to the end of the set. */
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
  if (c.poll(pollfds, asked.length, 0) <= 0) return;
  // Reads all results first: a callback may close another stream, whose descriptor may be reused at once.
  const answers = asked.map((_, i) => pollfds.readUInt16LE(i * POLLFD + 6));
  for (const [i, stream] of asked.entries()) {
    if (answers[i] === 0 || !watched.has(stream)) continue;
    const errno = (answers[i] & POLLERR) === 0 ? 0 : errorOf(stream.descriptor);
    if (errno > 0) stream.peerFailed(errno);
    else if ((answers[i] & (POLLRDHUP | POLLHUP)) !== 0) stream.peerClosed();
  }
}

/** Reads and clears SO_ERROR; 0 if there is none. */
function errorOf(fd: number): number {
  length.writeInt32LE(value.length);
  return libc().getsockopt(fd, SOL_SOCKET, SO_ERROR, value, length) === 0 ? value.readInt32LE() : 0;
}
