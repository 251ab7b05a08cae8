import { errnoName } from "../../sys/errno.ts";
import { libc } from "../../sys/libc.ts";
import { type Address, NO_ADDRESS } from "../address.ts";
import { becameScarce, isLate } from "../descriptors.ts";
import { streamError } from "../errors.ts";
import { type ConnectHandler, fault, NO_ROOM, type Stream, type StreamError, type StreamHandler } from "../stream.ts";
import type { Context } from "./context.ts";
import type { Operator } from "./owners.ts";
import { Receiver, type ReceiverOwner } from "./receiver.ts";
import { KIND } from "./ring.ts";
import { Sender, type SenderOwner } from "./sender.ts";
import { localAddress } from "./socket_address.ts";

const SHUT_WR = 1;
/** <sys/socket.h>, <netinet/tcp.h> */
const SOL_SOCKET = 1;
const SO_ERROR = 4;
const SO_KEEPALIVE = 9;
const SO_LINGER = 13;
const IPPROTO_TCP = 6;
const TCP_NODELAY = 1;
const TCP_KEEPIDLE = 4;

/** A socket as a stream: its life from connecting or accepting to closing. */
export class UringStream implements Stream, Operator, ReceiverOwner, SenderOwner {
  handler: StreamHandler;
  readonly remote: Address;
  closed = false;
  readonly id: number;
  /** -1: there is none. */
  readonly fd: number;
  private readonly context: Context;
  private readonly receiver: Receiver;
  private readonly sender: Sender;
  private localAddress: Address | undefined;
  private error: StreamError | undefined = undefined;
  /** `write` has answered false, and `onDrain` has not followed. */
  private draining = false;
  /** `end` was called; then our side was closed. */
  private ending = false;
  private shut = false;
  /** The peer's side is closed. */
  private peerEnded = false;
  /** It keeps the process alive: there may be events, as node:net sees it. */
  private held = true;

  constructor(
    context: Context,
    fd: number,
    remote: Address,
    local: Address | undefined,
    handler: StreamHandler,
    connected: boolean,
  ) {
    this.context = context;
    this.fd = fd;
    this.remote = remote;
    this.localAddress = local;
    this.handler = handler;
    this.id = context.ring.owners.add(this);
    this.receiver = new Receiver(this, context);
    this.sender = new Sender(this, context, connected);
    context.open++;
    context.loop.hold();
  }

  get local(): Address {
    if (this.localAddress === undefined) {
      const known = this.closed ? undefined : localAddress(this.context.calls, this.fd);
      if (known === undefined) return this.remote.family === "unix" ? this.remote : NO_ADDRESS;
      this.localAddress = known.family === "unix" ? this.remote : known;
    }
    return this.localAddress;
  }

  get sending(): boolean {
    return !this.closed && this.sender.unsent > 0;
  }

  get unsent(): number {
    return this.sender.unsent;
  }

  get watchful(): boolean {
    return this.handler.onPeerClosed !== undefined;
  }

  // ---- completions

  complete(kind: number, result: number, flags: number): void {
    if (kind === KIND.receive) this.receiver.complete(result, flags);
    else if (kind === KIND.send) this.sender.complete(result);
    else if (kind === KIND.poll) this.receiver.polled(result);
    else if (kind === KIND.room) this.sender.roomy();
    else if (kind === KIND.connect) this.connectCompleted(result);
    if (this.closed && !this.context.ring.owners.busy(this.id)) this.gone();
  }

  private connectCompleted(result: number): void {
    if (this.closed) return;
    if (result < 0) this.failed(streamError({ code: errnoName(result) }));
    else this.connected();
  }

  /** The socket is connected. */
  connected(): void {
    if (this.closed) return;
    const { handler } = this;
    if (isLate(this.fd)) becameScarce();
    this.sender.connect();
    try {
      if ("onConnect" in handler) (handler as ConnectHandler).onConnect(this);
    } catch (error) {
      fault(this, handler, error);
    }
    this.receiver.start();
  }

  /** Begins to receive. */
  start(): void {
    this.receiver.start();
  }

  received(bytes: Buffer): void {
    const { handler } = this;
    try {
      handler.onData(this, bytes);
    } catch (error) {
      fault(this, handler, error);
    }
  }

  ended(): void {
    const { handler } = this;
    this.peerEnded = true;
    if (this.sender.unsent === 0 && !this.draining) this.letGo();
    try {
      handler.onEnd(this);
    } catch (error) {
      fault(this, handler, error);
    }
    if (this.shut) this.destroy();
  }

  peerClosed(): void {
    const { handler } = this;
    try {
      handler.onPeerClosed?.(this);
    } catch (error) {
      fault(this, handler, error);
    }
  }

  emptied(): void {
    const { handler } = this;
    if (this.draining) {
      this.draining = false;
      try {
        handler.onDrain(this);
      } catch (error) {
        fault(this, handler, error);
        return;
      }
    }
    if (this.closed || this.draining || this.sender.unsent > 0) return;
    if (this.peerEnded) this.letGo();
    if (this.ending) this.shutdown();
    try {
      this.handler.onSent?.(this);
    } catch (error) {
      fault(this, handler, error);
    }
    if (this.shut && this.peerEnded) this.destroy();
  }

  failed(error: StreamError): void {
    if (this.closed) return;
    this.error = error;
    this.destroy();
  }

  private gone(): void {
    const { handler, context } = this;
    context.ring.owners.remove(this.id);
    this.letGo();
    try {
      handler.onClose(this, this.error);
    } catch (error) {
      fault(this, handler, error);
    }
  }

  private letGo(): void {
    if (this.held) this.context.loop.letGo();
    this.held = false;
  }

  /** There are events again. */
  private hold(): void {
    if (!this.held) this.context.loop.hold();
    this.held = true;
  }

  // ---- calls

  write(data: Uint8Array | string): boolean {
    if (this.closed || this.ending) return true;
    if (data.length > 0) {
      this.sender.write(data);
      if (this.peerEnded && this.sender.unsent > 0 && !this.closed) this.hold();
    }
    return this.settled();
  }

  /** What `write` answers. */
  private settled(): boolean {
    if (!this.sender.waits || this.closed) return true;
    this.draining = true;
    return false;
  }

  sendFile(file: number, offset: number, length: number, before: string): number {
    if (this.closed || this.ending) return NO_ROOM;
    const sent = this.sender.sendFile(file, offset, length, before);
    if (sent === NO_ROOM && !this.closed) {
      this.draining = true;
      this.hold();
    }
    return sent;
  }

  spliceTo(to: Stream): number {
    if (this.closed || !(to instanceof UringStream) || to.closed || to.ending || !to.sender.idle) return 0;
    const { pipe } = this.context;
    const count = this.receiver.fill(pipe);
    if (count > 0) {
      to.sender.sendPiped(pipe);
      if (to.peerEnded && to.sender.unsent > 0 && !to.closed) to.hold();
    }
    return count;
  }

  cork(): void {
    this.sender.cork();
  }

  uncork(): boolean {
    this.sender.uncork();
    return this.settled();
  }

  pause(): void {
    if (!this.closed) this.receiver.pause();
  }

  resume(): void {
    if (!this.closed) this.receiver.resume();
  }

  end(): void {
    if (this.closed || this.ending) return;
    this.ending = true;
    if (this.sender.unsent > 0) return;
    this.shutdown();
    if (this.peerEnded) this.destroy();
  }

  private shutdown(): void {
    this.shut = true;
    this.context.calls.shutdown(this.fd, SHUT_WR);
  }

  destroy(reset?: boolean): void {
    if (this.closed) return;
    const { context, id, fd } = this;
    const { ring } = context;
    this.closed = true;
    // Until onClose, whatever else there is.
    this.hold();
    context.open--;
    this.sender.close();
    this.receiver.close();
    if (fd < 0) {
      context.loop.loop.defer(goneNow, this, undefined);
      return;
    }
    if (reset && this.remote.family !== "unix") libc().setsockopt(fd, SOL_SOCKET, SO_LINGER, LINGER_NOT);
    // In this order: the number may be another socket's as soon as it is closed.
    ring.cancelAll(id);
    ring.closeFile(id, fd);
  }

  /** To be called by `goneNow`. */
  goneNow(): void {
    this.gone();
  }

  /** The process ends. */
  abandon(): void {
    if (this.fd >= 0) this.context.calls.close(this.fd);
  }

  takeError(): number {
    INT.writeInt32LE(4, 4);
    return libc().getsockopt(this.fd, SOL_SOCKET, SO_ERROR, VALUE, LENGTH) === 0 ? INT.readInt32LE() : 0;
  }

  setNoDelay(on: boolean): void {
    if (this.remote.family !== "unix") this.setOption(IPPROTO_TCP, TCP_NODELAY, on ? 1 : 0);
  }

  setKeepAlive(on: boolean, idleSeconds?: number): void {
    if (this.remote.family === "unix") return;
    this.setOption(SOL_SOCKET, SO_KEEPALIVE, on ? 1 : 0);
    if (on && idleSeconds !== undefined) this.setOption(IPPROTO_TCP, TCP_KEEPIDLE, idleSeconds);
  }

  private setOption(level: number, option: number, value: number): void {
    if (this.closed || this.fd < 0) return;
    INT.writeInt32LE(value);
    libc().setsockopt(this.fd, level, option, VALUE);
  }
}

function goneNow(stream: UringStream): void {
  stream.goneNow();
}

/** An option's value and its length, read and written during a call only. */
const INT = Buffer.alloc(8);
const VALUE = INT.subarray(0, 4);
const LENGTH = INT.subarray(4);
/** struct linger: on, for no time. */
const LINGER_NOT = Buffer.from([1, 0, 0, 0, 0, 0, 0, 0]);
