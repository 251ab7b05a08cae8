import { parseSize } from "../../config/values.ts";
import { failureText, type StreamError } from "../../net/stream.ts";
import { parseHttpTime } from "../../wire/http_time.ts";
import { HeaderList } from "../../wire/http1/header_list.ts";
import { NO_TRAILERS } from "../../wire/http1/hop_by_hop.ts";
import { byteString } from "../../wire/latin1.ts";
import { CLIENT_CLOSED_REQUEST, ERROR, OK } from "../core/codes.ts";
import { endBody, FLUSH, LAST as LAST_BUFFER, passBody, takesMore } from "../core/filters.ts";
import { logError } from "../core/log_context.ts";
import type { Request } from "../core/request.ts";
import type { BodyKeeper, RequestCache, UpstreamHooks, UpstreamState } from "../core/upstream.ts";
import { type AnswerReader, BROKEN, DATA, INVALID, LAST, MORE, OVER } from "./protocol.ts";
import { ReadLimit } from "./read_limit.ts";
import { ResponseSpool, type SpoolOwner } from "./response_spool.ts";
import { ResponseStore, type StoreOwner } from "./response_store.ts";
import type { AnswerSink, ServerExchange } from "./server_exchange.ts";
import type { UpstreamSettings } from "./settings.ts";

/** The passage whose answer goes through the pipe. */
export interface PipeOwner {
  readonly request: Request;
  readonly present: UpstreamState;
  /** The whole answer was read, or no more of it will come: releases the server. */
  releaseServer(outcome: "ok"): void;
  /** Keeps the head for the request although its connection may serve another one. */
  keepHead(): void;
  finalize(code: number): void;
  onFault(error: unknown): void;
}

/**
 * Pieces up to this size are passed on as text: the output would make text of them anyway, and a view costs more than a
 * string.
 */
const SHORT = 4096;

/** Passes an answer's body to the client (ngx_event_pipe.c): reads it, keeps it for a slow client, passes it on. */
export class ResponsePipe implements AnswerSink, SpoolOwner, StoreOwner {
  readonly doing = "reading upstream";
  readonly request: Request;
  readonly settings: UpstreamSettings;
  bodiless = false;
  /** The trailer of the body, once it has been read. */
  trailers: HeaderList | undefined = undefined;
  private readonly owner: PipeOwner;
  /** Undefined once the server was released. */
  private connection: ServerExchange | undefined;
  private readonly reader: AnswerReader;
  /** proxy_buffering, or X-Accel-Buffering. */
  private readonly buffering: boolean;
  private readonly hooks: UpstreamHooks["body"];
  private spool: ResponseSpool | undefined = undefined;
  private keeper: BodyKeeper | undefined = undefined;
  /** The client has gone or wants the head alone, and the answer is read to be kept. */
  private clientless = false;
  /** proxy_limit_rate, and whether the next read waits for it. */
  private limit: ReadLimit | undefined = undefined;
  private limiting = false;
  /** The whole answer has been read; and LAST was passed on with its last bytes. */
  private complete = false;
  private passedLast = false;
  /** No more of it will come, although it is not complete. */
  private broken = false;

  constructor(
    owner: PipeOwner,
    connection: ServerExchange,
    settings: UpstreamSettings,
    buffering: boolean,
    hooks: UpstreamHooks["body"],
  ) {
    this.owner = owner;
    this.request = owner.request;
    this.settings = settings;
    this.connection = connection;
    this.reader = connection.reader;
    this.buffering = buffering;
    this.hooks = hooks;
  }

  get answerEnded(): boolean {
    return this.complete;
  }

  /** Has the answer kept where it is to be, by the cache or …_store. False if nothing keeps it. */
  keep(cache: RequestCache | undefined): boolean {
    const { reader, settings, request } = this;
    this.keeper = cache?.keep(this);
    if (this.keeper !== undefined) return true;
    if (settings.store !== undefined && this.buffering && reader.head.status === 200 && !request.headerOnly) {
      const modified = reader.head.headers.get("last-modified");
      this.keeper = new ResponseStore(this, modified === undefined ? -1 : parseHttpTime(modified));
    }
    return this.keeper !== undefined;
  }

  /** Starts when the head has been passed on; `bytes` has the head and the beginning of the body, or all of it. */
  begin(bytes: Buffer): void {
    const { reader, request, settings } = this;
    if (reader.whole) {
      this.bodiless = true;
      this.end(false);
      return;
    }
    if (settings.limitRate !== undefined && this.buffering) {
      const rate = parseSize(settings.limitRate.render(request)) ?? 0;
      if (rate > 0) this.limit = new ReadLimit(rate);
    }
    const { pos } = reader;
    if (reader.early !== undefined) this.take(reader.early, 0);
    const { connection } = this;
    if (connection === undefined) return;
    if (pos === bytes.length) {
      if (!connection.reading) this.settle();
    } else if (this.limit === undefined) this.take(bytes, pos);
    else this.takeLimited(this.limit, bytes, pos);
  }

  /** The server has been given back. */
  detach(): void {
    this.connection = undefined;
  }

  /** The passage is over: drops what is kept for the client. */
  close(): void {
    this.spool?.close();
    this.spool = undefined;
    this.keeper?.close();
    this.keeper = undefined;
  }

  /** The client has gone. False if there is nothing to go on for. */
  loseClient(): boolean {
    const { keeper, connection } = this;
    if (keeper === undefined || keeper.ended || this.broken) return false;
    this.clientless = true;
    this.spool?.close();
    this.spool = undefined;
    if (!keeper.full && !this.limiting) connection?.resume();
    return true;
  }

  // ---- from the server

  onServerData(bytes: Buffer): void {
    if (this.limit === undefined || bytes.length === 0) this.take(bytes, 0);
    else this.takeLimited(this.limit, bytes, 0);
  }

  onServerRead(): void {
    this.settle();
  }

  onServerEnd(): void {
    if (this.reader.endsWithConnection()) {
      this.end(false);
      return;
    }
    logError(this.request, "error", "upstream prematurely closed connection while reading upstream");
    this.breakOff();
  }

  onServerClose(error: StreamError | undefined): void {
    if (error === undefined) {
      this.onServerEnd();
      return;
    }
    logError(this.request, "error", `${failureText("recv", error)} while reading upstream`);
    this.breakOff();
  }

  onTimeout(): void {
    if (this.limiting) {
      this.readOn();
    } else if (this.connection?.isPaused) {
      // The client is slow, not the server; send_timeout applies to it.
      this.connection.arm(this.settings.readTimeout);
    } else {
      logError(this.request, "error", "upstream timed out (110: Connection timed out) while reading upstream");
      this.breakOff();
    }
  }

  onRequestSent(): void {
    if (!this.limiting) this.connection?.arm(this.settings.readTimeout);
  }

  onFault(error: unknown): void {
    this.owner.onFault(error);
  }

  /** Bytes of the body as they came; none where it has ended without. */
  private take(bytes: Buffer, from: number): void {
    const { reader } = this;
    let at = from;
    do {
      const code = reader.readBody(bytes, at);
      if (code === MORE) break;
      if (code === DATA) {
        this.pass(bytes, reader.dataStart, reader.dataEnd, false);
        if (this.connection === undefined) return;
        at = reader.pos;
        continue;
      }
      if (code === INVALID || code === BROKEN) {
        logError(this.request, "error", `${reader.error} while reading upstream`);
        if (code === BROKEN) this.breakOff();
        else this.owner.finalize(ERROR);
        return;
      }
      if (reader.excess !== "") logError(this.request, "warn", `${reader.excess} while reading upstream`);
      this.complete = true;
      if (code === LAST) this.pass(bytes, reader.dataStart, reader.dataEnd, true);
      else if (code === OVER) this.takeTrailers(reader);
      this.end(code === LAST);
      return;
    } while (at < bytes.length);
    if (this.connection?.reading !== true) this.settle();
  }

  private takeTrailers(reader: AnswerReader): void {
    const trailers = reader.takeTrailers();
    if (trailers === undefined) return;
    this.trailers = trailers;
    const { response } = this.request;
    const { passTrailers, hidden } = this.settings;
    if (!passTrailers) return;
    const { named } = reader.head.headers;
    const out = response.trailers ?? new HeaderList();
    for (let i = 0; i < trailers.count; i++) {
      if (hidden.holds(trailers, i) || NO_TRAILERS.holds(trailers, i) || named?.has(trailers.key(i))) continue;
      out.copy(trailers, i);
    }
    if (out.count > 0) response.trailers = out;
  }

  /** Takes as many bytes of the body as proxy_limit_rate allows now; the server waits meanwhile. */
  private takeLimited(limit: ReadLimit, bytes: Buffer, from: number): void {
    const allowed = limit.allow(bytes.length - from);
    if (allowed > 0) this.take(bytes.subarray(from, from + allowed), 0);
    const { connection } = this;
    if (connection === undefined) return;
    if (from + allowed < bytes.length) limit.hold(bytes.subarray(from + allowed));
    else if (limit.delay === 0) return;
    this.limiting = true;
    connection.pause();
    connection.arm(limit.delay);
  }

  /** The time that proxy_limit_rate asked to wait is over. */
  private readOn(): void {
    const { limit } = this;
    const held = limit?.release();
    this.limiting = false;
    if (held !== undefined && limit !== undefined) this.takeLimited(limit, held, 0);
    const { connection, spool } = this;
    if (connection === undefined || this.limiting) return;
    connection.arm(this.settings.readTimeout);
    if (spool?.full !== true && this.keeper?.full !== true) connection.resume();
  }

  /** The whole answer was read. `passedLast`: LAST was passed on with its last bytes. */
  private end(passedLast: boolean): void {
    const { owner, keeper } = this;
    this.complete = true;
    this.passedLast = passedLast;
    owner.releaseServer("ok");
    keeper?.finish();
    // As in nginx the response ends when the file has its name.
    if (keeper?.ended === false) owner.keepHead();
    else this.endResponse();
  }

  private endResponse(): void {
    const { request, owner } = this;
    if (this.clientless) {
      owner.finalize(OK);
      return;
    }
    if (this.spool?.failed) {
      owner.finalize(ERROR);
      return;
    }
    if (this.waits()) {
      owner.keepHead();
      if (takesMore(request)) this.onWritable();
      return;
    }
    if (!this.passedLast) endBody(request);
    owner.finalize(OK);
  }

  onKept(): void {
    const { keeper, connection, complete } = this;
    if (keeper === undefined) return;
    if (complete && keeper.ended) {
      this.keeper = undefined;
      this.endResponse();
    } else if (this.clientless && keeper.ended) {
      this.owner.finalize(this.request.headerOnly ? OK : CLIENT_CLOSED_REQUEST);
    } else if (!keeper.full && connection?.isPaused === true) {
      this.onWritable();
    }
  }

  /** The answer cannot be completed: the client gets what there is, at its own pace, and then a close. */
  private breakOff(): void {
    const { request, connection } = this;
    this.keeper?.close();
    // As in nginx a server that has begun to answer does not count as failed.
    if (connection !== undefined) connection.keepalive = false;
    this.owner.releaseServer("ok");
    this.broken = true;
    request.keepalive = false;
    request.exchange.flush();
    if (request.connection.closed) this.finalizeBroken();
    else if (takesMore(request)) this.onWritable();
  }

  private finalizeBroken(): void {
    this.request.incomplete = true;
    this.owner.finalize(OK);
  }

  // ---- to the client

  /** Passes body bytes to the filters; `last` marks the end of the response. */
  private pass(bytes: Buffer, from: number, until: number, last: boolean): void {
    const { request } = this;
    const length = until - from;
    const flags = last ? LAST_BUFFER : 0;
    this.owner.present.responseLength += length;
    if (this.hooks !== undefined) for (const hook of this.hooks) hook(request, bytes, from, until);
    if (this.keeper !== undefined) {
      this.keeper.push(bytes.subarray(from, until));
      if (this.clientless) return;
    }
    if (this.waits() || (this.buffering && !takesMore(request) && !request.connection.closed)) {
      this.spool ??= new ResponseSpool(this);
      this.spool.push(bytes.subarray(from, until));
    } else if (length <= SHORT) {
      passBody(request, 0, byteString(bytes, from, until), flags);
    } else {
      passBody(request, 0, length === bytes.length ? bytes : bytes.subarray(from, until), flags);
    }
  }

  /** Whether some of the response waits for the client. */
  private waits(): boolean {
    const { spool } = this;
    return spool !== undefined && spool.length > 0;
  }

  /** After a read: flushes, and pauses the server if the client is slow and nothing may be buffered. */
  private settle(): void {
    const { spool, request } = this;
    if (this.connection === undefined) return;
    if (spool?.failed) {
      this.owner.finalize(ERROR);
      return;
    }
    if (!this.buffering) passBody(request, 0, "", FLUSH);
    else if (!this.clientless && !this.waits()) request.exchange.flush();
    // A filter may have ended the request.
    const { connection } = this;
    if (connection === undefined) return;
    connection.arm(this.settings.readTimeout);
    const full = spool === undefined ? !this.buffering && !takesMore(request) : spool.full;
    if (full || this.keeper?.full === true) connection.pause();
  }

  /** The client takes bytes again. */
  onWritable(): void {
    const { spool, request } = this;
    if (spool !== undefined) {
      while (takesMore(request) && spool.length > 0) {
        const piece = spool.first();
        if (piece === undefined) break;
        passBody(request, 0, piece, this.complete && spool.length === piece.length ? LAST_BUFFER : 0);
        spool.dropFirst();
        if (this.spool !== spool) return;
      }
      if (spool.failed) {
        this.owner.finalize(ERROR);
        return;
      }
      if (spool.length === 0) {
        if (this.complete) {
          if (this.keeper?.ended !== false) this.owner.finalize(OK);
          return;
        }
        request.exchange.flush();
      } else if (spool.full) {
        return;
      }
    }
    if (this.broken) {
      if (!this.waits() && takesMore(request)) this.finalizeBroken();
      return;
    }
    const { connection } = this;
    if (connection === undefined || this.limiting || this.keeper?.full === true) return;
    connection.arm(this.settings.readTimeout);
    connection.resume();
  }

  /** The spool has read or written its file. */
  onSpool(): void {
    const { spool, request } = this;
    if (spool?.failed) this.owner.finalize(ERROR);
    else if (takesMore(request) || spool?.full === false) this.onWritable();
  }
}
