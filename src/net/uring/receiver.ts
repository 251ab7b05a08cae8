import { errnoName } from "../../sys/errno.ts";
import { CQE_BUFFER, CQE_MORE } from "../../sys/io_uring.ts";
import { clearDeadline, Deadline, setDeadline } from "../../sys/timers.ts";
import { streamError } from "../errors.ts";
import { SlabQueue } from "../slabs.ts";
import type { StreamError } from "../stream.ts";
import type { Context } from "./context.ts";
import { KIND } from "./ring.ts";
import type { SplicePipe } from "./splice_pipe.ts";

const ENOBUFS = -105;
const ECANCELED = -125;
const EPIPE = -32;
const ECONNRESET = -104;
const ETIMEDOUT = -110;

/** <poll.h> */
const POLLERR = 0x8;
const POLLHUP = 0x10;
const POLLRDHUP = 0x2000;

/** Bulk receiving ends after as many short receives in a row. */
const SHORT_ENOUGH = 8;
/** A paused stream whose peer has half-closed is looked at again after so many ms. */
const LOOK_AGAIN_MS = 200;

/** Whose bytes are received. None of these throw. */
export interface ReceiverOwner {
  readonly id: number;
  readonly fd: number;
  readonly closed: boolean;
  /** Whether the handler wants to hear of its peer's end while it is paused. */
  readonly watchful: boolean;
  received(bytes: Buffer): void;
  ended(): void;
  peerClosed(): void;
  failed(error: StreamError): void;
  /** Reads and clears SO_ERROR. */
  takeError(): number;
}

/**
 * Receives what comes on a stream, in one of two ways. A multishot receive goes on for ever, with small buffers: for requests
 * and small responses. Where buffers come full, bulk follows: one receive at a time, with large buffers, asked for again after
 * each; so a greedy peer has one buffer a turn, and a paused stream at most one that nobody wants yet.
 */
export class Receiver {
  private readonly owner: ReceiverOwner;
  private readonly context: Context;
  /** A receive is under way, with large buffers if `armedBulk`. */
  private armed = false;
  private armedBulk = false;
  private canceling = false;
  private bulk = false;
  /** How many bulk receives in a row were short. */
  private short = 0;
  /** The last receive left nothing in the socket. */
  private drained = false;
  /** The handler has got a large buffer full of bytes, and what follows them is still in the socket. */
  private moreInSocket = false;
  private wanted = true;
  /** What came while it was paused. */
  private backlog: SlabQueue | undefined = undefined;
  /** What follows it: the peer's end, or a failure. */
  private atEnd = false;
  private failure: StreamError | undefined = undefined;
  /** `ended` was called. */
  private over = false;
  /** `received`, `ended` or `failed` will be called in the next turn. */
  private delivering = false;
  /** The socket is polled for its peer's end. */
  private polling = false;
  /** `beforeWait` will be called. */
  private listed = false;
  private again: Deadline<Receiver> | undefined = undefined;

  constructor(owner: ReceiverOwner, context: Context) {
    this.owner = owner;
    this.context = context;
  }

  /** Receives, unless that is under way, not wanted, or over. */
  start(): void {
    const { owner } = this;
    if (this.armed || this.over || owner.closed || !this.wanted || this.delivering) return;
    if (this.atEnd || this.backlog !== undefined || this.failure !== undefined) return;
    this.armed = true;
    this.armedBulk = this.bulk;
    const { ring, small, large } = this.context;
    ring.receive(owner.id, owner.fd, (this.bulk ? large : small).id, !this.bulk, this.drained);
  }

  /** A receive has a result. */
  complete(result: number, flags: number): void {
    const { owner } = this;
    if ((flags & CQE_MORE) === 0) {
      this.armed = false;
      this.canceling = false;
    }
    if ((flags & CQE_BUFFER) !== 0) {
      const group = this.armedBulk ? this.context.large : this.context.small;
      const number = flags >>> 16;
      if (result > 0 && !owner.closed) {
        this.measure(result, group.size);
        this.take(group.view(number, result));
      }
      group.giveBack(number);
    } else if (result === ENOBUFS) {
      (this.armedBulk ? this.context.large : this.context.small).starved();
      this.drained = false;
    } else if (result < 0 && result !== ECANCELED) {
      this.fail(streamError({ code: errnoName(result) }));
    }
    if (result === 0) this.end();
    if (!this.armed) this.start();
    if (!this.wanted) this.watch();
  }

  private measure(length: number, size: number): void {
    this.drained = length < size;
    if (!this.armedBulk) {
      if (length < size || this.bulk) return;
      this.bulk = true;
      this.short = 0;
      this.cancel();
    } else if (length >= size >> 2) {
      this.short = 0;
    } else if (++this.short === SHORT_ENOUGH) {
      this.bulk = false;
    }
  }

  private cancel(): void {
    if (!this.armed || this.canceling) return;
    this.canceling = true;
    this.context.ring.cancel(this.owner.id, KIND.receive);
  }

  private take(bytes: Buffer): void {
    if (this.wanted && this.backlog === undefined) {
      this.moreInSocket = this.armedBulk && !this.drained;
      this.owner.received(bytes);
      this.moreInSocket = false;
      return;
    }
    this.backlog ??= new SlabQueue();
    this.backlog.push(bytes);
    this.cancel();
  }

  /** Moves what follows the bytes that the handler has got into the pipe: see Stream.spliceTo. Returns how many. */
  fill(pipe: SplicePipe): number {
    const { owner } = this;
    if (!this.moreInSocket || !this.wanted) return 0;
    this.moreInSocket = false;
    const count = pipe.fillFrom(owner.fd);
    if (count > 0) return count;
    this.drained = true;
    // The error was the socket's, and is taken from it.
    if (count === ECONNRESET || count === ETIMEDOUT || count === EPIPE)
      owner.failed(streamError({ code: errnoName(count) }));
    return 0;
  }

  private end(): void {
    if (this.owner.closed) return;
    this.atEnd = true;
    if (this.wanted && this.backlog === undefined) this.tellEnd();
  }

  private tellEnd(): void {
    this.atEnd = false;
    this.over = true;
    this.owner.ended();
  }

  private fail(error: StreamError): void {
    const { owner } = this;
    if (owner.closed) return;
    if ((this.wanted && this.backlog === undefined) || (!this.wanted && owner.watchful)) owner.failed(error);
    else this.failure = error;
  }

  // ---- pausing

  pause(): void {
    if (!this.wanted) return;
    this.wanted = false;
    this.watch();
  }

  resume(): void {
    if (this.wanted) return;
    this.wanted = true;
    this.lookNoMore();
    if (this.backlog === undefined && !this.atEnd && this.failure === undefined) this.start();
    else this.deliverLater();
  }

  private deliverLater(): void {
    if (this.delivering) return;
    this.delivering = true;
    this.context.loop.loop.defer(deliver, this, undefined);
  }

  /** Hands over what came while it was paused. */
  deliver(): void {
    const { owner } = this;
    this.delivering = false;
    while (this.wanted && !owner.closed && this.backlog !== undefined) {
      const bytes = this.backlog.first();
      owner.received(bytes);
      if (this.backlog === undefined) return;
      this.backlog.drop(bytes.length);
      if (this.backlog.length === 0) this.backlog = undefined;
    }
    if (!this.wanted || owner.closed) return;
    const { failure } = this;
    if (failure !== undefined) {
      this.failure = undefined;
      owner.failed(failure);
    } else if (this.atEnd) {
      this.tellEnd();
    } else {
      this.start();
    }
  }

  /** Sees to it that a paused stream hears of its peer's end, where the handler wants that. */
  private watch(): void {
    const { owner, context } = this;
    if (this.listed || this.polling || owner.closed || !owner.watchful) return;
    if (this.again?.armed === true) return;
    this.listed = true;
    context.paused.push(this);
    context.loop.wake();
  }

  /** Polls the socket, if it is still paused: most pauses are over by now. A receive that is under way would tell as well. */
  beforeWait(): void {
    const { owner, context } = this;
    this.listed = false;
    if (this.wanted || owner.closed || this.polling || (this.armed && !this.canceling)) return;
    this.polling = true;
    context.ring.poll(owner.id, owner.fd, POLLRDHUP, false);
  }

  /** The poll has completed. */
  polled(result: number): void {
    const { owner } = this;
    this.polling = false;
    if (this.wanted || owner.closed) return;
    const errno = result < 0 || (result & POLLERR) === 0 ? 0 : owner.takeError();
    if (errno > 0) owner.failed(streamError({ code: errnoName(-errno) }));
    else if (result > 0 && (result & (POLLRDHUP | POLLHUP)) !== 0) owner.peerClosed();
    if (this.wanted || owner.closed) return;
    this.again ??= new Deadline<Receiver>(this, lookAgain);
    setDeadline(this.again, LOOK_AGAIN_MS);
  }

  lookAgain(): void {
    if (!this.wanted) this.watch();
  }

  /** The stream is closed. */
  close(): void {
    this.backlog?.clear();
    this.backlog = undefined;
    this.lookNoMore();
  }

  private lookNoMore(): void {
    if (this.again === undefined) return;
    clearDeadline(this.again);
    this.again = undefined;
  }
}

function deliver(receiver: Receiver): void {
  receiver.deliver();
}

function lookAgain(receiver: Receiver): void {
  receiver.lookAgain();
}
