import { errnoName } from "../../sys/errno.ts";
import { streamError } from "../errors.ts";
import { NO_ROOM, NOT_THIS_FILE, type StreamError } from "../stream.ts";
import type { Context } from "./context.ts";
import { SendQueue } from "./send_queue.ts";
import type { SplicePipe } from "./splice_pipe.ts";

const EINTR = -4;
const EAGAIN = -11;
const EINVAL = -22;
const ENOSYS = -38;
const ECANCELED = -125;

/** More bytes than this at once are written to the socket, instead of being copied. */
const COPIED = 16 * 1024;

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
 * Sends what is written to a stream. A few bytes go with the next `enter`, with those of other streams: a socket nearly always
 * has room, and takes them then. Many are written at once, straight from where they are. What the socket does not take is
 * copied, and the ring sends it when there is room.
 */
export class Sender {
  private readonly owner: SenderOwner;
  private readonly context: Context;
  /** What waits for room, if anything does. */
  private queue: SendQueue | undefined = undefined;
  /** The ring is sending the first piece of the queue. */
  private sending = false;
  /** A piece of the outbox goes before the queue: where it is, its length, and the position of its submission. */
  private postedAt = 0;
  private posted = 0;
  private position = 0;
  private connected: boolean;
  /** The socket had no room for more bytes of a file: `roomy` will be called. */
  private awaiting = false;
  private corked = 0;
  /** Bytes that were lost when the stream was closed; else -1. */
  private lost = -1;

  constructor(owner: SenderOwner, context: Context, connected: boolean) {
    this.owner = owner;
    this.context = context;
    this.connected = connected;
  }

  get unsent(): number {
    return this.lost >= 0 ? this.lost : this.queued + this.posted;
  }

  private get queued(): number {
    return this.queue === undefined ? 0 : this.queue.length;
  }

  /** Bytes wait for the socket to take them. */
  get waits(): boolean {
    return this.queued > 0 && this.corked === 0;
  }

  write(data: Uint8Array | string): void {
    const { length } = data;
    const { owner, context } = this;
    if (this.connected && this.queued === 0) {
      if (length <= COPIED && this.post(data, length)) return;
      if (this.posted === 0 || this.sendPosted()) {
        const bytes = typeof data === "string" ? Buffer.from(data, "latin1") : data;
        const sent = this.taken(context.calls.writeBytes(owner.fd, bytes, length), length);
        if (sent < length && sent >= 0) this.enqueue(bytes, sent);
        return;
      }
      if (owner.closed) {
        this.lost += length;
        return;
      }
    }
    this.enqueue(typeof data === "string" ? Buffer.from(data, "latin1") : data, 0);
  }

  /** Puts bytes into the outbox, behind those that this stream has there. */
  private post(data: Uint8Array | string, length: number): boolean {
    const { posted } = this;
    const { outbox, ring } = this.context;
    if (posted === 0) {
      const at = outbox.begin(length);
      if (at < 0) return false;
      outbox.put(data, at);
      this.postedAt = at;
      this.posted = length;
      const { fd, id } = this.owner;
      this.position = ring.sendNow(id, fd, outbox.addressLow(at), outbox.addressHigh(at), length);
      return true;
    }
    const end = this.postedAt + posted;
    const all = posted + length;
    if (all > COPIED || !ring.queues.isPrepared(this.position) || !outbox.extend(end, length)) return false;
    outbox.put(data, end);
    this.posted = all;
    ring.setLength(this.position, all);
    return true;
  }

  /** Writes what is in the outbox; another write follows. False if the socket did not take all of it. */
  private sendPosted(): boolean {
    const { posted } = this;
    const { outbox, ring } = this.context;
    if (!ring.queues.isPrepared(this.position)) return false;
    ring.retract(this.owner.id, this.position);
    outbox.end();
    this.posted = 0;
    return this.sendMore(this.postedAt, posted);
  }

  /** Sends a piece of the outbox; more follows. False if the socket did not take all of it. */
  private sendMore(at: number, length: number): boolean {
    const { outbox, calls } = this.context;
    const { fd } = this.owner;
    const sent = this.taken(calls.sendMore(fd, outbox.addressLow(at), outbox.addressHigh(at), length), length);
    if (sent < length && sent >= 0) this.enqueue(outbox.bytes.subarray(at, at + length), sent);
    return sent === length;
  }

  /** Sends text that bytes of a file follow. */
  private sendBefore(text: string): void {
    const { outbox } = this.context;
    const { length } = text;
    const at = this.idle && !this.awaiting && length <= COPIED ? outbox.begin(length) : -1;
    if (at < 0) {
      this.write(text);
      return;
    }
    outbox.put(text, at);
    outbox.end();
    this.sendMore(at, length);
  }

  /** What the socket took of a write of `length` bytes; -1 if it failed. */
  private taken(result: number, length: number): number {
    if (result >= 0) return result;
    if (result === EAGAIN || result === EINTR) return 0;
    this.owner.failed(streamError({ code: errnoName(result) }));
    this.lost += length;
    return -1;
  }

  /**
   * Sends bytes of a file: see Stream.sendFile. A socket that did not take all of them is full. To try again at once would
   * chase the peer: each segment that it reads meanwhile would cost a call. The kernel reports room when a third is free.
   */
  sendFile(file: number, offset: number, length: number, before: string): number {
    const { owner, context } = this;
    if (before !== "") this.sendBefore(before);
    if (this.awaiting || this.queued > 0 || !this.connected || this.corked > 0 || owner.closed) return NO_ROOM;
    if (this.posted > 0 && !this.sendPosted()) return NO_ROOM;
    const sent = context.calls.sendFile(owner.fd, file, offset, length);
    if (sent === length || sent === 0) return sent;
    if (sent === EINVAL || sent === ENOSYS) return NOT_THIS_FILE;
    if (sent < 0 && sent !== EAGAIN && sent !== EINTR) {
      owner.failed(streamError({ code: errnoName(sent) }));
      return NO_ROOM;
    }
    this.awaiting = true;
    context.ring.awaitRoom(owner.id, owner.fd);
    return sent > 0 ? sent : NO_ROOM;
  }

  /** Nothing is on its way to the socket, which may be given bytes by others. */
  get idle(): boolean {
    return this.connected && this.queued === 0 && this.posted === 0 && this.corked === 0;
  }

  /** Sends what is in the pipe: see Stream.spliceTo. */
  sendPiped(pipe: SplicePipe): void {
    const { owner } = this;
    this.taken(pipe.emptyInto(owner.fd), pipe.length);
    while (pipe.length > 0 && !owner.closed) {
      const bytes = Buffer.allocUnsafe(pipe.length);
      this.enqueue(bytes.subarray(0, pipe.read(bytes)), 0);
    }
    pipe.clear();
  }

  /** The socket has room again. */
  roomy(): void {
    this.awaiting = false;
    if (!this.owner.closed && this.unsent === 0) this.owner.emptied();
  }

  private enqueue(bytes: Uint8Array, from: number): void {
    this.queue ??= new SendQueue(this.context.memory);
    if (this.queue.push(bytes, from)) this.send(true);
    else this.owner.failed(streamError({ code: "ENOMEM" }));
  }

  /** Has the ring send the first piece of the queue. `full`: the socket has no room now. */
  private send(full: boolean): void {
    const { owner } = this;
    const piece = this.queue?.first();
    if (piece === undefined || this.sending || this.posted > 0 || !this.connected || owner.closed) return;
    this.sending = true;
    const { start, end, addressLow, addressHigh } = piece;
    const low = addressLow + start;
    const high = low > 0xffffffff ? addressHigh + 1 : addressHigh;
    this.context.ring.send(owner.id, owner.fd, low >>> 0, high, end - start, full);
  }

  /** What the ring has sent. */
  complete(result: number): void {
    if (this.posted > 0) {
      this.postedSent(result);
      return;
    }
    const { owner, queue } = this;
    this.sending = false;
    if (owner.closed) {
      if (result > 0) this.lost -= result;
      queue?.clear();
      return;
    }
    if (result < 0 && result !== ECANCELED) {
      owner.failed(streamError({ code: errnoName(result) }));
      return;
    }
    if (result > 0) queue?.drop(result);
    if (this.queued > 0) {
      this.send(false);
      return;
    }
    this.queue = undefined;
    owner.emptied();
  }

  private postedSent(result: number): void {
    const { owner, posted, postedAt } = this;
    const { outbox } = this.context;
    outbox.end();
    if (result === posted && !owner.closed) {
      this.posted = 0;
      if (this.queued > 0) this.send(false);
      else owner.emptied();
    } else if (owner.closed) {
      this.posted = 0;
      if (result > 0) this.lost -= result;
    } else if (result < 0 && result !== EAGAIN && result !== EINTR && result !== ECANCELED) {
      owner.failed(streamError({ code: errnoName(result) }));
      this.posted = 0;
    } else {
      this.posted = 0;
      const rest = outbox.bytes.subarray(postedAt + Math.max(result, 0), postedAt + posted);
      this.queue ??= new SendQueue(this.context.memory);
      if (this.queue.pushFirst(rest)) this.send(true);
      else owner.failed(streamError({ code: "ENOMEM" }));
    }
  }

  cork(): void {
    this.corked++;
  }

  uncork(): void {
    this.corked--;
  }

  /** The socket is connected: sends what was written before. */
  connect(): void {
    this.connected = true;
    this.send(false);
  }

  /** The stream is closed. What the kernel is sending from is kept until that is canceled. */
  close(): void {
    this.lost = this.unsent;
    if (!this.sending) this.queue?.clear();
  }
}
