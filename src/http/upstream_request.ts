import { readSync } from "node:fs";
import { parseSize } from "../config/directives.ts";
import type { Stream, StreamError } from "../net/stream.ts";
import { connect } from "../net/tcp.ts";
import { Deadline, setDeadline } from "../runtime/timers.ts";
import type { Group } from "../upstream/group.ts";
import type { Attempt, BalanceInput, Outcome, Peer } from "../upstream/peer.ts";
import { type Pool, PooledStream } from "../upstream/pool.ts";
import { CLIENT_CLOSED_REQUEST, ERROR, OK } from "./codes.ts";
import { passEarlyHints } from "./early_hints.ts";
import { finalizeRequest } from "./finalize.ts";
import { internalRedirect, namedRedirect } from "./flow.ts";
import * as chunked from "./h1/chunked.ts";
import { HeaderList } from "./h1/header_list.ts";
import { DONE, INVALID, NEED_MORE, ResponseHead } from "./h1/response_head.ts";
import { logError } from "./log_context.ts";
import { endBody, passBody, sendHeader } from "./output.ts";
import { ReadLimit } from "./read_limit.ts";
import type { BodySink, Request, Tunnel } from "./request.ts";
import { ResponseSpool } from "./response_spool.ts";
import { openBindAddress } from "./upstream_bind.ts";
import { bufferingOf, copyRedirectFields, copyResponse, type ResponseRules } from "./upstream_headers.ts";
import type { UpstreamSettings } from "./upstream_settings.ts";
import { markPassage, UpstreamState } from "./upstream_state.ts";
import { parseUnsafeUri } from "./uri.ts";

const CONNECTING = 0;
const HEADER = 1;
const BODY = 2;
const TUNNEL = 3;
const OVER = 4;

/** Idempotent methods may be repeated though the server may have begun to act upon them (RFC 9110 section 9.2.2). */
function repeatable(method: string): boolean {
  return method !== "POST" && method !== "LOCK" && method !== "PATCH";
}

/** The statuses of proxy_next_upstream. */
const NEXT_STATUS: Readonly<Record<number, string>> = {
  500: "http_500",
  502: "http_502",
  503: "http_503",
  504: "http_504",
  403: "http_403",
  404: "http_404",
  429: "http_429",
};

/** What a server connection keeps from request to request, so that reuse costs nothing. */
class ServerConnection {
  readonly pooled: PooledStream;
  head = new ResponseHead();
  readonly decoder = new chunked.ChunkedDecoder();
  trailers = new HeaderList();
  /** Re-armed while a request is at work; left to run out while the connection is idle. */
  readonly deadline: Deadline<ServerConnection>;
  current: UpstreamRequest | undefined = undefined;

  constructor(stream: Stream, peer: Peer) {
    this.pooled = new PooledStream(stream, peer.name, performance.now());
    this.pooled.data = this;
    this.deadline = new Deadline<ServerConnection>(this, timedOut);
  }
}

function timedOut(connection: ServerConnection): void {
  connection.current?.expired();
}

/** How a request's bytes are made, and where they go. Filled by the protocol's module. */
export interface UpstreamTarget {
  readonly group: Group;
  readonly pool: Pool | undefined;
  readonly settings: UpstreamSettings;
  readonly rules: ResponseRules;
  /** The settings object: the tag of `keepalive … local`. */
  readonly tag: unknown;
  /** The request's head, its blank line included. */
  readonly head: string;
  /** proxy_set_body: the body in place of the client's. */
  readonly body: string | undefined;
  /** The method sent is HEAD: the answer has no body. */
  readonly headRequest: boolean;
  /** The body goes out chunked (proxy_request_buffering off with a chunked request). */
  readonly chunkedBody: boolean;
  readonly input: BalanceInput;
  /** `http://upstream/uri` for the error log: scheme and uri, the peer is put between. */
  readonly scheme: string;
  readonly uri: string;
}

/**
 * One request on its way through an upstream: picks a server, sends, reads the answer and passes it on; tries the next
 * server where proxy_next_upstream allows (ngx_http_upstream.c). It is the handler of the server's stream meanwhile.
 */
export class UpstreamRequest implements BodySink, Tunnel {
  readonly request: Request;
  /** The request's, of earlier passages too. */
  readonly states: UpstreamState[];
  /** The last answer's head, for $upstream_http_* after the connection has gone on. */
  head: ResponseHead | undefined = undefined;
  /** The trailer of the last answer's body, once it has been read. */
  trailers: HeaderList | undefined = undefined;

  private readonly target: UpstreamTarget;
  private readonly attempt: Attempt;
  private readonly startedAt: number;
  private connection: ServerConnection | undefined = undefined;
  private stream: Stream | undefined = undefined;
  private peer: Peer | undefined = undefined;
  private state = OVER;
  private ended = false;
  private fromPool = false;
  /** The request, or a part of it, has been sent to the present server. */
  private sent = false;
  private bodySent = false;
  private fileOffset = 0;
  private streaming = false;
  /** Chunked body bytes received in the present turn. */
  private gathered: Buffer[] = [];
  /** Body bytes of the answer still to come; -1: until the server closes. */
  private left = -1;
  private chunkedAnswer = false;
  private answerEnded = false;
  private keepalive = false;
  private paused = false;
  /** Of the present answer: proxy_buffering or what X-Accel-Buffering says. */
  private buffering = true;
  /** proxy_limit_rate, and whether the next read waits for it. */
  private limit: ReadLimit | undefined = undefined;
  private limiting = false;
  private hintsLength = 0;
  private spool: ResponseSpool | undefined = undefined;
  /** The connection that went back to the pool while its head is still this request's. */
  private lent: ServerConnection | undefined = undefined;

  constructor(request: Request, target: UpstreamTarget) {
    this.request = request;
    this.target = target;
    this.startedAt = performance.now();
    this.states = markPassage(request);
    this.attempt = target.group.begin(target.input);
    const { nextTries } = target.settings;
    if (nextTries > 0) this.attempt.tries = Math.min(this.attempt.tries, nextTries);
  }

  /** `http://127.0.0.1:8080/uri` for the error log while a server is at work. */
  get shown(): string | undefined {
    if (this.ended) return undefined;
    return `${this.target.scheme}${this.peer?.name ?? this.target.group.name}${this.target.uri}`;
  }

  /** What the present step is called in the error log. */
  private doing(): string {
    if (this.state === CONNECTING) return "connecting to upstream";
    if (this.state === TUNNEL) return "proxying upgraded connection";
    if (this.state !== HEADER) return "reading upstream";
    return this.bodySent ? "reading response header from upstream" : "sending request to upstream";
  }

  // ---- choosing a server and connecting

  start(): void {
    const { request } = this;
    request.onAbort = this.target.settings.ignoreClientAbort ? undefined : clientGone;
    this.connect();
  }

  private connect(): void {
    const { target, request } = this;
    const peer = target.group.next(this.attempt);
    if (peer === undefined) {
      this.states.push(new UpstreamState(target.group.name));
      logError(request, "error", "no live upstreams while connecting to upstream");
      this.peer = undefined;
      this.noLive();
      return;
    }
    this.peer = peer;
    this.states.push(new UpstreamState(peer.name));
    this.sent = false;
    this.bodySent = false;
    this.fileOffset = 0;
    const pooled = target.pool?.take(peer, target.tag);
    if (pooled !== undefined && pooled.data instanceof ServerConnection) {
      this.fromPool = true;
      this.adopt(pooled.data);
      this.present().connectTime = 0;
      this.sendRequest();
      return;
    }
    this.fromPool = false;
    const bind = target.settings.bind;
    const local = bind === undefined ? undefined : openBindAddress(request, bind.address.render(request));
    const stream = connect({ address: peer.address, localAddress: local?.host, localPort: local?.port }, this);
    this.state = CONNECTING;
    this.adopt(new ServerConnection(stream, peer));
    this.arm(target.settings.connectTimeout);
  }

  private adopt(connection: ServerConnection): void {
    this.connection = connection;
    connection.current = this;
    this.stream = connection.pooled.stream;
    this.stream.handler = this;
    this.head = connection.head;
    connection.head.reset(this.target.settings.bufferSize);
  }

  private present(): UpstreamState {
    return this.states[this.states.length - 1];
  }

  private arm(ms: number): void {
    if (this.connection !== undefined) setDeadline(this.connection.deadline, ms);
  }

  onConnect(stream: Stream): void {
    if (this.state !== CONNECTING) return;
    const state = this.present();
    state.connectTime = performance.now() - state.startedAt;
    if (this.target.settings.socketKeepalive) stream.setKeepAlive(true);
    this.sendRequest();
  }

  // ---- the request

  private sendRequest(): void {
    const { stream, target, request } = this;
    if (stream === undefined) return;
    this.state = HEADER;
    this.sent = true;
    this.answerEnded = false;
    const body = request.body;
    const { head } = target;
    if (target.body !== undefined || !target.settings.passRequestBody) {
      this.bodySent = true;
      this.send(target.body === undefined ? head : head + target.body);
    } else if (body !== undefined) {
      this.sendBuffered(stream, head);
    } else if (!request.bodyEnded && !request.discardBody) {
      this.stream?.cork();
      this.send(head);
      this.streaming = true;
      this.sendPreread();
      this.stream?.uncork();
      request.bodySink = this;
      request.connection.startBody(request);
    } else if (request.preread !== undefined) {
      this.stream?.cork();
      this.send(head);
      this.streaming = true;
      this.sendPreread();
      this.onBodyEnd();
      this.stream?.uncork();
    } else {
      this.bodySent = true;
      this.send(head);
    }
    if (this.state === HEADER) this.arm(this.bodySent ? target.settings.readTimeout : target.settings.sendTimeout);
  }

  /** What came of the body before a server was at hand. Once sent it is gone: such a request is not tried again. */
  private sendPreread(): void {
    const { preread } = this.request;
    if (preread === undefined) return;
    this.request.preread = undefined;
    for (const piece of preread) this.onBody(piece);
    this.sendGathered();
  }

  private send(bytes: Uint8Array | string): boolean {
    const { stream } = this;
    if (stream === undefined) return true;
    this.present().bytesSent += bytes.length;
    return stream.write(bytes);
  }

  private sendBuffered(stream: Stream, head: string): void {
    const body = this.request.body;
    if (body?.file !== undefined) {
      this.send(head);
      this.sendFile(body.file.fd, body.length);
      return;
    }
    const chunk = body?.memory();
    this.bodySent = true;
    if (chunk === undefined || chunk.length === 0) this.send(head);
    else if (chunk.length <= 16 * 1024) this.send(head + chunk.latin1Slice(0, chunk.length));
    else {
      stream.cork();
      this.send(head);
      // The stream takes at most one read buffer's worth without copying twice.
      for (let at = 0; at < chunk.length; at += 65536) this.send(chunk.subarray(at, at + 65536));
      stream.uncork();
    }
  }

  private sendFile(fd: number, length: number): void {
    const piece = Buffer.allocUnsafe(Math.min(65536, Math.max(1, length - this.fileOffset)));
    while (this.fileOffset < length) {
      const read = readSync(fd, piece, 0, Math.min(piece.length, length - this.fileOffset), this.fileOffset);
      if (read === 0) break;
      this.fileOffset += read;
      if (!this.send(piece.subarray(0, read))) return;
    }
    this.bodySent = true;
    this.arm(this.target.settings.readTimeout);
  }

  onDrain(): void {
    if (this.state === TUNNEL) {
      this.request.connection.resumeRead();
      return;
    }
    if (this.bodySent || this.state === OVER) return;
    const { body } = this.request;
    if (this.streaming) this.request.connection.resumeBody();
    else if (body?.file !== undefined) {
      this.arm(this.target.settings.sendTimeout);
      this.sendFile(body.file.fd, body.length);
    }
  }

  // ---- a request body passed on as it comes

  onBody(bytes: Buffer): void {
    if (this.state === OVER) return;
    if (this.target.chunkedBody) {
      this.gather(bytes);
      return;
    }
    if (!this.send(bytes)) this.request.connection.pauseBody();
    if (this.state === HEADER) this.arm(this.target.settings.sendTimeout);
  }

  /** What comes in one read goes out as one chunk, however it was cut. */
  private gather(bytes: Buffer): void {
    this.gathered.push(Buffer.from(bytes));
    if (this.gathered.length === 1) queueMicrotask(() => this.sendGathered());
  }

  private sendGathered(): void {
    const { gathered } = this;
    if (gathered.length === 0) return;
    this.gathered = [];
    if (this.state === OVER) return;
    const length = gathered.reduce((sum, piece) => sum + piece.length, 0);
    this.stream?.cork();
    this.send(`${length.toString(16)}\r\n`);
    for (const piece of gathered) this.send(piece);
    const more = this.send("\r\n");
    this.stream?.uncork();
    if (!more) this.request.connection.pauseBody();
    if (this.state === HEADER) this.arm(this.target.settings.sendTimeout);
  }

  onBodyEnd(): void {
    if (this.state === OVER) return;
    if (this.target.chunkedBody) {
      this.stream?.cork();
      this.sendGathered();
      this.send("0\r\n\r\n");
      this.stream?.uncork();
    }
    this.bodySent = true;
    if (this.state === HEADER || this.state === BODY) this.arm(this.target.settings.readTimeout);
  }

  onBodyError(status: number): void {
    this.finalize(status);
  }

  // ---- the answer

  onData(_stream: Stream, bytes: Buffer): void {
    const state = this.present();
    state.bytesReceived += bytes.length;
    if (this.state === BODY) {
      if (this.limit === undefined) this.takeBody(bytes, 0);
      else this.takeLimited(this.limit, bytes, 0);
      return;
    }
    if (this.state === HEADER) this.takeHead(bytes, 0);
    else if (this.state === TUNNEL) {
      state.responseLength += bytes.length;
      this.arm(this.target.settings.readTimeout);
      this.toClient(bytes);
    }
  }

  private takeHead(bytes: Buffer, from: number): void {
    const { connection, request, target } = this;
    if (connection === undefined) return;
    const { head } = connection;
    const code = head.feed(bytes, from, bytes.length);
    if (code === NEED_MORE) {
      if (this.bodySent) this.arm(target.settings.readTimeout);
      return;
    }
    if (code === INVALID) {
      logError(request, "error", `${head.error} while reading response header from upstream`);
      this.next("invalid_header");
      return;
    }
    if (code !== DONE) {
      logError(request, "error", `${head.error} while reading response header from upstream`);
      this.takeHeadless(head, bytes);
      return;
    }
    if (head.status < 200 && head.status !== 101) {
      // Informational: the answer proper is still to come (RFC 9110 section 15.2).
      const rest = head.end;
      if (head.status === 103) this.takeHints(head);
      head.reset(target.settings.bufferSize);
      if (rest < bytes.length) this.takeHead(bytes, rest);
      return;
    }
    if (head.ignored !== undefined) {
      for (const sentence of head.ignored)
        logError(request, "warn", `${sentence} while reading response header from upstream`);
    }
    const state = this.present();
    state.status = head.status;
    state.headerTime = performance.now() - state.startedAt;
    target.group.header(this.attempt);
    this.frameAnswer(head);
    if (this.left === 0 && head.end < bytes.length) this.keepalive = false;
    if (head.status >= 300 && this.divert(head)) return;
    this.answer(head, bytes);
  }

  private takeHints(head: ResponseHead): void {
    const { request, target } = this;
    const { bufferSize, earlyHints, hidden } = target.settings;
    if (earlyHints.length === 0) return;
    this.hintsLength += head.length;
    if (this.hintsLength <= bufferSize) passEarlyHints(request, head.headers, earlyHints, hidden);
    else logError(request, "info", "upstream sent too big early hints while reading response header from upstream");
  }

  /** An HTTP/0.9 answer: all of it is body. */
  private takeHeadless(head: ResponseHead, bytes: Buffer): void {
    const { request } = this;
    const state = this.present();
    state.status = 200;
    state.headerTime = performance.now() - state.startedAt;
    request.response.status = 200;
    request.version = Math.min(request.version, 9);
    this.left = -1;
    this.chunkedAnswer = false;
    this.keepalive = false;
    if (!this.sendHead()) return;
    if (head.prefix !== undefined && head.prefix.length > 0) this.pass(head.prefix, 0, head.prefix.length, false);
    if (head.end < bytes.length) this.takeBody(bytes, head.end);
    else this.settle();
  }

  /** How long the answer's body is (RFC 9112 section 6.3), and whether the connection may serve another request. */
  private frameAnswer(head: ResponseHead): void {
    this.chunkedAnswer = false;
    this.answerEnded = false;
    this.keepalive = !head.connectionClose;
    if (head.status === 204 || head.status === 304 || this.target.headRequest) {
      this.left = 0;
    } else if (head.chunked) {
      this.chunkedAnswer = true;
      this.left = -1;
      const { connection } = this;
      connection?.trailers.clear();
      connection?.decoder.reset(connection.trailers);
    } else {
      this.left = head.contentLength;
      if (this.left < 0) this.keepalive = false;
    }
    // A connection can be kept though nobody goes on reading (error_page, X-Accel-Redirect, HEAD).
    if (this.left === 0) this.answerEnded = true;
  }

  /** Another server, or an error page, instead of this answer. */
  private divert(head: ResponseHead): boolean {
    const { settings } = this.target;
    const condition = NEXT_STATUS[head.status];
    if (condition !== undefined && this.attempt.tries > 1 && this.mayRepeat(condition)) {
      this.next(condition);
      return true;
    }
    if (settings.interceptErrors) {
      const { request } = this;
      for (const page of request.location.core.errorPages) {
        if (page.status !== head.status) continue;
        if (head.status === 401) {
          for (const value of head.headers.getAll("www-authenticate")) {
            request.response.headers.add("WWW-Authenticate", "www-authenticate", value);
          }
        }
        this.finalize(head.status);
        return true;
      }
    }
    return false;
  }

  private answer(head: ResponseHead, bytes: Buffer): void {
    const { request, target } = this;
    const { settings } = target;
    if (head.xAccelRedirect !== undefined && !settings.ignored.has("x-accel-redirect")) {
      this.accelRedirect(head.xAccelRedirect, head);
      return;
    }
    if (head.status === 101) {
      if (request.headers.has("upgrade")) {
        this.upgrade(head, bytes);
        return;
      }
      // Nobody asked for it: what would follow could be taken for anything.
      request.keepalive = false;
      this.keepalive = false;
    }
    copyResponse(request, head, target.rules, settings);
    this.buffering = head.xAccelBuffering === undefined ? settings.buffering : bufferingOf(head, settings);
    if (!this.buffering) request.limitRate = 0;
    if (!this.sendHead()) return;
    if (request.headerOnly) {
      this.finalize(OK);
      return;
    }
    this.state = BODY;
    if (this.left === 0) {
      this.complete(false);
      return;
    }
    if (settings.limitRate !== undefined && this.buffering) {
      const rate = parseSize(settings.limitRate.render(request)) ?? 0;
      if (rate > 0) this.limit = new ReadLimit(rate);
    }
    if (head.end === bytes.length) this.settle();
    else if (this.limit === undefined) this.takeBody(bytes, head.end);
    else this.takeLimited(this.limit, bytes, head.end);
  }

  private sendHead(): boolean {
    this.state = BODY;
    // The server has seen the conditions itself: what it sends is its answer to them.
    this.request.disableNotModified = true;
    const code = sendHeader(this.request);
    if (code === OK) {
      this.request.onWritable = writable;
      return true;
    }
    this.finalize(code);
    return false;
  }

  /** As many bytes of the body as proxy_limit_rate allows by now; the server waits meanwhile. */
  private takeLimited(limit: ReadLimit, bytes: Buffer, from: number): void {
    const allowed = limit.allow(bytes.length - from);
    if (allowed > 0) this.takeBody(bytes.subarray(from, from + allowed), 0);
    if (this.state !== BODY) return;
    if (from + allowed < bytes.length) limit.hold(bytes.subarray(from + allowed));
    else if (limit.delay === 0) return;
    this.limiting = true;
    this.pause();
    this.arm(limit.delay);
  }

  private readOn(): void {
    const held = this.limit?.release();
    this.limiting = false;
    if (held !== undefined && this.limit !== undefined) this.takeLimited(this.limit, held, 0);
    if (this.state !== BODY || this.limiting) return;
    this.arm(this.target.settings.readTimeout);
    if (this.spool === undefined || !this.spool.full) this.resume();
  }

  /** Bytes of the body. */
  private takeBody(bytes: Buffer, from: number): void {
    const end = bytes.length;
    if (this.chunkedAnswer) {
      this.takeChunks(bytes, from, end);
      return;
    }
    let last = false;
    let until = end;
    if (this.left >= 0) {
      if (end - from > this.left) {
        logError(
          this.request,
          "warn",
          `upstream sent more data than specified in "Content-Length" header while reading upstream`,
        );
        this.keepalive = false;
        until = from + this.left;
      }
      this.left -= until - from;
      last = this.left === 0;
    }
    if (last) this.answerEnded = true;
    this.pass(bytes, from, until, last);
    if (last) this.complete(true);
    else this.settle();
  }

  private takeChunks(bytes: Buffer, from: number, end: number): void {
    const decoder = this.connection?.decoder;
    if (decoder === undefined) return;
    let at = from;
    while (at < end) {
      const code = decoder.next(bytes, at, end);
      if (code === chunked.DATA) {
        this.pass(bytes, decoder.dataStart, decoder.dataEnd, false);
        if (this.state !== BODY) return;
        at = decoder.dataEnd;
        continue;
      }
      if (code === chunked.CHUNKED_DONE) {
        if (decoder.pos < end) {
          logError(this.request, "warn", "upstream sent data after final chunk while reading upstream");
          this.keepalive = false;
        }
        this.answerEnded = true;
        this.takeTrailers();
        this.complete(false);
        return;
      }
      if (code === chunked.ERROR) {
        logError(this.request, "error", "upstream sent invalid chunked response while reading upstream");
        this.finalize(502);
        return;
      }
      break;
    }
    this.settle();
  }

  private takeTrailers(): void {
    const { connection, request, target } = this;
    if (connection === undefined || connection.trailers.count === 0) return;
    const { trailers } = connection;
    connection.trailers = new HeaderList();
    this.trailers = trailers;
    if (!target.settings.passTrailers) return;
    const { hidden } = target.settings;
    const { count, keys, names, values } = trailers;
    const out = request.response.trailers ?? new HeaderList();
    for (let i = 0; i < count; i++) if (!hidden.has(keys[i])) out.add(names[i], keys[i], values[i]);
    if (out.count > 0) request.response.trailers = out;
  }

  /** Hands body bytes to the client's side; `last` marks the end of the response. */
  private pass(bytes: Buffer, from: number, until: number, last: boolean): void {
    const { request } = this;
    const piece = from === 0 && until === bytes.length ? bytes : bytes.subarray(from, until);
    this.present().responseLength += piece.length;
    if (this.spool !== undefined) {
      this.spool.push(piece);
      return;
    }
    if (request.connection.blocked && this.buffering && !request.connection.closed) {
      this.spool = new ResponseSpool(request, this.target.settings);
      this.spool.push(piece);
      return;
    }
    passBody(request, 0, piece, last);
  }

  /** After a read: what is held back leaves, and a slow client holds the server up where nothing may be buffered. */
  private settle(): void {
    const { request, spool } = this;
    if (this.state !== BODY) return;
    if (spool?.failed) {
      this.finalize(ERROR);
      return;
    }
    if (spool === undefined) request.connection.flush();
    this.arm(this.target.settings.readTimeout);
    const full = spool === undefined ? request.connection.blocked && !this.buffering : spool.full;
    if (full) this.pause();
  }

  private pause(): void {
    if (this.paused) return;
    this.paused = true;
    this.stream?.pause();
  }

  private resume(): void {
    if (!this.paused || this.limiting) return;
    this.paused = false;
    this.stream?.resume();
  }

  /** The client takes bytes again. */
  drained(): void {
    const { spool, request } = this;
    if (spool !== undefined) {
      while (!request.connection.blocked && spool.length > 0) {
        const piece = spool.shift();
        passBody(request, 0, piece, this.answerEnded && spool.length === 0);
      }
      if (spool.failed) {
        this.finalize(ERROR);
        return;
      }
      if (spool.length === 0) {
        this.spool = undefined;
        spool.close();
        if (this.answerEnded) {
          this.finish(OK);
          return;
        }
        request.connection.flush();
      } else if (spool.full) {
        return;
      }
    }
    if (this.state === BODY && !this.limiting) this.arm(this.target.settings.readTimeout);
    this.resume();
  }

  /** The whole answer has been read. */
  private complete(passedLast: boolean): void {
    this.releaseServer("ok");
    if (this.spool !== undefined) {
      this.keepHead();
      this.state = OVER;
      if (!this.request.connection.blocked) this.drained();
      return;
    }
    if (!passedLast) endBody(this.request);
    this.finish(OK);
  }

  onEnd(): void {
    switch (this.state) {
      case HEADER:
        if (this.connection !== undefined) this.prematureEnd();
        return;
      case BODY:
        this.bodyClosed();
        return;
      case TUNNEL:
        this.request.connection.endTunnel();
        this.tunnelEnded = true;
        if (this.clientEnded) this.finish(OK);
        return;
    }
  }

  private prematureEnd(): void {
    logError(
      this.request,
      "error",
      "upstream prematurely closed connection while reading response header from upstream",
    );
    this.next("error");
  }

  private bodyClosed(): void {
    const { request } = this;
    if (this.left < 0 && !this.chunkedAnswer) {
      this.answerEnded = true;
      this.complete(false);
      return;
    }
    logError(request, "error", "upstream prematurely closed connection while reading upstream");
    request.keepalive = false;
    this.broken();
  }

  /** The answer cannot be completed: the client gets what there is and then a close. */
  private broken(): void {
    const { request } = this;
    // As nginx counts: once it has begun to answer, the server is no failed one.
    this.keepalive = false;
    this.releaseServer("ok");
    if (this.spool !== undefined) {
      while (this.spool.length > 0) passBody(request, 0, this.spool.shift(), false);
      this.spool.close();
      this.spool = undefined;
    }
    request.connection.flush();
    request.incomplete = true;
    request.keepalive = false;
    this.finish(OK);
  }

  onClose(_stream: Stream, error: StreamError | undefined): void {
    const { request } = this;
    switch (this.state) {
      case CONNECTING:
        if (error?.code === "EMFILE" || error?.code === "ENFILE") {
          // This machine's fault: no server is to be held out for it.
          logError(request, "alert", `socket() failed (${error.message}) while connecting to upstream`);
          this.finalize(500);
          return;
        }
        logError(request, "error", `connect() failed (${error?.message ?? "closed"}) while connecting to upstream`);
        this.next("error");
        return;
      case HEADER:
        if (error !== undefined && error.code !== "EPIPE") {
          logError(request, "error", `recv() failed (${error.message}) while reading response header from upstream`);
          this.next("error");
        } else {
          this.prematureEnd();
        }
        return;
      case BODY:
        if (error === undefined) {
          this.bodyClosed();
          return;
        }
        logError(request, "error", `recv() failed (${error.message}) while reading upstream`);
        this.broken();
        return;
      case TUNNEL:
        this.finish(OK);
        return;
    }
  }

  /** The deadline of the present step has passed. */
  expired(): void {
    const { request } = this;
    switch (this.state) {
      case CONNECTING:
        logError(request, "error", "upstream timed out (110: Connection timed out) while connecting to upstream");
        this.next("timeout");
        return;
      case HEADER: {
        const doing = this.bodySent ? "reading response header from upstream" : "sending request to upstream";
        logError(request, "error", `upstream timed out (110: Connection timed out) while ${doing}`);
        this.next("timeout");
        return;
      }
      case BODY:
        if (this.limiting) {
          this.readOn();
          return;
        }
        if (this.paused) {
          this.arm(this.target.settings.readTimeout);
          return;
        }
        logError(request, "error", "upstream timed out (110: Connection timed out) while reading upstream");
        this.broken();
        return;
      case TUNNEL:
        logError(request, "error", "upstream timed out (110: Connection timed out) while proxying upgraded connection");
        this.finish(OK);
        return;
    }
  }

  // ---- the next server

  private mayRepeat(condition: string): boolean {
    const { settings } = this.target;
    if (!settings.next.has(condition)) return false;
    if (this.sent && !repeatable(this.request.method) && !settings.next.has("non_idempotent")) return false;
    if (this.sent && this.streaming) return false;
    return settings.nextTimeout === 0 || performance.now() - this.startedAt < settings.nextTimeout;
  }

  private next(condition: string): void {
    const { request } = this;
    const state = this.present();
    // A connection from the pool that turns out dead says nothing of the server.
    const stale = this.fromPool && condition === "error";
    this.releaseServer(condition === "http_403" || condition === "http_404" ? "next" : "failed");
    if (stale) this.attempt.tries++;
    const status = condition === "timeout" ? 504 : condition.startsWith("http_") ? Number(condition.slice(5)) : 502;
    state.status = status;
    if (request.connection.closed && !this.target.settings.ignoreClientAbort) {
      this.finish(CLIENT_CLOSED_REQUEST);
      return;
    }
    if (this.attempt.tries <= 0 || !this.mayRepeat(condition)) {
      this.finish(status);
      return;
    }
    if (this.streaming && !this.sent) this.streaming = false;
    this.connect();
  }

  private noLive(): void {
    const state = this.present();
    state.status = 502;
    state.responseTime = performance.now() - state.startedAt;
    this.finish(502);
  }

  /** Gives the server back: its connection to the pool where it can be used again. */
  private releaseServer(outcome: Outcome): void {
    const { connection, peer, target } = this;
    if (peer === undefined) return;
    this.peer = undefined;
    const state = this.present();
    if (state.responseTime < 0) state.responseTime = performance.now() - state.startedAt;
    target.group.release(this.attempt, outcome);
    if (this.attempt.disabled)
      logError(this.request, "warn", `upstream server temporarily disabled while ${this.doing()}`);
    if (connection === undefined) return;
    this.connection = undefined;
    this.stream = undefined;
    connection.current = undefined;
    const { pooled } = connection;
    if (this.paused) {
      this.paused = false;
      pooled.stream.resume();
    }
    const reusable =
      outcome === "ok" && this.keepalive && this.answerEnded && this.bodySent && target.pool !== undefined;
    this.state = OVER;
    if (reusable && target.pool !== undefined) {
      target.pool.put(pooled, target.tag);
      this.lent = connection;
      return;
    }
    pooled.stream.handler = IGNORE;
    pooled.stream.destroy();
  }

  /** The request is not over though its connection may serve another one: the head stays with the request. */
  private keepHead(): void {
    if (this.lent !== undefined && this.lent.head === this.head) this.lent.head = new ResponseHead();
    this.lent = undefined;
  }

  /** Ends the exchange with the server and answers `code`. */
  finalize(code: number): void {
    if (code === CLIENT_CLOSED_REQUEST || code === ERROR) this.keepalive = false;
    this.releaseServer("ok");
    this.finish(code);
  }

  private finish(code: number): void {
    const { request, target } = this;
    this.state = OVER;
    if (this.connection !== undefined) this.releaseServer("ok");
    if (this.spool !== undefined) {
      this.spool.close();
      this.spool = undefined;
    }
    if (!this.ended) target.group.end(this.attempt);
    this.ended = true;
    request.onAbort = undefined;
    request.onWritable = undefined;
    if (request.bodySink === this) request.bodySink = undefined;
    finalizeRequest(request, request.headerSent && code >= 300 ? ERROR : code);
    if (!request.logged) this.keepHead();
    this.lent = undefined;
  }

  /** The client has gone: so does the server's connection. */
  clientGone(): void {
    const { request } = this;
    if (this.state === TUNNEL) {
      this.finish(OK);
      return;
    }
    logError(
      request,
      "info",
      `epoll_wait() reported that client prematurely closed connection, so upstream connection is closed too while ${this.doing()}`,
    );
    this.finalize(CLIENT_CLOSED_REQUEST);
  }

  // ---- X-Accel-Redirect and Upgrade

  private accelRedirect(to: string, head: ResponseHead): void {
    const { request, target } = this;
    if (request.bodySink === this) request.bodySink = undefined;
    copyRedirectFields(request, head, target.settings);
    this.releaseServer("ok");
    this.keepHead();
    target.group.end(this.attempt);
    this.ended = true;
    request.onAbort = undefined;
    if (to.startsWith("@")) {
      namedRedirect(request, to);
      return;
    }
    const parts = parseUnsafeUri(to);
    if (parts === undefined) {
      logError(request, "error", `unsafe URI "${to}" was detected`);
      finalizeRequest(request, 404);
      return;
    }
    if (request.method !== "HEAD") request.method = "GET";
    internalRedirect(request, parts.uri, parts.args);
  }

  private clientEnded = false;
  private tunnelEnded = false;

  private upgrade(head: ResponseHead, bytes: Buffer): void {
    const { request, target } = this;
    this.keepalive = false;
    copyResponse(request, head, target.rules, target.settings);
    if (!this.sendHead()) return;
    this.state = TUNNEL;
    request.connection.flush();
    request.connection.takeOver(request, this);
    if (this.state === TUNNEL && head.end < bytes.length) {
      this.present().responseLength += bytes.length - head.end;
      this.toClient(bytes.subarray(head.end));
    }
    this.arm(target.settings.readTimeout);
  }

  private toClient(bytes: Buffer): void {
    this.request.bodySent += bytes.length;
    if (!this.request.connection.writeTunnel(bytes)) this.pause();
  }

  onClientData(bytes: Buffer): void {
    if (this.state !== TUNNEL) return;
    this.arm(this.target.settings.readTimeout);
    if (!this.send(bytes)) this.request.connection.pauseRead();
  }

  onClientEnd(): void {
    if (this.state !== TUNNEL) return;
    this.clientEnded = true;
    this.stream?.end();
    if (this.tunnelEnded) this.finish(OK);
  }

  onClientDrain(): void {
    this.resume();
  }
}

const IGNORE = { onData() {}, onDrain() {}, onEnd() {}, onClose() {} };

function clientGone(request: Request): void {
  request.upstream?.clientGone();
}

function writable(request: Request): void {
  request.upstream?.drained();
}
