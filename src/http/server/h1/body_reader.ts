import { clearDeadline, Deadline, setDeadline } from "../../../sys/timers.ts";
import { BROKEN, DATA, OVER, RequestFraming } from "../../../wire/http1/request_framing.ts";
import { OK } from "../../core/codes.ts";
import { finalizeRequest } from "../../core/engine.ts";
import { logError, whileSending } from "../../core/log_context.ts";
import type { Request } from "../../core/request.ts";
import { type H1Input, NOT_NOW, type Skimmer } from "./input.ts";

/** The exchange whose request's body is read. */
export interface BodyReaderOwner {
  /** After `discardRest`: the rest of the body was read, or will not come. */
  finalizeConnection(request: Request): void;
  /** After `discardRest`: the rest of the body did not come in time. */
  terminate(request: Request): void;
  onFault(error: unknown): void;
}

/**
 * Reads request bodies, one after another: delivers them to the request's sink as fast as it takes them, or drops them.
 * Enforces client_max_body_size, client_body_timeout and, once the response is sent, lingering_time.
 */
export class H1BodyReader implements Skimmer {
  private readonly input: H1Input;
  private readonly owner: BodyReaderOwner;
  private readonly framing = new RequestFraming();
  private readonly deadline: Deadline<H1BodyReader>;
  /**
   * The deadline counts. Otherwise it may still be armed and is ignored when it passes, which costs less than clearing
   * it.
   */
  private timed = false;
  private request: Request | undefined = undefined;
  private paused = false;
  /** Bytes of the input are being passed to the sink: `discard` must not skim them. */
  private delivering = false;
  /** lingering_time's end on the monotonic clock, set when the response was sent before the whole body had come; else 0. */
  private discardUntil = 0;
  /** The status for whoever reads it, where the rest will not come; else 0. */
  private lost = 0;

  constructor(input: H1Input, owner: BodyReaderOwner) {
    this.input = input;
    this.owner = owner;
    this.deadline = new Deadline<H1BodyReader>(this, expired);
  }

  begin(request: Request): void {
    this.request = request;
    this.framing.begin(request.contentLength, request.chunked);
    this.delivering = false;
    this.discardUntil = 0;
    this.lost = 0;
    request.lingering = true;
  }

  /** The request goes on as another one, which serves its post_action. */
  replace(request: Request): void {
    if (this.request !== undefined) this.request = request;
  }

  /** The request is over. */
  free(): void {
    this.request = undefined;
    this.paused = false;
    this.timed = false;
  }

  /** The connection is gone. */
  release(): void {
    this.free();
    clearDeadline(this.deadline);
  }

  /** Starts to deliver the body to the request's sink. */
  start(request: Request): void {
    if (this.lost !== 0) {
      this.fail(request, this.lost);
      return;
    }
    this.arm(request);
    this.input.readOn();
  }

  lose(request: Request, status: number): void {
    if (!request.bodyEnded) this.lost = status;
  }

  pause(): void {
    this.paused = true;
    this.timed = false;
  }

  resume(): void {
    if (!this.paused) return;
    this.paused = false;
    const { request } = this;
    if (request !== undefined && !request.bodyEnded && !request.discardBody) this.arm(request);
    this.input.readOn();
  }

  /** Drops the body, what has been received and what follows. OK, or 400 if what has been received is malformed. */
  discard(request: Request): number {
    request.discardBody = true;
    request.bodySink = undefined;
    this.paused = false;
    // No deadline for a dropped body while the response is made.
    this.timed = false;
    if (this.delivering) return OK;
    this.input.skim(this);
    return request.bodyEnded && request.lingering ? 400 : OK;
  }

  /** Drops what has been received of the body. Returns where that ends. */
  skim(bytes: Buffer, start: number, end: number): number {
    const { framing, request } = this;
    let at = start;
    while (request !== undefined && at < end && !request.bodyEnded) {
      switch (framing.next(bytes, at, end, Number.POSITIVE_INFINITY)) {
        case DATA:
          at = framing.pos;
          if (framing.whole) endReading(request);
          break;
        case OVER:
          at = framing.pos;
          endReading(request);
          break;
        case BROKEN:
          breakOff(request);
          return end;
        default:
          at = end;
      }
    }
    return at;
  }

  /** The response is sent: reads and drops the rest, with lingering_time for all and lingering_timeout between two reads. */
  discardRest(request: Request): void {
    request.discardBody = true;
    this.paused = false;
    this.armDiscard(request);
    this.input.readOn();
  }

  /** Takes body bytes. Returns where it stopped, or NOT_NOW. */
  take(bytes: Buffer, at: number, end: number): number {
    const { request } = this;
    if (request === undefined || request.bodyEnded || this.paused) return NOT_NOW;
    if (request.discardBody) return this.drop(request, bytes, at, end);
    if (request.bodySink === undefined) return NOT_NOW;
    this.delivering = true;
    const next = this.deliver(request, bytes, at, end);
    this.delivering = false;
    return next;
  }

  private drop(request: Request, bytes: Buffer, at: number, end: number): number {
    const { framing } = this;
    switch (framing.next(bytes, at, end, Number.POSITIVE_INFINITY)) {
      case DATA:
        if (framing.whole) this.end(request);
        else this.moved(request);
        return framing.pos;
      case OVER:
        this.end(request);
        return framing.pos;
      case BROKEN:
        // Nobody reads it: what is answered, which may wait for something else, does not depend on it.
        breakOff(request);
        if (this.discardUntil !== 0) this.owner.finalizeConnection(request);
        return end;
      default:
        this.moved(request);
        return end;
    }
  }

  private deliver(request: Request, bytes: Buffer, at: number, end: number): number {
    const { framing } = this;
    switch (framing.next(bytes, at, end, request.chunked ? room(request) : Number.POSITIVE_INFINITY)) {
      case DATA: {
        const { dataStart, dataEnd, pos } = framing;
        request.length += pos - at;
        if (request.chunked && this.isTooLarge(request, framing.chunkStart - dataStart, framing.chunkSize)) return pos;
        request.bodyLength += dataEnd - dataStart;
        request.bodySink?.onBody(bytes.subarray(dataStart, dataEnd));
        if (this.request !== request) return pos;
        if (framing.whole) this.end(request);
        else this.moved(request);
        return pos;
      }
      case OVER:
        request.length += framing.pos - at;
        this.end(request);
        return framing.pos;
      case BROKEN:
        this.break(request);
        return end;
      default:
        request.length += end - at;
        this.moved(request);
        return end;
    }
  }

  /**
   * client_max_body_size for chunked bodies: checked with each chunk's size. `before`: bytes that precede the chunk in
   * this read.
   */
  private isTooLarge(request: Request, before: number, size: number): boolean {
    if (before + size <= room(request)) return false;
    const length = request.bodyLength + before;
    logError(
      request,
      "error",
      `client intended to send too large chunked body: ${length}+${size} bytes${whileSending(request)}`,
    );
    this.fail(request, 413);
    return true;
  }

  private end(request: Request): void {
    this.input.position = this.framing.pos;
    endReading(request);
    this.timed = false;
    const sink = request.bodySink;
    request.bodySink = undefined;
    if (!request.discardBody) sink?.onBodyEnd();
    else if (this.discardUntil !== 0) this.owner.finalizeConnection(request);
  }

  private break(request: Request): void {
    breakOff(request);
    this.fail(request, 400);
  }

  /** Ends the body early with `status`: through its sink, else through the upstream or the request. */
  fail(request: Request, status: number): void {
    const sink = request.bodySink;
    request.bodySink = undefined;
    request.discardBody = true;
    this.timed = false;
    if (sink !== undefined) sink.onBodyError(status);
    // The server that gets the request would otherwise wait for the rest of the body.
    else if (request.upstream !== undefined && !request.finalized) request.upstream.finalize(status);
    else if (!request.finalized) finalizeRequest(request, status);
    else if (this.discardUntil !== 0 && this.request === request) this.owner.finalizeConnection(request);
  }

  /** Some of the body has come: restarts the timeout. */
  private moved(request: Request): void {
    if (!request.discardBody) this.arm(request);
    else if (this.discardUntil !== 0) this.armDiscard(request);
  }

  private arm(request: Request): void {
    if (this.paused) return;
    this.timed = true;
    setDeadline(this.deadline, request.location.core.clientBodyTimeout);
  }

  private armDiscard(request: Request): void {
    const { lingeringTime, lingeringTimeout } = request.location.core;
    const now = performance.now();
    if (this.discardUntil === 0) this.discardUntil = now + lingeringTime;
    this.timed = true;
    setDeadline(this.deadline, Math.min(lingeringTimeout, this.discardUntil - now));
  }

  expire(): void {
    const { request } = this;
    if (request === undefined || !this.timed) return;
    // As long as no handler reads the body, client_body_timeout does not apply.
    if (!request.discardBody && request.bodySink === undefined) return;
    request.timedOut = true;
    if (request.finalized) this.owner.terminate(request);
    else this.fail(request, 408);
  }

  onFault(error: unknown): void {
    this.owner.onFault(error);
  }
}

function expired(body: H1BodyReader): void {
  body.expire();
}

/** How much more of the body client_max_body_size allows. */
function room({ location, bodyLength }: Request): number {
  const limit = location.core.clientMaxBodySize;
  return limit === 0 ? Number.POSITIVE_INFINITY : limit - bodyLength;
}

function endReading(request: Request): void {
  request.bodyEnded = true;
  request.lingering = false;
}

/** After malformed framing nothing can be understood: the connection closes after the response. */
function breakOff(request: Request): void {
  logError(request, "error", `client sent invalid chunked body${whileSending(request)}`);
  request.bodyEnded = true;
  request.keepalive = false;
  // The client may still be sending it.
  request.lingering = true;
}
