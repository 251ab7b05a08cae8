import { SlabQueue } from "../../../net/slabs.ts";
import { now } from "../../../sys/clock.ts";
import { clearDeadline, Deadline, setDeadline } from "../../../sys/timers.ts";
import { FRAME_HEAD } from "../../../wire/h2/frames.ts";
import type { HeaderList } from "../../../wire/http1/header_list.ts";
import { bodyWritable, FLUSH, LAST } from "../../core/filters.ts";
import type { Request } from "../../core/request.ts";
import { computeRate } from "../rated_output.ts";
import { type H2Output, SERVED, type WaitingStream } from "./output.ts";
import { informationalBlock, responseBlock, trailersBlock } from "./response_block.ts";

/** How soon more is sent where limit_rate holds it back, ms. */
const RATE_MS = 100;

/** A stream sends so many bytes at a time: one that gets far needs its server, and memory, for less long. */
const TURN = 64 * 1024;

/** The exchange whose output it is. */
export interface StreamOutputOwner {
  readonly id: number;
  /** The one whose response is being sent. */
  readonly current: Request | undefined;
  readonly closed: boolean;
  /** After `finalize`: all was put into frames. */
  complete(request: Request): void;
  /** The kernel has all that was sent. */
  onSent(): void;
  /** The client has taken nothing for send_timeout. */
  sendTimedOut(request: Request): void;
  onFault(error: unknown): void;
}

/** A stream's output: the response's head and body as frames, as far as both windows let them go, and limit_rate and send_timeout. */
export class H2StreamOutput implements WaitingStream {
  readonly id: number;
  /** How much the client lets us send. */
  window: number;
  /** Bytes sent, heads of frames included. */
  sent = 0;
  urgency = 3;
  incremental = true;
  waiting = false;
  mark = 0;
  /** END_STREAM was sent. */
  ended = false;
  private readonly owner: StreamOutputOwner;
  private readonly output: H2Output;
  /** The response's header block, until the body's first bytes are sent with it. */
  private head: string | undefined = undefined;
  /** What the windows have no room for; made when there is any. */
  private queue: SlabQueue | undefined = undefined;
  /** The last byte of the response is queued, or was sent. */
  private last = false;
  /** The response is complete, but not all of it was sent. */
  private finalizing = false;
  /** Its source waits until there is room. */
  private sourceWaits = false;
  private deadline: Deadline<H2StreamOutput> | undefined = undefined;
  /** It is limit_rate's; send_timeout begins after it, where the windows have been closed meanwhile. */
  private rated = false;
  /** `sent` when the deadline was armed. */
  private progress = 0;

  constructor(owner: StreamOutputOwner, output: H2Output, window: number) {
    this.id = owner.id;
    this.owner = owner;
    this.output = output;
    this.window = window;
  }

  private get queued(): number {
    return this.queue === undefined ? 0 : this.queue.length;
  }

  /** The source is to wait for `onRoom`. */
  get blocked(): boolean {
    return this.sourceWaits || this.queued > 0;
  }

  // ---- heads

  sendInformational(status: number, fields: HeaderList): void {
    this.sent += this.output.putHeaders(this.id, informationalBlock(status, fields), false);
  }

  holdHead(request: Request): void {
    this.head = responseBlock(request);
    request.sentAtStart = this.sent;
  }

  /** Sends the head, if it was not sent yet. */
  sendHead(request: Request, endStream: boolean): void {
    const { head } = this;
    if (head === undefined || this.ended || this.owner.closed) return;
    this.head = undefined;
    const bytes = this.output.putHeaders(this.id, head, endStream);
    this.sent += bytes;
    request.headSize += bytes;
    if (endStream) this.ended = true;
  }

  // ---- the body

  /** Sends body bytes, lent for the call. False: `blocked`. */
  send(request: Request, bytes: Uint8Array | string, flags: number): boolean {
    if (this.last) return true;
    const last = (flags & LAST) !== 0;
    const trailers = last ? request.response.trailers : undefined;
    const { length } = bytes;
    if (last) this.last = true;
    if (last && length === 0 && this.head !== undefined && trailers === undefined) {
      this.sendHead(request, true);
      return true;
    }
    if (length > 0 || last || (flags & FLUSH) !== 0) this.sendHead(request, false);
    let at = 0;
    if (this.queued === 0) {
      while (at < length) {
        const room = this.room(request, length - at);
        if (room <= 0) break;
        const until = at + room;
        this.sendData(request, bytes, at, until, last && until === length && trailers === undefined);
        at = until;
      }
    }
    if (at < length) this.keep(request, bytes, at);
    else if (this.queued > 0) return false;
    else if (last && !this.ended) this.endStream(request);
    else if (!last && this.output.full) this.await(request);
    return !this.blocked;
  }

  private keep(request: Request, bytes: Uint8Array | string, from: number): void {
    this.queue ??= new SlabQueue();
    const rest = typeof bytes === "string" ? Buffer.from(bytes.slice(from), "latin1") : bytes.subarray(from);
    this.queue.push(rest);
    this.await(request);
  }

  /** How many bytes may be sent in one frame now. */
  private room(request: Request, wanted: number): number {
    const { output } = this;
    if (output.full) return 0;
    const room = Math.min(wanted, output.mostData, request.location.core.http2ChunkSize, this.window);
    if (request.limitRate === 0) return room;
    return Math.min(room, this.allowance(request));
  }

  /** What limit_rate allows now; the rest waits for the deadline. */
  private allowance(request: Request): number {
    if (request.limitRate < 0 || request.limitRateAfter < 0) computeRate(request);
    const { limitRate: rate, limitRateAfter: after } = request;
    if (rate === 0) return Number.POSITIVE_INFINITY;
    const elapsed = now() - request.startedAt;
    const budget = Math.floor((rate * (elapsed + 1000)) / 1000) - (this.sent - request.sentAtStart - after);
    return Math.max(0, budget);
  }

  private sendData(
    request: Request,
    bytes: Uint8Array | string,
    from: number,
    until: number,
    endStream: boolean,
  ): void {
    this.output.putData(this.id, bytes, from, until, endStream);
    this.count(request, until - from, endStream);
  }

  private count(request: Request, length: number, endStream: boolean): void {
    this.window -= length;
    this.sent += FRAME_HEAD + length;
    request.headSize += FRAME_HEAD;
    if (endStream) this.ended = true;
  }

  /** The end, where it did not go with the last bytes. */
  private endStream(request: Request): void {
    const { trailers } = request.response;
    if (trailers !== undefined && trailers.count > 0) {
      const bytes = this.output.putHeaders(this.id, trailersBlock(trailers), true);
      this.sent += bytes;
      request.headSize += bytes;
      this.ended = true;
    } else {
      this.sendData(request, "", 0, 0, true);
    }
  }

  /** Waits for room on the connection, or for what else holds it back. */
  private await(request: Request): void {
    this.sourceWaits = true;
    this.progress = this.sent;
    const { window, output } = this;
    if (this.queued === 0 || window > 0) output.await(this);
    this.arm(request, window > 0 && output.window > 0 && !output.full);
  }

  /** `open`: nothing but limit_rate can hold it back. */
  private arm(request: Request, open: boolean): void {
    this.rated = open && request.limitRate > 0;
    this.deadline ??= new Deadline<H2StreamOutput>(this, expired);
    setDeadline(this.deadline, this.rated ? RATE_MS : request.location.core.sendTimeout);
  }

  /** The client lets us send so many bytes more, or fewer. */
  opened(bytes: number): void {
    this.window += bytes;
    if (this.window > 0 && this.sourceWaits) this.output.ready(this);
  }

  /** Its priority has changed. */
  moved(): void {
    if (!this.waiting) return;
    this.output.leave(this);
    this.output.await(this);
  }

  onRoom(): number {
    const { current: request, closed } = this.owner;
    const { queue } = this;
    if (request === undefined || closed) return SERVED.over;
    if (queue !== undefined && queue.length > 0) {
      if (!this.sendQueued(request, queue)) return this.holdBack(request);
      if (queue.length > 0) {
        if (this.deadline !== undefined) this.arm(request, false);
        return SERVED.more;
      }
      if (this.last && !this.ended) this.endStream(request);
    }
    this.sourceWaits = false;
    if (this.deadline !== undefined) clearDeadline(this.deadline);
    if (this.finalizing) this.owner.complete(request);
    else bodyWritable(request);
    return SERVED.over;
  }

  /** Sends frames of what is queued, up to TURN bytes. False: none may be sent. */
  private sendQueued(request: Request, queue: SlabQueue): boolean {
    let sent = 0;
    while (queue.length > 0 && sent < TURN) {
      const room = this.room(request, queue.length);
      if (room <= 0) break;
      const ends = room === queue.length && this.last && request.response.trailers === undefined;
      this.output.putQueued(this.id, queue, room, ends);
      this.count(request, room, ends);
      sent += room;
    }
    return sent > 0;
  }

  /** Why nothing may be sent: the connection's window, the stream's, or limit_rate. */
  private holdBack(request: Request): number {
    if (this.output.window <= 0) return SERVED.more;
    if (this.window > 0) this.arm(request, true);
    return SERVED.over;
  }

  /** The response is complete: `complete` of the owner follows, at once where nothing waits. */
  finalize(request: Request): void {
    if (this.head !== undefined) this.sendHead(request, request.headerOnly || this.queued === 0);
    if (this.queued > 0 && !this.owner.closed) this.finalizing = true;
    else this.owner.complete(request);
  }

  /** Another request of the same client follows (post_action), to which nothing is sent. */
  stop(): void {
    this.last = true;
    this.finalizing = false;
  }

  /** No more is sent. */
  free(): void {
    this.output.leave(this);
    this.queue?.clear();
    this.sourceWaits = false;
    if (this.deadline !== undefined) clearDeadline(this.deadline);
  }

  onSent(): void {
    this.owner.onSent();
  }

  expire(): void {
    const { current: request } = this.owner;
    if (request === undefined) return;
    if (this.rated || this.sent !== this.progress) {
      this.await(request);
      this.output.ready(this);
      return;
    }
    this.owner.sendTimedOut(request);
  }

  onFault(error: unknown): void {
    this.owner.onFault(error);
  }
}

function expired(output: H2StreamOutput): void {
  output.expire();
}
