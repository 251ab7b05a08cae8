/** `Stream` over node:net. */
import { enterEvent, leaveEvent } from "../../sys/clock.ts";
import { errnoName } from "../../sys/errno.ts";
import { byteString } from "../../wire/latin1.ts";
import { type Address, NO_ADDRESS, socketAddress } from "../address.ts";
import { becameScarce } from "../descriptors.ts";
import { streamError } from "../errors.ts";
import { fault, type Stream, type StreamError, type StreamHandler } from "../stream.ts";
import { type DirectHandle, directHandle, type HandleCounts, handleCounts } from "./direct_write.ts";
import type { OwnedSocket, SocketOwner } from "./owned_socket.ts";
import { type PausedStream, unwatchPeer, watchPeer } from "./paused_peers.ts";

/** Strings up to this size are sent by node:net from the stack, without a buffer of their own. */
const STACK_WRITE = 16 * 1024;

/** Buffers for copies of bytes being sent; one whose write completed at once is reused. */
const COPY_SIZE = 64 * 1024;
const copies: Buffer[] = [];
const COPIES = 16;

let open = 0;

/** How many streams of this process are open, to clients and to upstreams. */
export function openStreams(): number {
  return open;
}

export class TcpStream implements Stream, PausedStream, SocketOwner {
  handler: StreamHandler;
  readonly socket: OwnedSocket;
  remote: Address;
  closed = false;
  localAddress: Address | undefined = undefined;
  private error: StreamError | undefined = undefined;
  /** `end` was called. */
  private ending = false;
  private corked = 0;
  /** Bytes passed to `write`, and how many of them were lost when the socket was destroyed. */
  private written = 0;
  private lost = -1;
  /** Counters that node:net does not expose; undefined until connected, and if the handle is not as expected. */
  private counts: HandleCounts | undefined = undefined;
  /**
   * The handle that text is written to, bypassing node:stream; undefined until connected, if that is not possible, and
   * while a write is queued.
   */
  private direct: DirectHandle | undefined = undefined;
  /** Bytes of a direct write that the kernel has not taken. */
  private waiting = 0;
  /** `write` has returned false and `onDrain` has not been called. */
  private draining = false;
  /** An empty write is at the end of the socket's queue; its callback says that everything before it was sent. */
  private marked = false;
  /** It is paused, and its peer is watched. */
  private watched = false;

  constructor(socket: OwnedSocket, remote: Address, handler: StreamHandler) {
    open++;
    this.socket = socket;
    this.remote = remote;
    this.handler = handler;
    socket.owner = this;
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

  get sending(): boolean {
    return !this.closed && (this.waiting > 0 || this.socket.writableLength > 0);
  }

  /** Enables direct writes and counters: the socket is connected. */
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
    if (counts === undefined) return this.socket.writableLength + this.waiting;
    return this.written - counts.bytesWritten + counts.writeQueueSize;
  }

  // ---- events of the socket

  received(bytes: Buffer): void {
    const { handler } = this;
    enterEvent();
    try {
      handler.onData(this, bytes);
    } catch (error) {
      fault(this, handler, error);
    } finally {
      leaveEvent();
    }
  }

  ended(): void {
    if (this.closed) return;
    const { handler } = this;
    try {
      handler.onEnd(this);
    } catch (error) {
      fault(this, handler, error);
    }
  }

  failed(error: Error): void {
    this.error = streamError(error);
    if (this.error.code === "EMFILE") becameScarce();
  }

  closing(): void {
    if (this.closed) return;
    this.lost = this.unsent;
    this.closed = true;
    open--;
    this.unwatch();
  }

  gone(): void {
    this.socket.owner = undefined;
    const { handler } = this;
    try {
      handler.onClose(this, this.error);
    } catch (error) {
      fault(this, handler, error);
    }
  }

  // ---- bytes out

  write(data: Uint8Array | string): boolean {
    if (this.closed || this.ending) return true;
    const { length } = data;
    if (length === 0) return this.settled();
    this.written += length;
    if (typeof data === "string") return this.writeText(data);
    if (length > COPY_SIZE) this.socket.write(Buffer.from(data));
    else if (length <= STACK_WRITE) return this.writeText(byteString(data, 0, length));
    else this.writeCopy(data, length);
    return this.settled();
  }

  private writeCopy(data: Uint8Array, length: number): void {
    const { socket } = this;
    const copy = copies.pop() ?? Buffer.allocUnsafeSlow(COPY_SIZE);
    copy.set(data);
    let lent = true;
    const giveBack = (): void => {
      if (lent && copies.length < COPIES) copies.push(copy);
      lent = false;
    };
    socket.write(length === COPY_SIZE ? copy : copy.subarray(0, length), giveBack);
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
    // Later writes are queued behind it by node:stream, which uses the same queue.
    this.direct = undefined;
    this.waiting = text.length;
    const ended = (status: number): void => {
      this.waiting = 0;
      if (this.closed) return;
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

  /**
   * Returns whether the kernel has taken everything, as `write` does. If not, makes sure that `onDrain` and `onSent`
   * follow.
   */
  private settled(): boolean {
    if (this.corked > 0 || this.closed) return true;
    const { socket } = this;
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

  /** Bytes were sent, perhaps all. */
  private emptied(): void {
    if (!this.draining || this.closed) return;
    if (this.sending) {
      // After `end` no empty write can be queued; the callback of `socket.end` is called when all is sent.
      if (!this.ending) this.settled();
      return;
    }
    this.draining = false;
    const { handler } = this;
    try {
      handler.onDrain(this);
    } catch (error) {
      fault(this, handler, error);
      return;
    }
    if (!this.sending) this.allSent();
  }

  private allSent(): void {
    if (this.closed) return;
    const { handler } = this;
    try {
      handler.onSent?.(this);
    } catch (error) {
      fault(this, handler, error);
    }
  }

  /** A write failed with this negated errno. */
  private fail(status: number): void {
    const code = errnoName(status);
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
    if (this.closed) return;
    this.socket.pause();
    if (this.watched || this.handler.onPeerClosed === undefined) return;
    this.watched = true;
    watchPeer(this);
  }

  resume(): void {
    if (this.closed) return;
    this.unwatch();
    this.socket.resume();
  }

  private unwatch(): void {
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
    if (this.closed || this.ending) return;
    this.ending = true;
    if (this.sending) this.socket.end(() => this.emptied());
    else this.socket.end();
  }

  destroy(reset?: boolean): void {
    if (this.closed) return;
    // node:net cannot reset a unix socket, nor one that is connecting or half-closed.
    if (reset && this.remote.family !== "unix" && !this.ending && !this.socket.connecting)
      this.socket.resetAndDestroy();
    else this.socket.destroy();
  }

  setNoDelay(on: boolean): void {
    this.socket.setNoDelay(on);
  }

  setKeepAlive(on: boolean, idleSeconds?: number): void {
    this.socket.setKeepAlive(on, idleSeconds === undefined ? undefined : idleSeconds * 1000);
  }
}

/** The descriptor of an accepted connection's handle, which node:net does not expose. */
function descriptorOf(client: unknown): number {
  if (typeof client !== "object" || client === null || !("fd" in client)) return -1;
  return typeof client.fd === "number" ? client.fd : -1;
}
