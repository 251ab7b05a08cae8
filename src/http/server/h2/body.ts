import { SlabQueue } from "../../../net/slabs.ts";
import { clearDeadline, Deadline, setDeadline } from "../../../sys/timers.ts";
import { finalizeRequest } from "../../core/engine.ts";
import { logError, whileSending } from "../../core/log_context.ts";
import type { Request } from "../../core/request.ts";
import type { TunnelHandler } from "../../core/types.ts";

/** The window of a body that is taken as fast as it comes. */
const WHOLE_WINDOW = 1024 * 1024;

/** What a body needs of its stream and connection. */
export interface BodyOwner {
  /** Bytes of the stream's body were taken: its window opens again. */
  consumed(stream: number, bytes: number): void;
}

/**
 * A request's body: what has come before anybody reads it is kept, and that is no more than the stream's window (http2_body_preread_size),
 * which opens again as bytes are taken.
 */
export class H2Body {
  /** END_STREAM has come. */
  ended = false;
  /** How much more the client may send. */
  window: number;
  private readonly stream: { readonly id: number; onFault(error: unknown): void };
  private readonly owner: BodyOwner;
  private request: Request | undefined = undefined;
  /** Came while nobody read it. */
  private kept: SlabQueue | undefined = undefined;
  private paused = false;
  /** What was kept is being passed on: whoever gets it may have another one take the rest, or drop it. */
  private delivering = false;
  /** How large the window is when all that came was taken; and what was taken since it was opened last. */
  private most: number;
  private taken = 0;
  private deadline: Deadline<H2Body> | undefined = undefined;
  /** The status for whoever reads it, where what came is not what was declared, or the rest will not come; else 0. */
  private failed = 0;
  /** Gets what comes, in place of the request's sink. */
  private handler: TunnelHandler | undefined = undefined;

  constructor(stream: { readonly id: number; onFault(error: unknown): void }, owner: BodyOwner, window: number) {
    this.stream = stream;
    this.owner = owner;
    this.window = window;
    this.most = window;
  }

  private get waiting(): number {
    return this.kept === undefined ? 0 : this.kept.length;
  }

  private disarm(): void {
    if (this.deadline !== undefined) clearDeadline(this.deadline);
  }

  begin(request: Request): void {
    this.request = request;
    request.bodyEnded = this.ended && this.waiting === 0;
  }

  replace(request: Request): void {
    this.request = request;
  }

  release(): void {
    this.request = undefined;
    this.handler = undefined;
    this.kept?.clear();
    this.disarm();
  }

  /** Starts to deliver the body to the request's sink. `whole`: it is taken as fast as it comes, so the client may send more. */
  start(request: Request, whole: boolean): void {
    this.request = request;
    const room = whole ? WHOLE_WINDOW : Math.max(this.most, request.location.core.clientBodyBufferSize);
    if (this.failed !== 0) {
      this.fail(request, this.failed);
      return;
    }
    if (room > this.most && !this.ended) this.open(room - this.most);
    this.most = Math.max(this.most, room);
    this.deliver(request);
  }

  /** From now on `handler` gets what the client sends, and first what has come. */
  tunnel(handler: TunnelHandler): void {
    this.handler = handler;
    this.deliverTo(handler);
  }

  private deliverTo(handler: TunnelHandler): void {
    const { kept } = this;
    if (this.delivering) return;
    this.delivering = true;
    try {
      while (kept !== undefined && kept.length > 0 && !this.paused) {
        const piece = kept.first();
        const { length } = piece;
        handler.onClientData(piece);
        // The request may be over by now.
        if (this.handler !== handler) return;
        kept.drop(length);
        this.took(length);
      }
    } finally {
      this.delivering = false;
    }
    if (this.ended && this.waiting === 0 && !this.paused) handler.onClientEnd();
  }

  private receiveTo(handler: TunnelHandler, bytes: Buffer): void {
    if (this.paused || this.waiting > 0) {
      this.keep(bytes);
      return;
    }
    if (bytes.length > 0) handler.onClientData(bytes);
    if (this.handler !== handler) return;
    this.took(bytes.length);
    if (this.ended) handler.onClientEnd();
  }

  private keep(bytes: Buffer): void {
    if (bytes.length === 0) return;
    this.kept ??= new SlabQueue();
    this.kept.push(bytes);
  }

  lose(_request: Request, status: number): void {
    if (!this.ended && this.failed === 0) this.failed = status;
  }

  pause(): void {
    this.paused = true;
    this.disarm();
  }

  resume(): void {
    if (!this.paused) return;
    this.paused = false;
    if (this.handler !== undefined) this.deliverTo(this.handler);
    else if (this.request !== undefined) this.deliver(this.request);
  }

  /** Drops what has come, and what follows: the window does not open again. */
  discard(request: Request): void {
    request.discardBody = true;
    request.bodySink = undefined;
    this.paused = false;
    this.kept?.clear();
    this.disarm();
    if (this.ended) request.bodyEnded = true;
  }

  /** Bytes have come, lent for the call; END_STREAM with them where `last`. */
  receive(bytes: Buffer, last: boolean): void {
    const { request } = this;
    this.window -= bytes.length;
    if (last) this.ended = true;
    if (request === undefined) return;
    if (this.handler !== undefined) {
      request.length += bytes.length;
      this.receiveTo(this.handler, bytes);
      return;
    }
    if (request.discardBody) {
      if (last) request.bodyEnded = true;
      return;
    }
    // Whoever reads it has to hear of that: to be ended would be to have none.
    if (this.failed !== 0) return;
    if (!this.fits(request, bytes.length)) return;
    if (this.paused || request.bodySink === undefined || this.waiting > 0) {
      this.keep(bytes);
      if (this.waiting === 0 && last) this.end(request);
      return;
    }
    this.pass(request, bytes);
    if (this.request !== request || request.bodySink === undefined) return;
    if (this.ended) this.end(request);
    else this.arm(request);
  }

  /** Content-Length and client_max_body_size. */
  private fits(request: Request, count: number): boolean {
    request.length += count;
    const total = request.bodyLength + this.waiting + count;
    const { contentLength } = request;
    if (contentLength >= 0) {
      if (total > contentLength) {
        logError(request, "info", `client intended to send body data larger than declared${whileSending(request)}`);
        return this.refuse(request, 400);
      }
      if (this.ended && total < contentLength) {
        const text = `only ${total} out of ${contentLength} bytes of request body received`;
        logError(request, "info", `client prematurely closed stream: ${text}${whileSending(request)}`);
        return this.refuse(request, 400);
      }
      return true;
    }
    const { clientMaxBodySize } = request.location.core;
    if (clientMaxBodySize === 0 || total <= clientMaxBodySize || request.bodySink === undefined) return true;
    this.sayTooLarge(request, total);
    return this.refuse(request, 413);
  }

  private sayTooLarge(request: Request, length: number): void {
    const text = `client intended to send too large chunked body: ${length} bytes`;
    logError(request, "error", text + whileSending(request));
  }

  /** Where nobody reads yet, the request may wait for something else, which its end would not keep from going on with it. */
  private refuse(request: Request, status: number): false {
    if (request.bodySink !== undefined) {
      this.fail(request, status);
    } else {
      this.failed = status;
      this.kept?.clear();
    }
    return false;
  }

  private deliver(request: Request): void {
    const { kept, waiting } = this;
    if (this.delivering) return;
    const limit = request.location.core.clientMaxBodySize;
    const total = request.bodyLength + waiting;
    if (request.contentLength < 0 && limit > 0 && total > limit) {
      this.sayTooLarge(request, total);
      this.fail(request, 413);
      return;
    }
    this.delivering = true;
    try {
      while (kept !== undefined && kept.length > 0 && !this.paused && request.bodySink !== undefined) {
        const piece = kept.first();
        const { length } = piece;
        this.pass(request, piece);
        // The request may be over by now, or has no use for the rest.
        if (this.request !== request || kept.length === 0) return;
        kept.drop(length);
      }
    } finally {
      this.delivering = false;
    }
    if (this.paused || request.bodySink === undefined) return;
    if (this.ended && this.waiting === 0) this.end(request);
    else this.arm(request);
  }

  private pass(request: Request, bytes: Buffer): void {
    const { length } = bytes;
    request.bodyLength += length;
    if (length > 0) request.bodySink?.onBody(bytes);
    if (this.request === request) this.took(length);
  }

  private took(length: number): void {
    this.taken += length;
    if (this.ended || this.taken < this.most / 2) return;
    this.open(this.taken);
    this.taken = 0;
  }

  private open(bytes: number): void {
    this.window += bytes;
    this.owner.consumed(this.stream.id, bytes);
  }

  private end(request: Request): void {
    request.bodyEnded = true;
    this.disarm();
    const sink = request.bodySink;
    request.bodySink = undefined;
    sink?.onBodyEnd();
  }

  /** Ends the body early with `status`: through its sink, else through the upstream or the request. */
  fail(request: Request, status: number): void {
    const sink = request.bodySink;
    request.bodySink = undefined;
    request.discardBody = true;
    this.kept?.clear();
    this.disarm();
    if (sink !== undefined) sink.onBodyError(status);
    else if (request.upstream !== undefined && !request.finalized) request.upstream.finalize(status);
    else if (!request.finalized) finalizeRequest(request, status);
  }

  private arm(request: Request): void {
    if (this.paused) return;
    this.deadline ??= new Deadline<H2Body>(this, expired);
    setDeadline(this.deadline, request.location.core.clientBodyTimeout);
  }

  expire(): void {
    const { request } = this;
    if (request === undefined || request.bodySink === undefined) return;
    request.timedOut = true;
    // As in nginx nothing is logged of a body that goes on as it comes.
    if (request.upstream === undefined) logError(request, "info", "client timed out (110: Connection timed out)");
    this.fail(request, 408);
  }

  onFault(error: unknown): void {
    this.stream.onFault(error);
  }
}

function expired(body: H2Body): void {
  body.expire();
}
