/**
 * `Stream` over node:net. Every socket of a thread reads into one shared buffer through node:net's `onread` option: no
 * buffer a read, no buffer an idle connection. That is why bytes are only lent to `onData`.
 */
import net from "node:net";
import { getSystemErrorName } from "node:util";
import { enterEvent, leaveEvent } from "../../sys/clock.ts";
import { contain } from "../../sys/guard.ts";
import { byteString } from "../../wire/latin1.ts";
import { type Address, socketAddress } from "../address.ts";
import { becameScarce } from "../descriptors.ts";
import { streamError } from "../errors.ts";
import type { Stream, StreamError, StreamHandler } from "../stream.ts";
import { type DirectHandle, directHandle, type HandleCounts, handleCounts } from "./direct_write.ts";
import { type PausedStream, unwatchPeer, watchPeer } from "./paused_peers.ts";

const READ_SIZE = 64 * 1024;
/** Strings up to this size are sent by node:net from the stack, without a buffer of their own. */
const STACK_WRITE = 16 * 1024;

/** Reads shorter than this share their views of the read buffer. */
const VIEWS = 4096;

const readBuffer = Buffer.allocUnsafeSlow(READ_SIZE);
/** Copies of bytes in flight are made in these; one whose write ended at once comes back. */
const copies: Buffer[] = [];
const COPIES = 16;

/** The views of short reads by their length, kept: making one costs more than looking it up. */
const views: (Buffer | undefined)[] = new Array(VIEWS).fill(undefined);

function received(length: number): Buffer {
  if (length >= VIEWS) return length === READ_SIZE ? readBuffer : readBuffer.subarray(0, length);
  const known = views[length];
  if (known !== undefined) return known;
  const made = readBuffer.subarray(0, length);
  views[length] = made;
  return made;
}

/** node:net's socket with the stream it belongs to, so that one set of listeners serves all sockets. */
export class OwnedSocket extends net.Socket {
  owner: TcpStream | undefined = undefined;

  /** The last moment at which the system can be asked what it has taken. */
  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    if (this.owner !== undefined) this.owner.countLost();
    super._destroy(error, callback);
  }
}

export const onread: net.OnReadOpts = {
  buffer: readBuffer,
  callback(this: unknown, length: number): boolean {
    const stream = (this as OwnedSocket).owner;
    if (stream === undefined) return true;
    const { handler } = stream;
    enterEvent();
    try {
      handler.onData(stream, received(length));
    } catch (error) {
      fault(stream, handler, error);
    } finally {
      leaveEvent();
    }
    return true;
  },
};

export const NO_ADDRESS: Address = { family: "unix", path: "" };

/** An exception left a handler: what it was at work on ends; where the handler cannot see to that, so does the stream. */
export function fault(stream: TcpStream, handler: StreamHandler, error: unknown): void {
  if (!contain(handler, error)) stream.destroy();
}

function onEnd(this: OwnedSocket): void {
  const stream = this.owner;
  if (stream === undefined) return;
  const { handler } = stream;
  try {
    handler.onEnd(stream);
  } catch (error) {
    fault(stream, handler, error);
  }
}

function onError(this: OwnedSocket, error: Error): void {
  if (this.owner === undefined) return;
  this.owner.error = streamError(error);
  if (this.owner.error.code === "EMFILE") becameScarce();
}

function onClose(this: OwnedSocket): void {
  const stream = this.owner;
  if (stream === undefined) return;
  this.owner = undefined;
  stream.closed = true;
  stream.uncount();
  stream.unwatch();
  const { handler } = stream;
  try {
    handler.onClose(stream, stream.error);
  } catch (error) {
    fault(stream, handler, error);
  }
}

let open = 0;

/** How many streams of this thread are open, to clients and to upstreams. */
export function openStreams(): number {
  return open;
}

export class TcpStream implements Stream, PausedStream {
  handler: StreamHandler;
  readonly socket: OwnedSocket;
  remote: Address;
  closed = false;
  error: StreamError | undefined = undefined;
  localAddress: Address | undefined = undefined;
  private counted = true;
  private corked = 0;
  /** Bytes handed to `write`, and those of them that were lost when the socket was destroyed. */
  private written = 0;
  private lost = -1;
  /** The handle, for what node:net does not tell; undefined until connected, and where it is not as expected. */
  private counts: HandleCounts | undefined = undefined;
  /** Where text goes without node:stream; undefined until connected, where that cannot be, and while a write waits. */
  private direct: DirectHandle | undefined = undefined;
  /** Bytes of a direct write that the kernel did not take at once. */
  private waiting = 0;
  /** `write` has answered false, and `onDrain` has not followed. */
  private draining = false;
  /** An empty write stands at the end of the socket's queue; it says when what was before it has left. */
  private marked = false;
  /** It is paused, and its peer watched. */
  private watched = false;

  constructor(socket: OwnedSocket, remote: Address, handler: StreamHandler) {
    open++;
    this.socket = socket;
    this.remote = remote;
    this.handler = handler;
    socket.owner = this;
    socket.on("end", onEnd);
    socket.on("error", onError);
    socket.on("close", onClose);
  }

  /** Its place is free as soon as it is to be closed. */
  uncount(): void {
    if (this.counted) open--;
    this.counted = false;
  }

  get local(): Address {
    if (this.localAddress === undefined) {
      const { localAddress, localPort, localFamily } = this.socket;
      if (localAddress === undefined || localPort === undefined)
        return this.remote.family === "unix" ? this.remote : NO_ADDRESS;
      this.localAddress = socketAddress(localAddress, localPort, localFamily);
    }
    return this.localAddress;
  }

  get queued(): number {
    return this.socket.writableLength + this.waiting;
  }

  /** From now on text may be written directly: the socket is connected. */
  connected(): void {
    this.direct = directHandle(this.socket);
    this.counts = handleCounts(this.socket);
  }

  get descriptor(): number {
    return descriptorOf((this.socket as unknown as { _handle?: unknown })._handle);
  }

  get unsent(): number {
    if (this.lost >= 0) return this.lost;
    const { counts } = this;
    return counts === undefined ? this.queued : this.written - counts.bytesWritten + counts.writeQueueSize;
  }

  countLost(): void {
    if (this.lost < 0) this.lost = this.unsent;
  }

  write(data: Uint8Array | string): boolean {
    const socket = this.socket;
    if (this.closed || socket.destroyed) return true;
    const { length } = data;
    this.written += length;
    if (typeof data === "string") return this.writeText(data);
    if (length > READ_SIZE) socket.write(Buffer.from(data));
    else if (length <= STACK_WRITE && data instanceof Buffer) return this.writeText(byteString(data, 0, length));
    else this.writeCopy(data, length);
    return this.settled();
  }

  private writeCopy(data: Uint8Array, length: number): void {
    const { socket } = this;
    const copy = copies.pop() ?? Buffer.allocUnsafeSlow(READ_SIZE);
    copy.set(data);
    let lent = true;
    const giveBack = (): void => {
      if (lent && copies.length < COPIES) copies.push(copy);
      lent = false;
    };
    socket.write(length === READ_SIZE ? copy : copy.subarray(0, length), giveBack);
    if (socket.writableLength === 0) giveBack();
  }

  private writeText(text: string): boolean {
    const { socket, direct } = this;
    if (direct === undefined || this.corked > 0 || text.length > STACK_WRITE || socket.writableLength > 0) {
      socket.write(text, "latin1");
      return this.settled();
    }
    const result = direct.writeLatin1String(null, text);
    if (typeof result === "number") {
      if (result !== 0) this.fail(result);
      return true;
    }
    // What follows is queued behind it by node:stream, which hands it to the same queue.
    this.direct = undefined;
    this.waiting = text.length;
    const ended = (status: number): void => {
      this.waiting = 0;
      if (this.closed || this.socket.destroyed) return;
      if (status < 0) this.fail(status);
      else this.direct = direct;
    };
    result.oncomplete = (status) => {
      try {
        ended(status);
      } catch (error) {
        fault(this, this.handler, error);
        return;
      }
      this.emptied();
    };
    if (result.writeStatus !== null) ended(result.writeStatus);
    return this.settled();
  }

  /** What `write` answers: whether the kernel has taken everything. If not, sees to it that `onDrain` follows. */
  private settled(): boolean {
    const { socket } = this;
    if (this.corked > 0 || socket.destroyed) return true;
    if (socket.writableLength === 0) {
      if (this.waiting === 0) return true;
    } else if (!this.marked) {
      // node:net's own "drain" comes only after its high-water mark.
      this.marked = true;
      socket.write("", () => this.unmark());
    }
    this.draining = true;
    return false;
  }

  private unmark(): void {
    this.marked = false;
    this.emptied();
  }

  /** Something has left: perhaps that was all. */
  private emptied(): void {
    if (!this.draining || this.closed || this.socket.destroyed) return;
    this.draining = false;
    // After `end` nothing more can be queued, and what is queued ends with the stream.
    if (this.queued > 0 && !this.socket.writableEnded && !this.settled()) return;
    const { handler } = this;
    try {
      handler.onDrain(this);
    } catch (error) {
      fault(this, handler, error);
    }
  }

  /** A write failed with this negated errno. */
  private fail(status: number): void {
    const code = getSystemErrorName(status);
    this.socket.destroy(Object.assign(new Error(code), { code }));
  }

  cork(): void {
    this.corked++;
    this.socket.cork();
  }

  uncork(): boolean {
    this.corked--;
    this.socket.uncork();
    return this.settled();
  }

  pause(): void {
    this.socket.pause();
    if (this.watched || this.closed || this.handler.onPeerClosed === undefined) return;
    this.watched = true;
    watchPeer(this);
  }

  resume(): void {
    this.unwatch();
    this.socket.resume();
  }

  unwatch(): void {
    if (this.watched) unwatchPeer(this);
    this.watched = false;
  }

  peerClosed(): void {
    const { handler } = this;
    try {
      handler.onPeerClosed?.(this);
    } catch (error) {
      fault(this, handler, error);
    }
  }

  peerFailed(errno: number): void {
    this.fail(-errno);
  }

  end(): void {
    if (!this.closed && !this.socket.destroyed) this.socket.end();
  }

  close(): void {
    if (!this.closed && !this.socket.destroyed) this.socket.destroySoon();
  }

  destroy(reset?: boolean): void {
    if (this.closed || this.socket.destroyed) return;
    this.uncount();
    // A unix socket has no reset, and node:net throws where it is asked for one.
    if (reset && this.remote.family !== "unix") this.socket.resetAndDestroy();
    else this.socket.destroy();
  }

  setNoDelay(on: boolean): void {
    this.socket.setNoDelay(on);
  }

  setKeepAlive(on: boolean, idleSeconds?: number): void {
    this.socket.setKeepAlive(on, idleSeconds === undefined ? undefined : idleSeconds * 1000);
  }
}

/** What node:net does not do: the descriptor of an accepted connection's handle. */
function descriptorOf(client: unknown): number {
  if (typeof client !== "object" || client === null || !("fd" in client)) return -1;
  return typeof client.fd === "number" ? client.fd : -1;
}
