import { errnoName } from "../../sys/errno.ts";
import { streamError } from "../errors.ts";
import { NO_ROOM, NOT_THIS_FILE, type StreamError } from "../stream.ts";
import type { Context } from "./context.ts";
import { SendQueue } from "./send_queue.ts";

const EINTR = -4;
const EAGAIN = -11;
const EINVAL = -22;
const ENOSYS = -38;
const ECANCELED = -125;

/** While corked, more bytes than this are sent at once, behind what was gathered, instead of being copied. */
const GATHER = 16 * 1024;

/** Whose bytes are sent. None of these throw. */
export interface SenderOwner {
  readonly id: number;
  readonly fd: number;
  readonly closed: boolean;
  /** All that was queued has been sent. */
  emptied(): void;
  failed(error: StreamError): void;
}

/**
 * Sends what is written to a stream: with write(2) at once, straight from where it is, since a socket nearly always has room;
 * to prepare it for the ring and to hear of its end would cost as much. What the socket does not take is copied, and the ring
 * sends it when there is room.
 */
export class Sender {
  private readonly owner: SenderOwner;
  private readonly context: Context;
  private readonly queue: SendQueue;
  /** The ring is sending the first piece. */
  private sending = false;
  private connected: boolean;
  /** The socket had no room for bytes of a file: `roomy` will be called. */
  private awaiting = false;
  private corked = 0;
  /** Bytes that were lost when the stream was closed; else -1. */
  private lost = -1;

  constructor(owner: SenderOwner, context: Context, connected: boolean) {
    this.owner = owner;
    this.context = context;
    this.connected = connected;
    this.queue = new SendQueue(context.memory);
  }

  get unsent(): number {
    return this.lost >= 0 ? this.lost : this.queue.length;
  }

  /** Bytes wait for the socket to take them. */
  get waits(): boolean {
    return this.queue.length > 0 && this.corked === 0;
  }

  write(data: Uint8Array | string): void {
    const { length } = data;
    if (!this.connected || (this.queue.length > 0 && !this.passes(length)) || (this.corked > 0 && length <= GATHER)) {
      this.enqueue(typeof data === "string" ? Buffer.from(data, "latin1") : data, 0);
      return;
    }
    if (typeof data === "string" && length <= this.context.scratch.length) {
      const { scratch } = this.context;
      scratch.latin1Write(data, 0, length);
      const sent = this.taken(this.context.calls.write(this.owner.fd, this.context.scratchAddress, length));
      if (sent < length && sent >= 0) this.enqueue(scratch.subarray(0, length), sent);
      return;
    }
    const bytes = typeof data === "string" ? Buffer.from(data, "latin1") : data;
    const sent = this.taken(this.context.calls.writeBytes(this.owner.fd, bytes, length));
    if (sent < length && sent >= 0) this.enqueue(bytes, sent);
  }

  /** Whether the bytes may go to the socket although others are queued: those were only gathered, and are sent now. */
  private passes(length: number): boolean {
    return this.corked > 0 && length > GATHER && !this.sending && this.sendQueued(true);
  }

  /** What the socket took of a write; -1 if it failed. */
  private taken(result: number): number {
    if (result >= 0) return result;
    if (result === EAGAIN || result === EINTR) return 0;
    this.owner.failed(streamError({ code: errnoName(result) }));
    return -1;
  }

  /** Sends bytes of a file: see Stream.sendFile. */
  sendFile(file: number, offset: number, length: number): number {
    const { owner, context } = this;
    if (this.queue.length > 0 || !this.connected || this.corked > 0) return NO_ROOM;
    const sent = context.calls.sendFile(owner.fd, file, offset, length);
    if (sent >= 0) return sent;
    if (sent === EINVAL || sent === ENOSYS) return NOT_THIS_FILE;
    if (sent !== EAGAIN && sent !== EINTR) owner.failed(streamError({ code: errnoName(sent) }));
    else if (!this.awaiting) context.ring.awaitRoom(owner.id, owner.fd);
    this.awaiting = true;
    return NO_ROOM;
  }

  /** The socket has room again. */
  roomy(): void {
    this.awaiting = false;
    if (!this.owner.closed && this.queue.length === 0) this.owner.emptied();
  }

  private enqueue(bytes: Uint8Array, from: number): void {
    if (!this.queue.push(bytes, from)) this.owner.failed(streamError({ code: "ENOMEM" }));
    else if (this.corked === 0) this.send(true);
  }

  /** Has the ring send the first piece. `full`: the socket has no room now. */
  private send(full: boolean): void {
    const { owner } = this;
    const piece = this.queue.first();
    if (piece === undefined || this.sending || !this.connected || owner.closed) return;
    this.sending = true;
    const { start, end, addressLow, addressHigh } = piece;
    const low = addressLow + start;
    const high = low > 0xffffffff ? addressHigh + 1 : addressHigh;
    this.context.ring.send(owner.id, owner.fd, low >>> 0, high, end - start, full);
  }

  /** What the ring has sent. */
  complete(result: number): void {
    const { owner, queue } = this;
    this.sending = false;
    if (owner.closed) {
      if (result > 0) this.lost -= result;
      queue.clear();
      return;
    }
    if (result < 0 && result !== ECANCELED) {
      owner.failed(streamError({ code: errnoName(result) }));
      return;
    }
    if (result > 0) queue.drop(result);
    if (queue.length > 0) this.send(false);
    else owner.emptied();
  }

  /** Writes what was gathered; `more`: another write follows. False if the socket did not take all of it. */
  private sendQueued(more: boolean): boolean {
    const { owner, queue, context } = this;
    for (let piece = queue.first(); piece !== undefined; piece = queue.first()) {
      const { start, end, bytes } = piece;
      const view = start === 0 && end === bytes.length ? bytes : bytes.subarray(start, end);
      const { calls } = context;
      const result = more
        ? calls.writeMore(owner.fd, view, end - start)
        : calls.writeBytes(owner.fd, view, end - start);
      const sent = this.taken(result);
      if (sent < 0) return false;
      if (sent > 0) queue.drop(sent);
      if (sent < end - start) return false;
    }
    return true;
  }

  cork(): void {
    this.corked++;
  }

  uncork(): void {
    if (--this.corked > 0 || this.owner.closed || this.sending || !this.connected) return;
    if (this.queue.length > 0 && !this.sendQueued(false)) this.send(true);
  }

  /** The socket is connected: sends what was written before. */
  connect(): void {
    this.connected = true;
    if (this.corked === 0) this.send(false);
  }

  /** The stream is closed. What the kernel is sending from is kept until that is canceled. */
  close(): void {
    this.lost = this.queue.length;
    if (!this.sending) this.queue.clear();
  }
}
