import type { Address } from "../../../net/address.ts";
import type { ProxyProtocol } from "../../../net/proxy_protocol.ts";
import { SlabQueue } from "../../../net/slabs.ts";
import { logFault } from "../../../sys/guard.ts";
import { clearDeadline, Deadline, setDeadline } from "../../../sys/timers.ts";
import { ERROR, FRAME_HEAD } from "../../../wire/h2/frames.ts";
import type { HeaderList } from "../../../wire/http1/header_list.ts";
import { CLIENT_CLOSED_REQUEST, OK } from "../../core/codes.ts";
import { finalizeRequest } from "../../core/engine.ts";
import { bodyWritable, FLUSH, LAST } from "../../core/filters.ts";
import { freeRequest } from "../../core/free_request.ts";
import { logError, logException } from "../../core/log_context.ts";
import { postActionOf, runPostAction } from "../../core/post_action.ts";
import type { Request } from "../../core/request.ts";
import type { ClientConnection, ClientTls, Exchange } from "../../core/types.ts";
import { computeRate } from "../rated_output.ts";
import type { AddressConfig } from "../types.ts";
import { H2Body } from "./body.ts";
import type { RequestMemory } from "./request_memory.ts";
import { informationalBlock, responseBlock, trailersBlock } from "./response_block.ts";

/** The connection that a stream is on. */
export interface StreamOwner {
  readonly number: number;
  readonly requests: number;
  readonly startedAt: number;
  readonly remote: Address;
  readonly local: Address;
  readonly proxyProtocol: ProxyProtocol | undefined;
  readonly tls: ClientTls | undefined;
  readonly secure: boolean;
  readonly closed: boolean;
  readonly counters: Int32Array;
  /** The socket takes no more for now. */
  readonly full: boolean;
  /** How many bytes of DATA the connection's window has room for. */
  readonly window: number;
  /** How long a DATA frame may be. */
  readonly frameSize: number;
  /** Sends a DATA frame, which counts against the window; its bytes are lent for the call. */
  sendData(stream: number, bytes: Uint8Array, endStream: boolean): void;
  /** What is sent between `cork` and `uncork` goes out in as few calls as possible. */
  cork(): void;
  uncork(): void;
  /** Sends a header block of that stream. Returns how many bytes. */
  sendHeaders(stream: number, block: string, endStream: boolean): number;
  reset(stream: number, error: number): void;
  /** Bytes of the stream's body were taken: its window opens again. */
  consumed(stream: number, bytes: number): void;
  /** The stream has bytes queued, and wants to be asked when there is room. */
  wantsRoom(stream: H2Exchange): void;
  /** Calls `sent` when the kernel has all that was sent so far. */
  awaitSent(stream: H2Exchange): void;
  /** The request was freed. `outlived`: not all of its subrequests are over. */
  requestFreed(stream: H2Exchange, outlived: boolean): void;
  onFault(error: unknown): void;
}

/** A stream of HTTP/2: a request, its response, and flow control both ways. To its request it is the connection as well. */
export class H2Exchange implements Exchange, ClientConnection {
  readonly id: number;
  readonly config: AddressConfig;
  readonly memory: RequestMemory;
  /** $connection_requests as of this request. */
  readonly requests: number;
  readonly pipelined = false;
  readonly tunnel = undefined;
  atClose: (() => void)[] | undefined = undefined;
  /** How much the client lets us send. */
  window: number;
  /** Bytes sent for this stream, heads of frames included. */
  sent = 0;
  /** Waits for room in the connection's list. */
  waiting = false;
  readonly body: H2Body;

  private readonly owner: StreamOwner;
  private request: Request | undefined = undefined;
  /** The response's header block, until the body's first bytes are sent with it. */
  private head: string | undefined = undefined;
  private readonly queue = new SlabQueue();
  /** The last byte of the response is queued, or was sent. */
  private last = false;
  /** END_STREAM was sent. */
  private ended = false;
  /** The response is complete, but not all of it was sent. */
  private flushing = false;
  private gone = false;
  private readonly deadline: Deadline<H2Exchange>;
  private progress = 0;

  constructor(
    owner: StreamOwner,
    id: number,
    config: AddressConfig,
    memory: RequestMemory,
    window: number,
    recvWindow: number,
  ) {
    this.owner = owner;
    this.id = id;
    this.config = config;
    this.memory = memory;
    this.window = window;
    this.requests = owner.requests;
    this.body = new H2Body(this, owner, recvWindow);
    this.deadline = new Deadline<H2Exchange>(this, expired);
  }

  // ---- the connection, as its request sees it

  get number(): number {
    return this.owner.number;
  }

  get startedAt(): number {
    return this.owner.startedAt;
  }

  get remote(): Address {
    return this.owner.remote;
  }

  get local(): Address {
    return this.owner.local;
  }

  get proxyProtocol(): ProxyProtocol | undefined {
    return this.owner.proxyProtocol;
  }

  get tls(): ClientTls | undefined {
    return this.owner.tls;
  }

  get secure(): boolean {
    return this.owner.secure;
  }

  get closed(): boolean {
    return this.gone || this.owner.closed;
  }

  get counters(): Int32Array {
    return this.owner.counters;
  }

  get current(): Request | undefined {
    return this.request;
  }

  begin(request: Request): void {
    this.request = request;
    request.keepalive = true;
  }

  subrequestsEnded(): void {
    this.owner.requestFreed(this, false);
  }

  // ---- the request's body

  sendContinue(request: Request): void {
    request.expectContinue = false;
  }

  startBody(request: Request, whole = false): void {
    this.body.start(request, whole);
  }

  pauseBody(): void {
    this.body.pause();
  }

  resumeBody(): void {
    this.body.resume();
  }

  discardBody(request: Request): number {
    this.body.discard(request);
    return OK;
  }

  // ---- the response

  /** Its source is to wait: bytes are queued, or the socket takes none, and `onRoom` follows. */
  get blocked(): boolean {
    return this.waiting || this.queue.length > 0;
  }

  sendInformational(_request: Request, status: number, fields: HeaderList): void {
    if (!this.closed) this.sent += this.owner.sendHeaders(this.id, informationalBlock(status, fields), false);
  }

  sendHead(request: Request): void {
    this.head = responseBlock(request);
    request.sentAtStart = this.sent;
  }

  private writeHead(request: Request, endStream: boolean): void {
    const { head } = this;
    if (head === undefined || this.ended || this.closed) return;
    this.head = undefined;
    const bytes = this.owner.sendHeaders(this.id, head, endStream);
    this.sent += bytes;
    request.headSize += bytes;
    if (endStream) this.ended = true;
  }

  sendBody(request: Request, bytes: Uint8Array | string, flags: number): boolean {
    if (request !== this.request || this.closed || this.last) return true;
    const last = (flags & LAST) !== 0;
    const trailers = last ? request.response.trailers : undefined;
    if (last && bytes.length === 0 && this.head !== undefined && trailers === undefined) {
      this.last = true;
      this.writeHead(request, true);
      return true;
    }
    if (bytes.length > 0 || last || (flags & FLUSH) !== 0) this.writeHead(request, false);
    const data = typeof bytes === "string" ? Buffer.from(bytes, "latin1") : bytes;
    if (last) this.last = true;
    let at = 0;
    if (this.queue.length === 0) {
      const { owner } = this;
      owner.cork();
      while (at < data.length) {
        const room = this.room(request, data.length - at);
        if (room <= 0) break;
        this.writeData(
          request,
          data.subarray(at, at + room),
          last && at + room === data.length && trailers === undefined,
        );
        at += room;
      }
      owner.uncork();
    }
    if (at < data.length) this.queue.push(data.subarray(at));
    if (this.queue.length === 0) {
      if (last && !this.ended) this.endStream(request);
      else if (!last && this.owner.full) this.wait(request);
    } else {
      this.wait(request);
    }
    return !this.blocked;
  }

  /** How many bytes may be sent in one frame now. */
  private room(request: Request, wanted: number): number {
    const { owner } = this;
    if (owner.full) return 0;
    return Math.min(
      wanted,
      owner.frameSize,
      request.location.core.http2ChunkSize,
      this.window,
      owner.window,
      this.allowance(request),
    );
  }

  /** What limit_rate allows now; the rest waits for the deadline. */
  private allowance(request: Request): number {
    if (request.limitRate < 0 || request.limitRateAfter < 0) computeRate(request);
    const { limitRate: rate, limitRateAfter: after } = request;
    if (rate === 0) return Number.POSITIVE_INFINITY;
    const elapsed = performance.now() - request.startedAt;
    const budget = Math.floor((rate * (elapsed + 1000)) / 1000) - (this.sent - request.sentAtStart - after);
    return Math.max(0, budget);
  }

  private writeData(request: Request, bytes: Uint8Array, endStream: boolean): void {
    const { owner, id } = this;
    owner.sendData(id, bytes, endStream);
    this.window -= bytes.length;
    this.sent += FRAME_HEAD + bytes.length;
    request.headSize += FRAME_HEAD;
    if (endStream) this.ended = true;
  }

  /** The end, where it did not go with the last bytes. */
  private endStream(request: Request): void {
    const { trailers } = request.response;
    if (trailers !== undefined && trailers.count > 0) {
      this.sent += this.owner.sendHeaders(this.id, trailersBlock(trailers), true);
      this.ended = true;
    } else {
      this.writeData(request, NOTHING, true);
    }
  }

  private wait(request: Request): void {
    this.owner.wantsRoom(this);
    this.progress = this.sent;
    const rated = request.limitRate > 0 && this.window > 0 && this.owner.window > 0 && !this.owner.full;
    setDeadline(this.deadline, rated ? RATE_MS : request.location.core.sendTimeout);
  }

  /** There is room again: sends what is queued, one frame. Returns whether it wants more. */
  onRoom(): boolean {
    const { request, queue } = this;
    if (request === undefined || this.closed) return false;
    if (queue.length > 0) {
      const room = this.room(request, queue.length);
      if (room <= 0) {
        if (request.limitRate > 0) this.wait(request);
        return false;
      }
      const piece = queue.first().subarray(0, room);
      const { length } = piece;
      const over = length === queue.length && this.last && request.response.trailers === undefined;
      this.writeData(request, piece, over);
      queue.drop(length);
      if (queue.length > 0) {
        setDeadline(this.deadline, request.location.core.sendTimeout);
        return true;
      }
      if (this.last && !this.ended) this.endStream(request);
    }
    clearDeadline(this.deadline);
    if (this.flushing) this.complete(request);
    else bodyWritable(request);
    return false;
  }

  flush(): void {
    if (this.request !== undefined && !this.request.headerOnly) this.writeHead(this.request, false);
  }

  expire(): void {
    const { request } = this;
    if (request === undefined) return;
    if (request.limitRate > 0 && this.sent === this.progress && this.window > 0) {
      this.owner.wantsRoom(this);
      this.onRoom();
      return;
    }
    if (this.sent !== this.progress) {
      this.wait(request);
      return;
    }
    request.timedOut = true;
    logError(request, "info", "client timed out (110: Connection timed out) while sending response to client");
    this.terminate(request);
  }

  // ---- the end

  finalize(request: Request): void {
    if (this.head !== undefined) this.writeHead(request, request.headerOnly || this.queue.length === 0);
    if (this.queue.length > 0 && !this.closed) {
      this.flushing = true;
      return;
    }
    this.complete(request);
  }

  /** All of the response was handed to the socket, or the client is gone. */
  private complete(request: Request): void {
    this.flushing = false;
    if (!this.ended && !this.closed) {
      // It was broken off: the client must not take it for complete.
      this.terminate(request);
      return;
    }
    this.flushing = true;
    this.owner.awaitSent(this);
  }

  /** The kernel has all that was sent. */
  onSent(): void {
    const { request } = this;
    if (!this.flushing || request === undefined) return;
    this.flushing = false;
    if (this.startPostAction(request, false)) return;
    // ngx_http_v2_close_stream
    if (!this.body.ended && !this.closed) this.owner.reset(this.id, ERROR.NO_ERROR);
    this.free(request);
  }

  terminate(request: Request): void {
    if (!this.closed) this.owner.reset(this.id, this.resetCode(request));
    this.gone = true;
    if (this.request !== request || this.startPostAction(request, true)) return;
    this.free(request);
  }

  private resetCode({ timedOut }: Request): number {
    if (this.ended) return ERROR.NO_ERROR;
    return timedOut ? ERROR.PROTOCOL_ERROR : ERROR.INTERNAL_ERROR;
  }

  private startPostAction(request: Request, broken: boolean): boolean {
    const next = postActionOf(request, broken);
    if (next === undefined) return false;
    this.request = next;
    this.last = true;
    this.body.replace(next);
    runPostAction(next);
    return true;
  }

  private free(request: Request): void {
    this.request = undefined;
    this.gone = true;
    this.flushing = false;
    clearDeadline(this.deadline);
    this.queue.clear();
    freeRequest(request);
    this.body.release();
    if (this.atClose !== undefined) for (const close of this.atClose) close();
    const { subrequests } = request;
    this.owner.requestFreed(this, subrequests !== undefined && subrequests.count > 0);
  }

  /** The client has reset the stream, or the connection is closed (`sentence`: what the log says of that). */
  onClosed(sentence: string | undefined): void {
    const { request } = this;
    this.gone = true;
    if (request === undefined) return;
    request.aborted = true;
    if (sentence !== undefined && !request.finalized) logError(request, "info", sentence);
    if (!request.finalized) {
      if (request.bodySink !== undefined) this.body.fail(request, 400);
      else if (request.postAction) return;
      else if (request.onAbort !== undefined) request.onAbort(request);
      else finalizeRequest(request, CLIENT_CLOSED_REQUEST);
    }
    if (this.request === request && request.finalized && !this.startPostAction(request, true)) this.free(request);
  }

  // ---- exceptions

  onFault(error: unknown): void {
    const { request } = this;
    if (request === undefined) {
      this.owner.onFault(error);
      return;
    }
    try {
      this.fail(request, error);
    } catch (second) {
      logFault(second);
      this.giveUp(request);
    }
  }

  private fail(request: Request, error: unknown): void {
    if (request.refused === 0) logException(request, error);
    request.bodySink = undefined;
    request.discardBody = true;
    const { upstream } = request;
    if (request.finalized) {
      this.terminate(request);
    } else if (upstream !== undefined && !upstream.ended) {
      upstream.keepalive = false;
      upstream.finalize(500);
    } else {
      finalizeRequest(request, 500);
    }
  }

  private giveUp(request: Request): void {
    try {
      const { upstream } = request;
      if (upstream !== undefined && !upstream.ended) upstream.abandon();
      if (!request.headerSent) request.response.status = 500;
      this.terminate(request);
    } catch (error) {
      logFault(error);
    }
  }
}

const NOTHING = Buffer.alloc(0);
/** How soon more is sent where limit_rate holds it back, ms. */
const RATE_MS = 100;

function expired(exchange: H2Exchange): void {
  exchange.expire();
}
