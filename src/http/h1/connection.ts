import type { Address } from "../../net/address.ts";
import type { ProxyProtocol } from "../../net/proxy_protocol.ts";
import type { Stream, StreamError, StreamHandler } from "../../net/stream.ts";
import { clearDeadline, Deadline, setDeadline } from "../../runtime/timers.ts";
import { CLIENT_CLOSED_REQUEST, OK } from "../codes.ts";
import { startWithBody } from "../early_body.ts";
import { cleanUp, finalizeRequest } from "../finalize.ts";
import { logConnection, logError } from "../log_context.ts";
import { startPhases } from "../phases.ts";
import type { ClientConnection, Request, Response, Tunnel } from "../request.ts";
import { type AddressConfig, type Closable, COUNTER, type ConnectionHost } from "../site.ts";
import * as body from "./body_input.ts";
import { LingeringClose } from "./lingering.ts";
import { Output } from "./output.ts";
import { DONE, NEED_MORE, RequestHead } from "./request_head.ts";
import { beginRequest } from "./request_start.ts";
import { newResponse, resetResponse } from "./response.ts";
import { responseHead } from "./response_writer.ts";

// What the connection waits for from the client, and what its deadline stands for.

/** A first request, or the next one: nothing of it has come. */
const IDLE = 0;
/** The same within keepalive_min_timeout: not to be closed yet. */
const KEPT = 1;
/** The rest of a head. */
const HEAD = 2;
/** More of a body. */
const BODY = 3;
/** That it takes what is left of the answer, before the connection is closed. */
const CLOSING = 4;
const NOTHING = 5;

let connections = 0;

/** One HTTP/1 client connection: head after head, body after body, strictly one request at a time. */
export class H1Connection implements ClientConnection, StreamHandler, Closable {
  readonly number: number;
  requests = 0;
  readonly startedAt: number;
  proxyProtocol: ProxyProtocol | undefined = undefined;
  pipelined = false;
  readonly host: ConnectionHost;
  afterRequest: (() => void) | undefined = undefined;
  /** What a connection without a request does, as the error log says it. */
  waitingFor = "waiting for request";

  private readonly stream: Stream;
  private readonly head: RequestHead;
  private readonly response: Response;
  private readonly output: Output;
  private readonly deadline: Deadline<H1Connection>;
  private mode = IDLE;
  /** When the first byte of a head came that did not come in one piece; 0 otherwise. */
  private headSince = 0;
  private config: AddressConfig;
  request: Request | undefined = undefined;
  /** Made for the first request that has a body. */
  private body: body.BodyInput | undefined = undefined;
  /** While a request with a body begins: what was received behind its head. */
  private following: Buffer | undefined = undefined;
  private followingAt = 0;
  private followingEnd = 0;
  private bodyPaused = false;
  /** Bytes received and not yet consumed: the rest of a body nobody reads yet, or pipelined requests. */
  private pending: Buffer | undefined = undefined;
  private consuming = false;
  private paused = false;
  private readClosed = false;
  /** The connection cannot be used any more, although its stream is still there. */
  private broken = false;
  /** What the client sent last was not, and will not be, read. */
  private unread = false;
  private lingering = false;
  /** The response is complete; the connection waits until the client has taken it. */
  private finishing = false;
  private tunnel: Tunnel | undefined = undefined;
  /** ms it may be idle: keepalive_timeout, or what is left of it after keepalive_min_timeout. */
  private idleTime = 0;

  constructor(stream: Stream, host: ConnectionHost) {
    this.number = ++connections;
    this.stream = stream;
    this.host = host;
    this.startedAt = performance.now();
    const { config } = host;
    this.config = config;
    this.head = new RequestHead(config.limits);
    this.head.limitsOf = config.limitsOf;
    this.response = newResponse();
    this.output = new Output(stream, this);
    this.deadline = new Deadline<H1Connection>(this, expired);
    setDeadline(this.deadline, config.defaultServer.settings.client_header_timeout);
    if (!config.defaultServer.root.core.tcpNodelay) stream.setNoDelay(false);
    host.opened(this);
    host.counters.words[COUNTER.waiting]++;
  }

  get remote(): Address {
    return this.stream.remote;
  }

  get local(): Address {
    return this.stream.local;
  }

  get sent(): number {
    return this.output.sent;
  }

  get blocked(): boolean {
    return this.output.blocked;
  }

  get closed(): boolean {
    return this.broken || this.stream.closed;
  }

  get idle(): boolean {
    return this.request === undefined && (this.mode === IDLE || this.lingering);
  }

  get idleSince(): number {
    return this.requests === 0 ? this.startedAt : this.deadline.due - this.idleTime;
  }

  get busyWith(): AddressConfig | undefined {
    return this.request === undefined && this.requests > 0 ? undefined : this.config;
  }

  // ---- bytes in

  onData(_stream: Stream, bytes: Buffer): void {
    if (this.tunnel !== undefined) {
      this.tunnel.onClientData(bytes);
      return;
    }
    if (this.mode === CLOSING) return;
    if (this.pending !== undefined) {
      this.pending = Buffer.concat([this.pending, bytes]);
      if (!this.consuming) this.consumePending();
      return;
    }
    if (this.mode <= KEPT) this.pipelined = false;
    this.consume(bytes, false);
  }

  private consumePending(): void {
    const bytes = this.pending;
    if (bytes === undefined) return;
    this.pending = undefined;
    this.consume(bytes, true);
  }

  /** Takes bytes as far as the connection's state allows; keeps the rest (`owned`: without a copy) and stops reading. */
  private consume(bytes: Buffer, owned: boolean): void {
    this.consuming = true;
    const end = bytes.length;
    let at = 0;
    while (at < end) {
      const { request } = this;
      if (this.mode === CLOSING || this.lingering || this.closed) {
        at = end;
      } else if (this.tunnel !== undefined) {
        this.tunnel.onClientData(bytes.subarray(at, end));
        at = end;
      } else if (request === undefined) {
        at = this.consumeHead(bytes, at, end);
      } else if (request.bodyEnded || this.bodyPaused || (request.bodySink === undefined && !request.discardBody)) {
        break;
      } else {
        at = this.consumeBody(request, bytes, at, end);
      }
    }
    this.consuming = false;
    if (at < end) {
      const rest = at === 0 ? bytes : bytes.subarray(at, end);
      this.pending = owned ? rest : Buffer.from(rest);
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

  /** Returns where the head ended. */
  private consumeHead(bytes: Buffer, at: number, end: number): number {
    const { head, host } = this;
    const { words } = host.counters;
    const first = this.mode !== HEAD;
    const code = head.feed(bytes, at, end);
    if (code === NEED_MORE) {
      if (!first || !head.started) return end;
      words[COUNTER.waiting]--;
      words[COUNTER.reading]++;
      // On a fresh connection the whole head has the time that began to run when it was accepted.
      this.mode = HEAD;
      this.headSince = performance.now();
      if (this.requests > 0) setDeadline(this.deadline, host.config.defaultServer.settings.client_header_timeout);
      return end;
    }
    words[first ? COUNTER.waiting : COUNTER.reading]--;
    const request = this.begin();
    const refused = request.badUri ? 400 : request.refused;
    if (code === DONE && refused === 0) {
      if (head.fields.ignored !== undefined) this.logIgnored(request, head.fields.ignored);
      if (!this.beginBody(request)) {
        const next = head.end;
        startPhases(request);
        return next;
      }
      this.following = bytes;
      this.followingAt = head.end;
      this.followingEnd = end;
      const early = request.server.settings.client_body_early_read;
      if (early === undefined) startPhases(request);
      else startWithBody(request, early);
      this.following = undefined;
      return this.followingAt;
    }
    request.keepalive = false;
    request.bodyEnded = true;
    request.lingering = code === 494;
    this.unread = code !== DONE || head.end < end;
    // A path that cannot be decoded is known before the fields are.
    const error = code === DONE ? "client sent invalid request" : head.error;
    if (refused !== 500) logError(request, "info", `${error} while ${this.headAction(code === DONE)}`);
    finalizeRequest(request, code === DONE ? refused : code);
    return end;
  }

  /** The request of the head that was read, or broke off. */
  private begin(): Request {
    this.mode = NOTHING;
    this.requests++;
    this.config = this.host.config;
    const request = beginRequest(this, this.config, this.head, this.response);
    this.request = request;
    if (this.headSince !== 0) {
      request.startedWall -= Math.round(request.startedAt - this.headSince);
      request.startedAt = this.headSince;
      this.headSince = 0;
    }
    const { words } = this.host.counters;
    words[COUNTER.requests]++;
    words[COUNTER.writing]++;
    return request;
  }

  private headAction(inLine: boolean): string {
    if (this.head.inHeaders && !inLine) return "reading client request headers";
    return this.pipelined ? "reading client pipelined request line" : "reading client request line";
  }

  private logIgnored(request: Request, sentences: readonly string[]): void {
    for (const sentence of sentences) logError(request, "info", `${sentence} while reading client request headers`);
  }

  /** Whether there is a body. */
  private beginBody(request: Request): boolean {
    const { contentLength, chunked } = this.head.fields;
    if (contentLength <= 0 && !chunked) {
      request.bodyEnded = true;
      return false;
    }
    if (this.body === undefined) this.body = new body.BodyInput();
    this.body.begin(contentLength, chunked);
    request.lingering = true;
    return true;
  }

  discardBody(request: Request): number {
    request.discardBody = true;
    request.bodySink = undefined;
    const { following, pending } = this;
    if (following !== undefined) {
      this.followingAt = this.skim(request, following, this.followingAt, this.followingEnd);
    } else if (pending !== undefined && !this.consuming) {
      const at = this.skim(request, pending, 0, pending.length);
      this.pending = at < pending.length ? pending.subarray(at) : undefined;
    }
    return this.unread && request.bodyEnded ? 400 : OK;
  }

  /** Drops what is at hand of the body; returns where it ends. */
  private skim(request: Request, bytes: Buffer, start: number, end: number): number {
    const input = this.body;
    let at = start;
    while (input !== undefined && at < end && !request.bodyEnded) {
      switch (input.next(bytes, at, end)) {
        case body.DATA:
          at = input.dataEnd;
          request.bodyEnded = input.whole;
          break;
        case body.OVER:
          at = input.pos;
          request.bodyEnded = true;
          break;
        case body.BROKEN:
          logError(request, "error", "client sent invalid chunked body");
          request.bodyEnded = true;
          request.keepalive = false;
          this.unread = true;
          return end;
        default:
          at = end;
      }
    }
    if (request.bodyEnded) request.lingering = false;
    return at;
  }

  private consumeBody(request: Request, bytes: Buffer, at: number, end: number): number {
    const input = this.body;
    if (input === undefined) return end;
    const code = input.next(bytes, at, end);
    switch (code) {
      case body.DATA: {
        const { dataStart, dataEnd } = input;
        if (request.discardBody) {
          if (input.whole) this.endBody(request);
          else this.armDiscard(request);
          return dataEnd;
        }
        request.length += dataEnd - at;
        if (request.chunked && this.tooLarge(request, input.announced)) return dataEnd;
        request.bodyLength += dataEnd - dataStart;
        request.bodySink?.onBody(bytes.subarray(dataStart, dataEnd));
        if (this.request !== request) return dataEnd;
        if (input.whole) this.endBody(request);
        else if (request.discardBody) this.armDiscard(request);
        else this.armBody(request);
        return dataEnd;
      }
      case body.OVER:
        if (!request.discardBody) request.length += input.pos - at;
        this.endBody(request);
        return input.pos;
      case body.BROKEN:
        logError(request, "error", "client sent invalid chunked body");
        this.breakBody(request, 400);
        return end;
      default:
        if (request.discardBody) {
          this.armDiscard(request);
        } else {
          request.length += end - at;
          this.armBody(request);
        }
        return end;
    }
  }

  /** client_max_body_size for chunks: as soon as a chunk's size says so. */
  private tooLarge(request: Request, announced: number): boolean {
    const limit = request.location.core.clientMaxBodySize;
    if (limit === 0 || request.bodyLength + announced <= limit) return false;
    logError(
      request,
      "error",
      `client intended to send too large chunked body: ${request.bodyLength}+${announced} bytes`,
    );
    this.bodyFailed(request, 413);
    return true;
  }

  private endBody(request: Request): void {
    request.bodyEnded = true;
    request.lingering = false;
    if (this.mode === BODY) this.mode = NOTHING;
    const sink = request.bodySink;
    request.bodySink = undefined;
    if (!request.discardBody) sink?.onBodyEnd();
    else if (request.finalized && !this.finishing) this.done(request);
  }

  /** The body ends here, for it cannot be told where it would; so does the connection. */
  private breakBody(request: Request, status: number): void {
    request.bodyEnded = true;
    request.keepalive = false;
    request.lingering = false;
    this.unread = true;
    this.bodyFailed(request, status);
  }

  private bodyFailed(request: Request, status: number): void {
    const sink = request.bodySink;
    request.bodySink = undefined;
    request.discardBody = true;
    if (this.mode === BODY) this.mode = NOTHING;
    if (sink !== undefined) sink.onBodyError(status);
    // A server may be on its way that would wait for the body for ever.
    else if (request.upstream !== undefined && !request.finalized) request.upstream.finalize(status);
    else if (!request.finalized) finalizeRequest(request, status);
    else if (!this.finishing && this.request === request) this.done(request);
  }

  private armBody(request: Request): void {
    if (this.bodyPaused) return;
    this.mode = BODY;
    setDeadline(this.deadline, request.location.core.clientBodyTimeout);
  }

  /** While an answer is under way the client may take its time; after it, lingering_timeout and lingering_time hold. */
  private armDiscard(request: Request): void {
    if (!request.finalized || this.finishing) return;
    const { lingeringTime, lingeringTimeout } = request.location.core;
    const now = performance.now();
    if (request.discardUntil === 0) request.discardUntil = now + lingeringTime;
    this.mode = BODY;
    setDeadline(this.deadline, Math.min(lingeringTimeout, request.discardUntil - now));
  }

  sendContinue(request: Request): void {
    if (!request.expectContinue) return;
    request.expectContinue = false;
    this.output.write(request, "HTTP/1.1 100 Continue\r\n\r\n");
  }

  sendInformational(request: Request, text: string): void {
    this.output.write(request, text);
  }

  startBody(request: Request): void {
    this.sendContinue(request);
    this.armBody(request);
    if (!this.consuming) this.readOn();
  }

  private readOn(): void {
    if (this.pending !== undefined) this.consumePending();
    else this.resumeStream();
  }

  pauseBody(): void {
    this.bodyPaused = true;
    if (this.mode === BODY) this.mode = NOTHING;
    if (!this.consuming) this.pauseStream();
  }

  resumeBody(): void {
    if (!this.bodyPaused) return;
    this.bodyPaused = false;
    const { request } = this;
    if (request !== undefined && !request.bodyEnded && !request.discardBody) this.armBody(request);
    if (!this.consuming) this.readOn();
  }

  onEnd(_stream: Stream): void {
    this.readClosed = true;
    const { request } = this;
    if (this.tunnel !== undefined) {
      this.tunnel.onClientEnd();
    } else if (request === undefined) {
      this.endedIdle();
    } else if (request.bodyEnded) {
      request.keepalive = false;
      if (!request.finalized) request.onAbort?.(request);
    } else if (request.finalized) {
      // The rest of a body that was being dropped will not come.
      request.bodyEnded = true;
      request.keepalive = false;
      if (!this.finishing) this.done(request);
    } else {
      logError(request, "info", "client prematurely closed connection");
      this.broken = true;
      this.bodyFailed(request, 400);
    }
  }

  /** The client closed while no request was at work. */
  private endedIdle(): void {
    const { config } = this.host;
    switch (this.mode) {
      case HEAD: {
        const action = this.headAction(false);
        this.refuseHead(400, `client prematurely closed connection while ${action}`);
        return;
      }
      case IDLE:
      case KEPT:
        if (this.requests === 0) {
          logConnection(this, config, "info", `client closed connection while ${this.waitingFor}`);
        } else {
          const { errorLog } = config.defaultServer.root;
          const { remote } = this;
          const client = remote.family === "unix" ? "unix:" : remote.host;
          errorLog.write("info", `client ${client} closed keepalive connection`, this.number);
        }
    }
    this.stream.destroy();
  }

  /** What was read of a head is all there will be: it is logged as a request, and not answered. */
  private refuseHead(status: number, sentence: string): void {
    this.head.giveUp();
    this.host.counters.words[COUNTER.reading]--;
    const request = this.begin();
    request.keepalive = false;
    request.bodyEnded = true;
    request.timedOut = status === 408;
    logError(request, "info", sentence);
    this.broken = true;
    finalizeRequest(request, status);
  }

  onClose(_stream: Stream, error: StreamError | undefined): void {
    clearDeadline(this.deadline);
    this.output.unblock();
    const { request, mode } = this;
    if (request !== undefined) {
      this.gone(request, error);
    } else if (mode === HEAD) {
      if (error !== undefined) this.refuseHead(400, `recv() failed (${error.message}) while ${this.headAction(false)}`);
      else this.host.counters.words[COUNTER.reading]--;
    } else if (mode <= KEPT) {
      this.host.counters.words[COUNTER.waiting]--;
    }
    this.mode = NOTHING;
    this.host.closed(this);
    this.requestOver();
  }

  /** The stream went away under a request. */
  private gone(request: Request, error: StreamError | undefined): void {
    request.aborted = true;
    if (error !== undefined && !request.finalized) {
      const call = error.code === "EPIPE" || this.sent > request.sentAtStart ? "send" : "recv";
      logError(request, "info", `${call}() failed (${error.message})`);
    }
    if (!request.finalized) {
      const sink = request.bodySink;
      if (sink !== undefined) this.bodyFailed(request, 400);
      else if (request.onAbort !== undefined) request.onAbort(request);
      else finalizeRequest(request, CLIENT_CLOSED_REQUEST);
    }
    if (this.request === request) this.ended(request);
  }

  // ---- bytes out

  sendHead(request: Request): void {
    request.sentAtStart = this.sent;
    if (request.version === 9) {
      request.keepalive = false;
      return;
    }
    if (request.keepalive && this.host.draining && request.location.core.keepaliveMinTimeout === 0) {
      request.keepalive = false;
    }
    this.output.hold(responseHead(request));
  }

  sendBody(request: Request, bytes: Uint8Array | string, last: boolean): void {
    this.output.sendBody(request, bytes, last);
  }

  flush(): void {
    this.output.flush(this.request);
  }

  onDrain(_stream: Stream): void {
    if (this.tunnel !== undefined) {
      this.output.blocked = false;
      this.tunnel.onClientDrain();
    } else {
      this.output.onDrain(this.request);
    }
  }

  /** The client has taken all there was. */
  drained(): void {
    const { request } = this;
    if (request === undefined) return;
    if (this.finishing) this.done(request);
    else request.onWritable?.(request);
  }

  /** The client takes nothing of what is sent. */
  sendTimedOut(request: Request): void {
    request.timedOut = true;
    logError(request, "info", `client timed out (110: Connection timed out)${sendAction(request)}`);
    if (request.onAbort !== undefined && !request.finalized) {
      this.output.blocked = false;
      request.aborted = true;
      request.onAbort(request);
    }
    if (this.request === request) this.terminate(request);
  }

  // ---- the end of a request

  finish(request: Request): void {
    this.flush();
    if (
      request.incomplete ||
      (!request.responseEnded && !request.headerOnly && !request.aborted && request.chunkedResponse)
    ) {
      // The body broke off: a chunked response must not look complete.
      this.terminate(request);
      return;
    }
    if (!this.output.idle && !this.stream.closed) {
      this.finishing = true;
      return;
    }
    this.done(request);
  }

  /** Everything is sent, or nothing more will be. */
  private done(request: Request): void {
    this.finishing = false;
    if (!request.bodyEnded && request.keepalive && !this.closed && !this.readClosed) {
      this.dropRest(request);
      if (!request.bodyEnded || this.request !== request) return;
    }
    const { keepalive, location } = request;
    const { core } = location;
    this.ended(request);
    if (this.stream.closed) return;
    if (this.readClosed || !keepalive || (this.host.draining && core.keepaliveMinTimeout === 0)) {
      this.close(request);
      return;
    }
    this.wait(core.keepaliveTimeout, core.keepaliveMinTimeout);
    if (!this.consuming) this.readOn();
  }

  /** The rest of a body nobody wanted is read and dropped before the next request. */
  private dropRest(request: Request): void {
    request.discardBody = true;
    this.bodyPaused = false;
    this.armDiscard(request);
    if (!this.consuming) this.readOn();
  }

  /** Waits for the next request. */
  private wait(timeout: number, atLeast: number): void {
    const { host, head } = this;
    const { config } = host;
    host.counters.words[COUNTER.waiting]++;
    head.reset(config.limits);
    head.limitsOf = config.limitsOf;
    this.pipelined = true;
    if (atLeast === 0) {
      this.mode = IDLE;
      this.idleTime = timeout;
      setDeadline(this.deadline, timeout);
      return;
    }
    this.mode = KEPT;
    this.idleTime = Math.max(0, timeout - atLeast);
    setDeadline(this.deadline, timeout - this.idleTime);
  }

  /** Logs and lets go of the request. */
  private ended(request: Request): void {
    this.request = undefined;
    request.finalized = true;
    this.bodyPaused = false;
    this.finishing = false;
    if (this.output.blocked) this.output.unblock();
    if (!request.logged) {
      request.logged = true;
      for (const handler of request.location.log) handler(request);
    }
    this.host.counters.words[COUNTER.writing]--;
    if (request.cleanup !== undefined) cleanUp(request);
    resetResponse(this.response);
    if (this.afterRequest !== undefined) this.requestOver();
  }

  private requestOver(): void {
    const { afterRequest } = this;
    this.afterRequest = undefined;
    afterRequest?.();
  }

  private close(request: Request): void {
    const { core } = request.location;
    const { stream } = this;
    const left = request.lingering || this.unread || this.pipelined || this.pending !== undefined;
    this.pending = undefined;
    if (!this.readClosed && (core.lingeringClose === "always" || (core.lingeringClose === "on" && left))) {
      this.lingering = true;
      this.mode = NOTHING;
      clearDeadline(this.deadline);
      new LingeringClose(stream, core, this);
      return;
    }
    if (stream.queued === 0) {
      this.mode = NOTHING;
      this.destroySoon(false);
      return;
    }
    this.mode = CLOSING;
    this.output.progressed();
    this.idleTime = core.sendTimeout;
    setDeadline(this.deadline, core.sendTimeout);
    stream.close();
  }

  terminate(request: Request): void {
    this.output.drop();
    this.broken = true;
    const reset = request.timedOut && request.location.core.raw.reset_timedout_connection;
    if (this.request === request) this.ended(request);
    this.mode = NOTHING;
    this.destroySoon(reset);
  }

  /** Once the log lines of this turn of the loop are written: who sees the connection end finds them. */
  private destroySoon(reset: boolean): void {
    this.broken = true;
    if (!this.stream.closed) setImmediate(destroy, this.stream, reset);
  }

  // ---- upgrade

  takeOver(request: Request, tunnel: Tunnel): void {
    this.flush();
    this.tunnel = tunnel;
    this.mode = NOTHING;
    request.keepalive = false;
    if (this.consuming) return;
    const rest = this.pending;
    this.pending = undefined;
    if (rest !== undefined) tunnel.onClientData(rest);
    if (this.readClosed) tunnel.onClientEnd();
    this.resumeStream();
  }

  writeTunnel(bytes: Uint8Array): boolean {
    return this.output.writeTunnel(bytes);
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

  /** The deadline of what the client is to send has passed. */
  expire(): void {
    const { request, stream } = this;
    switch (this.mode) {
      case IDLE:
        if (this.requests === 0) {
          const sentence = `client timed out (110: Connection timed out) while ${this.waitingFor}`;
          logConnection(this, this.host.config, "info", sentence);
        }
        stream.destroy();
        return;
      case KEPT:
        if (this.idleTime === 0 || this.host.draining) {
          stream.destroy();
        } else {
          this.mode = IDLE;
          setDeadline(this.deadline, this.idleTime);
        }
        return;
      case HEAD:
        this.refuseHead(408, `client timed out (110: Connection timed out) while ${this.headAction(false)}`);
        return;
      case CLOSING:
        if (this.output.progressed()) setDeadline(this.deadline, this.idleTime);
        else stream.destroy();
        return;
      case BODY:
        if (request === undefined) return;
        // A body that nobody reads yet keeps nobody waiting.
        if (!request.discardBody && request.bodySink === undefined) return;
        request.timedOut = true;
        if (request.finalized) this.terminate(request);
        else this.bodyFailed(request, 408);
    }
  }

  shutdown(): void {
    if (this.request === undefined) {
      // Like nginx: a connection on which nothing was asked yet has client_header_timeout.
      if (this.mode === IDLE && this.requests > 0) this.stream.destroy();
    } else if (this.request.location.core.keepaliveMinTimeout === 0 && !this.request.headerSent) {
      this.request.keepalive = false;
    }
  }

  destroy(): void {
    this.stream.destroy();
  }
}

function destroy(stream: Stream, reset: boolean): void {
  stream.destroy(reset);
}

function sendAction(request: Request): string {
  return request.upstream === undefined ? " while sending response to client" : " while sending to client";
}

function expired(connection: H1Connection): void {
  connection.expire();
}
