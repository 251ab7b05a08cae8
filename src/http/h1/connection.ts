import type { Address } from "../../net/address.ts";
import type { ProxyProtocol } from "../../net/proxy_protocol.ts";
import type { Stream, StreamError, StreamHandler } from "../../net/stream.ts";
import { clearDeadline, Deadline, setDeadline } from "../../runtime/timers.ts";
import { CLIENT_CLOSED_REQUEST } from "../codes.ts";
import { cleanUp, finalizeRequest } from "../finalize.ts";
import { logConnection, logError } from "../log_context.ts";
import { startPhases } from "../phases.ts";
import type { ClientConnection, Request, Response, Tunnel } from "../request.ts";
import { type Closable, COUNTER, type ConnectionHost } from "../site.ts";
import * as chunked from "./chunked.ts";
import { HeaderList } from "./header_list.ts";
import { DONE, NEED_MORE, RequestHead } from "./request_head.ts";
import { beginRequest } from "./request_start.ts";
import { responseHead } from "./response_writer.ts";

/** What the connection's one deadline stands for. */
const IDLE = 0;
const HEADER = 1;
const BODY = 2;
const SEND = 3;
const LINGER = 4;
const NONE = 5;
const RATE = 6;

/** Bytes of a response's head and first body part that are gathered into one write. */
const GATHER = 16 * 1024;

let connections = 0;

/** One HTTP/1 client connection: head after head, body after body, strictly one request at a time. */
export class H1Connection implements ClientConnection, StreamHandler, Closable {
  readonly number: number;
  requests = 0;
  readonly startedAt: number;
  proxyProtocol: ProxyProtocol | undefined = undefined;
  sent = 0;
  pipelined = false;
  blocked = false;

  private readonly stream: Stream;
  private readonly host: ConnectionHost;
  private readonly head: RequestHead;
  private readonly response: Response;
  private readonly deadline: Deadline<H1Connection>;
  private mode = HEADER;
  private request: Request | undefined = undefined;
  private decoder: chunked.ChunkedDecoder | undefined = undefined;
  /** Body bytes still to come of a Content-Length. */
  private bodyLeft = 0;
  private bodyPaused = false;
  /** Bytes received and not yet consumed: the rest of a body nobody reads yet, or pipelined requests. */
  private pending: Buffer | undefined = undefined;
  private consuming = false;
  /** What is consumed came before the last request had ended: a pipelined one. */
  private leftOver = false;
  private paused = false;
  /** Head and small body parts of the response not yet handed to the stream. */
  private held = "";
  private readClosed = false;
  private lingering = false;
  private lingerUntil = 0;
  private closing = false;
  /** The response is complete; the connection waits until the client has taken it. */
  private finishing = false;
  private tunnel: Tunnel | undefined = undefined;
  /** Output held back by limit_rate. */
  private delayed: Buffer[] | undefined = undefined;

  constructor(stream: Stream, host: ConnectionHost) {
    this.number = ++connections;
    this.stream = stream;
    this.host = host;
    this.startedAt = performance.now();
    this.head = new RequestHead(host.config.limits);
    this.response = newResponse();
    this.deadline = new Deadline<H1Connection>(this, expired);
    setDeadline(this.deadline, host.config.defaultServer.settings.client_header_timeout);
    host.opened(this);
    host.counters.words[COUNTER.waiting]++;
  }

  get remote(): Address {
    return this.stream.remote;
  }

  get local(): Address {
    return this.stream.local;
  }

  get closed(): boolean {
    return this.stream.closed;
  }

  get idle(): boolean {
    return this.request === undefined && !this.lingering && !this.closing;
  }

  // ---- bytes in

  onData(_stream: Stream, bytes: Buffer): void {
    if (this.tunnel !== undefined) {
      this.tunnel.onClientData(bytes);
      return;
    }
    if (this.lingering || this.closing) {
      this.lingered();
      return;
    }
    if (this.pending !== undefined) {
      this.pending = Buffer.concat([this.pending, bytes]);
      if (!this.consuming) this.consumePending();
      return;
    }
    this.consume(bytes);
  }

  private consumePending(): void {
    const bytes = this.pending;
    if (bytes === undefined) return;
    this.pending = undefined;
    this.leftOver = true;
    this.consume(bytes);
    this.leftOver = false;
  }

  /** Takes bytes as far as the connection's state allows; keeps a copy of the rest and stops reading. */
  private consume(bytes: Buffer): void {
    this.consuming = true;
    let at = 0;
    const end = bytes.length;
    while (at < end) {
      const request = this.request;
      if (this.lingering || this.closing || this.stream.closed) {
        at = end;
        break;
      }
      if (this.tunnel !== undefined) {
        this.tunnel.onClientData(bytes.subarray(at, end));
        at = end;
        break;
      }
      if (request === undefined) {
        at = this.consumeHead(bytes, at, end);
        if (this.request === undefined && this.mode === HEADER && at < 0) break;
        if (at < 0) break;
        continue;
      }
      if (request.bodyEnded || this.bodyPaused || (request.bodySink === undefined && !request.discardBody)) break;
      at = this.consumeBody(request, bytes, at, end);
    }
    this.consuming = false;
    if (at >= 0 && at < end) {
      this.pending = Buffer.from(at === 0 ? bytes : bytes.subarray(at, end));
      this.pauseStream();
    } else if (this.paused && this.pending === undefined && !this.bodyPaused) {
      this.resumeStream();
    }
  }

  private pauseStream(): void {
    if (this.paused) return;
    this.paused = true;
    this.stream.pause();
  }

  private resumeStream(): void {
    if (!this.paused) return;
    this.paused = false;
    this.stream.resume();
  }

  /** Returns where the head ended, or -1 when everything was taken. */
  private consumeHead(bytes: Buffer, at: number, end: number): number {
    const { head, host } = this;
    const first = this.mode !== HEADER || !head.started;
    const code = head.feed(bytes, at, end);
    if (code === NEED_MORE) {
      if (first && head.started) {
        this.host.counters.words[COUNTER.waiting]--;
        this.host.counters.words[COUNTER.reading]++;
        this.arm(HEADER, host.config.defaultServer.settings.client_header_timeout);
      }
      return -1;
    }
    this.mode = NONE;
    this.requests++;
    const request = beginRequest(this, host.config, head, this.response);
    this.request = request;
    if (first) this.pipelined = at > 0 || this.leftOver;
    const { words } = host.counters;
    words[COUNTER.requests]++;
    words[COUNTER.writing]++;
    if (first) words[COUNTER.waiting]--;
    else words[COUNTER.reading]--;
    if (code !== DONE || request.badUri) {
      request.keepalive = false;
      request.bodyEnded = true;
      this.consuming = false;
      const error = code === DONE ? "client sent invalid request" : head.error;
      logError(request, "info", `${error} while reading client request ${head.version === 0 ? "line" : "headers"}`);
      finalizeRequest(request, code === DONE ? 400 : code);
      return -1;
    }
    if (head.ignored !== undefined) {
      for (const sentence of head.ignored)
        logError(request, "info", `${sentence} while reading client request headers`);
    }
    if (head.chunked) {
      this.decoder = new chunked.ChunkedDecoder();
      request.bodyEnded = false;
    } else {
      this.bodyLeft = head.contentLength > 0 ? head.contentLength : 0;
      request.bodyEnded = this.bodyLeft === 0;
    }
    request.lingering = !request.bodyEnded;
    const next = head.end;
    startPhases(request);
    return next;
  }

  private consumeBody(request: Request, bytes: Buffer, start: number, end: number): number {
    let at = start;
    const { decoder } = this;
    if (decoder === undefined) {
      const length = Math.min(this.bodyLeft, end - at);
      this.bodyLeft -= length;
      request.length += length;
      if (!this.deliver(request, length === bytes.length ? bytes : bytes.subarray(at, at + length))) return end;
      at += length;
      if (this.bodyLeft === 0) this.endBody(request);
      else this.armBody(request);
      return at;
    }
    const code = decoder.next(bytes, at, end);
    switch (code) {
      case chunked.DATA: {
        const piece = bytes.subarray(decoder.dataStart, decoder.dataEnd);
        request.length += decoder.dataEnd - at;
        at = decoder.dataEnd;
        const limit = request.location.core.clientMaxBodySize;
        if (limit !== 0 && request.bodyLength + piece.length > limit && !request.discardBody) {
          logError(
            request,
            "error",
            `client intended to send too large chunked body: ${request.bodyLength + piece.length} bytes`,
          );
          this.bodyFailed(request, 413);
          return at;
        }
        return this.deliver(request, piece) ? at : end;
      }
      case chunked.CHUNKED_DONE:
        request.length += decoder.pos - at;
        at = decoder.pos;
        this.decoder = undefined;
        this.endBody(request);
        return at;
      case chunked.ERROR:
        logError(request, "info", "client sent invalid chunked body");
        request.keepalive = false;
        this.bodyFailed(request, 400);
        return end;
      default:
        request.length += end - at;
        this.armBody(request);
        return end;
    }
  }

  /** False when the request ended over it. */
  private deliver(request: Request, piece: Buffer): boolean {
    request.bodyLength += piece.length;
    if (request.discardBody || request.bodySink === undefined) return true;
    request.bodySink.onBody(piece);
    return this.request === request;
  }

  private endBody(request: Request): void {
    request.bodyEnded = true;
    request.lingering = false;
    if (this.mode === BODY) this.mode = NONE;
    const sink = request.bodySink;
    request.bodySink = undefined;
    if (!request.discardBody) sink?.onBodyEnd();
    else if (request.finalized) this.done(request);
  }

  private bodyFailed(request: Request, status: number): void {
    const sink = request.bodySink;
    request.bodySink = undefined;
    request.discardBody = true;
    if (sink !== undefined) sink.onBodyError(status);
    else if (!request.finalized) finalizeRequest(request, status);
  }

  private armBody(request: Request): void {
    if (!request.finalized) this.arm(BODY, request.location.core.clientBodyTimeout);
  }

  startBody(request: Request): void {
    if (request.expectContinue) {
      request.expectContinue = false;
      this.write("HTTP/1.1 100 Continue\r\n\r\n");
    }
    this.armBody(request);
    if (!this.consuming) {
      if (this.pending !== undefined) this.consumePending();
      else this.resumeStream();
    }
  }

  pauseBody(): void {
    this.bodyPaused = true;
    if (!this.consuming) this.pauseStream();
  }

  resumeBody(): void {
    if (!this.bodyPaused) return;
    this.bodyPaused = false;
    if (this.consuming) return;
    if (this.pending !== undefined) this.consumePending();
    else this.resumeStream();
  }

  onEnd(): void {
    this.readClosed = true;
    const { request } = this;
    if (this.tunnel !== undefined) {
      this.tunnel.onClientEnd();
      return;
    }
    if (request === undefined) {
      if (this.head.started && !this.lingering && !this.closing) {
        logConnection(
          this,
          this.host.config,
          "info",
          "client prematurely closed connection while reading client request line",
        );
      }
      this.stream.destroy();
      return;
    }
    if (!request.bodyEnded && !request.finalized && request.bodySink !== undefined) {
      logError(request, "info", "client prematurely closed connection");
      request.keepalive = false;
      this.bodyFailed(request, 400);
      return;
    }
    request.keepalive = false;
    request.onAbort?.(request);
  }

  onClose(_stream: Stream, error: StreamError | undefined): void {
    clearDeadline(this.deadline);
    const { request } = this;
    if (request === undefined) {
      if (this.mode === HEADER && this.head.started) this.host.counters.words[COUNTER.reading]--;
      else if (this.mode === IDLE || this.mode === HEADER) this.host.counters.words[COUNTER.waiting]--;
      if (error !== undefined && error.code !== "EPIPE" && this.head.started) {
        logConnection(this, this.host.config, "info", `recv() failed (${error.message}) while reading client request`);
      }
    } else {
      this.blocked = false;
      request.aborted = true;
      if (!request.finalized) {
        const sink = request.bodySink;
        if (sink !== undefined) this.bodyFailed(request, CLIENT_CLOSED_REQUEST);
        else if (request.onAbort !== undefined) request.onAbort(request);
        else finalizeRequest(request, CLIENT_CLOSED_REQUEST);
      }
      if (this.request === request) this.ended(request);
    }
    this.host.closed(this);
  }

  // ---- bytes out

  sendHead(request: Request): void {
    request.sentAtStart = this.sent;
    if (request.version === 9) {
      request.keepalive = false;
      return;
    }
    if (this.host.draining) request.keepalive = false;
    this.held += responseHead(request);
  }

  sendBody(request: Request, bytes: Uint8Array | string, last: boolean): void {
    const { length } = bytes;
    request.bodySent += length;
    let tail = "";
    if (request.chunkedResponse) {
      if (length > 0) {
        const size = `${length.toString(16)}\r\n`;
        this.held += size;
        request.bodySent += size.length;
        tail = "\r\n";
      }
      if (last) tail += trailerPart(request);
      request.bodySent += tail.length;
    }
    if (typeof bytes === "string") {
      this.held += bytes + tail;
      if (last || this.held.length > GATHER) this.flush();
      return;
    }
    if (this.held.length + length <= GATHER) {
      this.held +=
        (bytes instanceof Buffer ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, length)).toString("latin1") +
        tail;
      if (last) this.flush();
      return;
    }
    this.stream.cork();
    this.flush();
    this.write(bytes);
    if (tail !== "") this.write(tail);
    this.stream.uncork();
  }

  flush(): void {
    const { held } = this;
    if (held === "") return;
    this.held = "";
    this.write(held);
  }

  private write(bytes: Uint8Array | string): void {
    const { request } = this;
    if (request !== undefined && this.delay(request, bytes)) return;
    this.sent += bytes.length;
    if (!this.stream.write(bytes) && !this.blocked) {
      this.blocked = true;
      if (this.request !== undefined) this.arm(SEND, this.request.location.core.sendTimeout);
    }
  }

  onDrain(): void {
    if (this.tunnel !== undefined) {
      this.blocked = false;
      this.tunnel.onClientDrain();
      return;
    }
    if (this.delayed !== undefined) return;
    this.drained();
  }

  private drained(): void {
    this.blocked = false;
    const { request } = this;
    if (this.mode === SEND) this.mode = NONE;
    if (request === undefined) return;
    if (this.finishing) this.done(request);
    else request.onWritable?.(request);
  }

  // ---- limit_rate

  /** True when the bytes were put off because of limit_rate. */
  private delay(request: Request, bytes: Uint8Array | string): boolean {
    if (request.limitRate < 0 || request.limitRateAfter < 0) computeRate(request);
    if (request.limitRate === 0 && this.delayed === undefined) return false;
    const copy = typeof bytes === "string" ? Buffer.from(bytes, "latin1") : Buffer.from(bytes);
    if (this.delayed === undefined) {
      this.delayed = [copy];
      this.sendDelayed(request);
    } else {
      this.delayed.push(copy);
    }
    return true;
  }

  /** Sends as much as the rate allows by now and comes back for the rest. */
  private sendDelayed(request: Request): void {
    const queue = this.delayed;
    while (queue !== undefined && queue.length > 0) {
      const [piece] = queue;
      let allowed = piece.length;
      if (request.limitRate > 0) {
        const seconds = Math.floor(Date.now() / 1000) - Math.floor(request.startedWall / 1000) + 1;
        const budget = request.limitRate * seconds - (this.sent - request.sentAtStart - request.limitRateAfter);
        if (budget <= 0) {
          this.blocked = true;
          this.arm(RATE, Math.floor((-budget * 1000) / request.limitRate) + 1);
          return;
        }
        allowed = Math.min(allowed, budget);
      }
      if (allowed === piece.length) queue.shift();
      else queue[0] = piece.subarray(allowed);
      this.sent += allowed;
      this.stream.write(allowed === piece.length ? piece : piece.subarray(0, allowed));
      if (request.limitRate > 0 && queue.length > 0) {
        this.blocked = true;
        this.arm(RATE, Math.max(1, Math.floor((allowed * 1000) / request.limitRate)));
        return;
      }
    }
    this.delayed = undefined;
    if (this.stream.queued === 0) this.drained();
    else this.blocked = true;
  }

  // ---- the end of a request

  finish(request: Request): void {
    this.flush();
    if (!request.responseEnded && !request.headerOnly && !request.aborted && request.chunkedResponse) {
      // The body broke off: a chunked response must not look complete.
      this.terminate(request);
      return;
    }
    if (this.blocked && !this.stream.closed) {
      this.finishing = true;
      return;
    }
    this.done(request);
  }

  /** Everything is sent, or nothing more will be. */
  private done(request: Request): void {
    this.finishing = false;
    if (request.keepalive && !request.bodyEnded && !this.stream.closed && !this.readClosed) {
      // The rest of a body nobody wanted is read and dropped before the next request.
      request.discardBody = true;
      if (!request.logged) this.log(request);
      if (!this.consuming) {
        if (this.pending !== undefined) this.consumePending();
        else this.resumeStream();
        if (this.request === request && !request.bodyEnded) this.arm(BODY, request.location.core.lingeringTimeout);
      }
      if (!request.bodyEnded) return;
      if (this.request !== request) return;
    }
    const { keepalive, location } = request;
    this.ended(request);
    if (this.stream.closed) return;
    if (this.readClosed || !keepalive || this.host.draining) {
      this.close(request);
      return;
    }
    this.mode = IDLE;
    this.host.counters.words[COUNTER.waiting]++;
    this.head.reset(this.host.config.limits);
    setDeadline(this.deadline, location.core.keepaliveTimeout);
    if (this.pending !== undefined && !this.consuming) this.consumePending();
    else if (!this.consuming) this.resumeStream();
  }

  /** Logs and lets go of the request. */
  private ended(request: Request): void {
    this.request = undefined;
    request.finalized = true;
    this.decoder = undefined;
    this.bodyLeft = 0;
    this.bodyPaused = false;
    this.finishing = false;
    this.delayed = undefined;
    if (!request.logged) this.log(request);
    this.host.counters.words[COUNTER.writing]--;
    cleanUp(request);
    resetResponse(this.response);
  }

  private log(request: Request): void {
    request.logged = true;
    for (const handler of request.location.log) handler(request);
  }

  private close(request: Request): void {
    const { core } = request.location;
    const unread = !request.bodyEnded || this.pending !== undefined;
    if (
      !this.readClosed &&
      (core.lingeringClose === "always" || (core.lingeringClose === "on" && (request.lingering || unread)))
    ) {
      this.lingering = true;
      this.pending = undefined;
      this.mode = LINGER;
      this.lingerUntil = performance.now() + core.lingeringTime;
      this.lingerTimeout = core.lingeringTimeout;
      this.stream.end();
      this.lingered();
      this.resumeStream();
      return;
    }
    this.closing = true;
    this.mode = NONE;
    if (this.stream.queued === 0) {
      this.stream.destroy();
      return;
    }
    this.mode = SEND;
    setDeadline(this.deadline, core.sendTimeout);
    this.stream.close();
  }

  private lingerTimeout = 0;

  private lingered(): void {
    if (!this.lingering) return;
    const left = this.lingerUntil - performance.now();
    if (left <= 0) this.stream.destroy();
    else setDeadline(this.deadline, Math.min(left, this.lingerTimeout));
  }

  terminate(request: Request): void {
    this.held = "";
    this.ended(request);
    this.closing = true;
    this.stream.destroy(request.location.core.raw.reset_timedout_connection && request.timedOut);
  }

  // ---- upgrade

  takeOver(request: Request, tunnel: Tunnel): void {
    this.flush();
    this.tunnel = tunnel;
    this.mode = NONE;
    request.keepalive = false;
    if (this.consuming) return;
    const rest = this.pending;
    this.pending = undefined;
    if (rest !== undefined) tunnel.onClientData(rest);
    if (this.readClosed) tunnel.onClientEnd();
    this.resumeStream();
  }

  writeTunnel(bytes: Uint8Array): boolean {
    this.sent += bytes.length;
    this.blocked = !this.stream.write(bytes);
    return !this.blocked;
  }

  endTunnel(): void {
    this.stream.end();
  }

  pauseRead(): void {
    this.pauseStream();
  }

  resumeRead(): void {
    this.resumeStream();
  }

  // ---- time and leaving

  private arm(mode: number, ms: number): void {
    this.mode = mode;
    setDeadline(this.deadline, ms);
  }

  /** The deadline passed. */
  expire(): void {
    const { request } = this;
    switch (this.mode) {
      case IDLE:
        this.stream.destroy();
        return;
      case LINGER:
        this.stream.destroy();
        return;
      case HEADER:
        this.headerTimedOut();
        return;
      case RATE:
        if (request !== undefined) this.sendDelayed(request);
        return;
      case BODY:
        if (request === undefined) return;
        if (request.finalized) {
          request.keepalive = false;
          this.done(request);
          return;
        }
        request.timedOut = true;
        logError(request, "info", "client timed out (110: Connection timed out) while reading client request body");
        request.keepalive = false;
        this.bodyFailed(request, 408);
        return;
      case SEND:
        if (request === undefined) {
          this.stream.destroy();
          return;
        }
        request.timedOut = true;
        logError(request, "info", "client timed out (110: Connection timed out) while sending to client");
        if (request.onAbort !== undefined && !request.finalized) {
          this.blocked = false;
          request.aborted = true;
          request.onAbort(request);
        }
        if (this.request === request) this.terminate(request);
        return;
    }
  }

  private headerTimedOut(): void {
    const { host } = this;
    if (!this.head.started) {
      this.stream.destroy();
      return;
    }
    this.requests++;
    const request = beginRequest(this, host.config, this.head, this.response);
    request.bodyEnded = true;
    request.keepalive = false;
    request.timedOut = true;
    request.response.status = 408;
    this.request = request;
    this.mode = NONE;
    host.counters.words[COUNTER.reading]--;
    host.counters.words[COUNTER.writing]++;
    logError(request, "info", "client timed out (110: Connection timed out) while reading client request headers");
    finalizeRequest(request, 408);
  }

  shutdown(): void {
    if (this.idle && (this.mode === IDLE || !this.head.started)) this.stream.destroy();
    else if (this.request !== undefined) this.request.keepalive = false;
  }

  destroy(): void {
    this.stream.destroy();
  }
}

function expired(connection: H1Connection): void {
  connection.expire();
}

function newResponse(): Response {
  return {
    status: 0,
    statusLine: undefined,
    headers: new HeaderList(),
    contentType: undefined,
    charset: undefined,
    contentLength: -1,
    lastModified: -1,
    lastModifiedText: undefined,
    etag: undefined,
    location: undefined,
    server: undefined,
    date: undefined,
    allowRanges: false,
    trailers: undefined,
  };
}

function resetResponse(response: Response): void {
  response.status = 0;
  response.statusLine = undefined;
  response.headers.clear();
  response.contentType = undefined;
  response.charset = undefined;
  response.contentLength = -1;
  response.lastModified = -1;
  response.lastModifiedText = undefined;
  response.etag = undefined;
  response.location = undefined;
  response.server = undefined;
  response.date = undefined;
  response.allowRanges = false;
  response.trailers = undefined;
}

/** The end of a chunked body with its trailers. */
function trailerPart(request: Request): string {
  const { trailers } = request.response;
  if (trailers === undefined) return "0\r\n\r\n";
  let text = "0\r\n";
  for (let i = 0; i < trailers.count; i++) text += `${trailers.names[i]}: ${trailers.values[i]}\r\n`;
  return `${text}\r\n`;
}

/** `set $limit_rate` may have come before, and holds. */
function computeRate(request: Request): void {
  const { limitRate, limitRateAfter } = request.location.core;
  if (request.limitRate < 0) request.limitRate = limitRate === undefined ? 0 : rateOf(limitRate.render(request));
  request.limitRateAfter = limitRateAfter === undefined ? 0 : rateOf(limitRateAfter.render(request));
}

function rateOf(text: string): number {
  const match = /^(\d+)([kKmMgG]?)$/.exec(text);
  if (match === null) return 0;
  const unit = match[2].toLowerCase();
  return Number(match[1]) * (unit === "k" ? 1024 : unit === "m" ? 1024 ** 2 : unit === "g" ? 1024 ** 3 : 1);
}
