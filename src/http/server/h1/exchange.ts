import { failureText, type Stream, type StreamError } from "../../../net/stream.ts";
import type { HeaderList } from "../../../wire/http1/header_list.ts";
import { CONNECTION_CLOSE, CONNECTION_KEEP_ALIVE } from "../../../wire/http1/request_fields.ts";
import { OK } from "../../core/codes.ts";
import { bodyWritable, FLUSH, LAST } from "../../core/filters.ts";
import { freeRequest } from "../../core/free_request.ts";
import { logError } from "../../core/log_context.ts";
import { postActionOf, runPostAction } from "../../core/post_action.ts";
import type { Request } from "../../core/request.ts";
import type { ClientConnection, ClientTunnel, Exchange } from "../../core/types.ts";
import { createRequest } from "../create_request.ts";
import { abandonRequest, failRequest, giveUpRequest } from "../request_ends.ts";
import { informationalHead, responseHead } from "../response_head.ts";
import type { AddressConfig, ConnectionHost } from "../types.ts";
import { type BodyReaderOwner, H1BodyReader } from "./body_reader.ts";
import { type H1Input, NOT_NOW } from "./input.ts";
import { H1Output, type OutputOwner } from "./output.ts";
import type { RequestMemory } from "./request_memory.ts";
import { H1Tunnel } from "./tunnel.ts";

/** The connection that the exchange is on. */
export interface ExchangeOwner extends ClientConnection {
  readonly host: ConnectionHost;
  /** The connection must not be used any more; `close` follows. */
  setError(): void;
  /** The request was freed. `outlived`: not all of its subrequests are over. */
  requestFreed(outlived: boolean): void;
  /** After that, if the whole response was sent: the connection waits for the next request or closes. */
  finalize(request: Request): void;
  close(reset: boolean): void;
  /** Calls `expire` in `ms` milliseconds, while the request is processed. */
  armTimer(ms: number): void;
  onFault(error: unknown): void;
}

/**
 * A request of an HTTP/1 connection and its response; reused for the next one. A response ends in one of two ways.
 * Finalized: it is complete, and when the client has taken it all, the connection goes on or closes. Terminated: it is
 * broken off, and the connection closes. Both free the request.
 */
export class H1Exchange implements Exchange, OutputOwner, BodyReaderOwner {
  private readonly connection: ExchangeOwner;
  private readonly input: H1Input;
  private readonly output: H1Output;
  /** Made for the first request that has a body. */
  private body: H1BodyReader | undefined = undefined;
  private request: Request | undefined = undefined;
  /** Made for a request that is upgraded. */
  private raw: H1Tunnel | undefined = undefined;
  /** The response is complete, but the client has not taken all of it. */
  private flushing = false;

  constructor(connection: ExchangeOwner, stream: Stream, input: H1Input) {
    this.connection = connection;
    this.input = input;
    this.output = new H1Output(stream, this);
  }

  /** Bytes sent on the connection so far. */
  get sent(): number {
    return this.output.sent;
  }

  get blocked(): boolean {
    return this.output.blocked;
  }

  // ---- the request

  get current(): Request | undefined {
    return this.request;
  }

  /** Begins the request of a head, complete or broken off. */
  begin(config: AddressConfig, { head, response }: RequestMemory): Request {
    const request = createRequest(this.connection, this, config, head, response);
    const { connectionType } = head.fields;
    if (connectionType === CONNECTION_KEEP_ALIVE) request.keepalive = true;
    else if (connectionType !== CONNECTION_CLOSE) request.keepalive = request.version > 1000;
    this.request = request;
    return request;
  }

  /** Whether the request has a body. */
  beginBody(request: Request): boolean {
    if (request.contentLength <= 0 && !request.chunked) {
      request.bodyEnded = true;
      return false;
    }
    if (this.body === undefined) this.body = new H1BodyReader(this.input, this);
    this.body.begin(request);
    return true;
  }

  /** Takes the bytes behind a request's head, as an InputOwner does: its body, or data for the tunnel. */
  take(bytes: Buffer, at: number, end: number): number {
    const { raw, body } = this;
    if (raw?.started) {
      if (!this.flushing) raw.onData(at === 0 ? bytes : bytes.subarray(at));
      return end;
    }
    return body === undefined ? NOT_NOW : body.take(bytes, at, end);
  }

  sendContinue(request: Request): void {
    if (!request.expectContinue) return;
    request.expectContinue = false;
    this.output.write("HTTP/1.1 100 Continue\r\n\r\n");
  }

  startBody(request: Request): void {
    this.sendContinue(request);
    this.body?.start(request);
  }

  pauseBody(): void {
    this.body?.pause();
  }

  resumeBody(): void {
    this.body?.resume();
  }

  discardBody(request: Request): number {
    return this.body === undefined ? OK : this.body.discard(request);
  }

  // ---- the response

  sendInformational(_request: Request, status: number, fields: HeaderList): void {
    this.output.write(informationalHead(status, fields));
  }

  sendHead(request: Request): void {
    const { connection } = this;
    request.sentAtStart = connection.sent;
    if (request.version === 9) {
      request.keepalive = false;
      return;
    }
    const { host } = connection;
    if (host.lettingGo || (host.exiting && request.location.core.keepaliveMinTimeout === 0)) request.keepalive = false;
    const head = responseHead(request);
    request.headSize = head.length;
    this.output.hold(head);
  }

  sendBody(request: Request, bytes: Uint8Array | string, flags: number): boolean {
    const { output } = this;
    output.sendBody(request, bytes, (flags & LAST) !== 0);
    if ((flags & FLUSH) !== 0) output.flush();
    return !output.blocked;
  }

  sendFile(request: Request, file: number, offset: number, length: number): number {
    return this.output.sendFile(request, file, offset, length);
  }

  flush(least?: number): void {
    this.output.flush(least);
  }

  onDrain(): void {
    if (this.flushing) return;
    if (this.raw?.started) this.raw.onDrain();
    else this.output.onDrain();
  }

  onSent(): void {
    if (this.flushing || !this.raw?.started) this.output.onSent();
  }

  drained(): void {
    const { request } = this;
    if (request === undefined) return;
    if (this.flushing) this.finalizeConnection(request);
    else bodyWritable(request);
  }

  armTimer(ms: number): void {
    this.connection.armTimer(ms);
  }

  /** The connection's timer has fired. */
  expire(): void {
    this.output.expire();
  }

  sendTimedOut(request: Request): void {
    request.timedOut = true;
    const action = request.upstream === undefined ? "sending response to client" : "sending to client";
    logError(request, "info", `client timed out (110: Connection timed out) while ${action}`);
    if (request.onAbort !== undefined && !request.finalized) {
      request.aborted = true;
      request.onAbort(request);
      if (this.request === request && !request.finalized) {
        this.connection.setError();
        this.closeConnection(request);
        return;
      }
    }
    if (this.request === request) this.terminate(request);
  }

  get tunnel(): ClientTunnel {
    this.raw ??= new H1Tunnel(this.input, this.output, this.body);
    return this.raw;
  }

  // ---- the end

  finalize(request: Request): void {
    const { output } = this;
    output.flush();
    this.flushing = !output.idle;
    if (this.flushing) output.awaitSent(request);
    else this.finalizeConnection(request);
  }

  /**
   * The kernel has all of the response, or will get no more of it (ngx_http_finalize_connection). If the connection
   * goes on, the rest of the request's body is read and dropped first; this is called again when it has come, or will
   * not come.
   */
  finalizeConnection(request: Request): void {
    const { body, connection } = this;
    this.flushing = false;
    // A chunked response that was broken off must not look complete.
    const broken = !request.responseEnded && !request.headerOnly && !request.aborted && request.chunkedResponse;
    if (request.incomplete || broken) {
      this.terminate(request);
      return;
    }
    if (request.location.core.postAction !== undefined && this.startPostAction(request, false)) return;
    if (body !== undefined && !request.bodyEnded && request.keepalive && !connection.closed && !this.input.exhausted) {
      body.discardRest(request);
      if (!request.bodyEnded || this.request !== request) return;
    }
    this.free(request);
    connection.finalize(request);
  }

  terminate(request: Request): void {
    this.connection.setError();
    if (this.request === request) {
      if (this.startPostAction(request, true)) return;
      this.free(request);
    }
    this.closeConnection(request);
  }

  /** `broken`: the response was broken off. False if there is no post_action, or no more of it. */
  private startPostAction(request: Request, broken: boolean): boolean {
    const next = postActionOf(request, broken);
    if (next === undefined) return false;
    this.request = next;
    this.raw = undefined;
    this.flushing = false;
    this.output.free();
    this.body?.replace(next);
    runPostAction(next);
    return true;
  }

  private closeConnection({ timedOut, location: { core } }: Request): void {
    this.connection.close(timedOut && core.resetTimedoutConnection);
  }

  private free(request: Request): void {
    this.request = undefined;
    this.raw = undefined;
    this.flushing = false;
    freeRequest(request);
    this.output.free();
    this.body?.free();
    const { subrequests } = request;
    this.connection.requestFreed(subrequests !== undefined && subrequests.count > 0);
  }

  // ---- the client goes

  /** The client has half-closed; bytes that it sent before may still wait. */
  onEnd(): void {
    const { request, raw } = this;
    if (raw?.started) {
      raw.onEnd();
    } else if (request === undefined) {
      return;
    } else if (this.input.waiting) {
      this.onPeerClosed();
    } else if (request.bodyEnded || (request.discardBody && !request.finalized)) {
      request.bodyEnded = true;
      request.keepalive = false;
      if (!request.finalized && !request.postAction) request.onAbort?.(request);
    } else if (request.finalized) {
      // The rest of a body that is being dropped will not come.
      request.bodyEnded = true;
      request.keepalive = false;
      if (!this.flushing) this.finalizeConnection(request);
    } else {
      logError(request, "info", "client prematurely closed connection");
      this.connection.setError();
      this.body?.fail(request, 400);
    }
  }

  /**
   * The client has half-closed, and bytes of the body or of further requests wait. As in nginx a waiting request ends;
   * with proxy_ignore_client_abort those bytes are processed in their turn.
   */
  onPeerClosed(): void {
    const { request } = this;
    if (this.raw?.started || request === undefined || request.finalized || request.postAction) return;
    request.onAbort?.(request);
  }

  /** The stream is closed, which ends the current request, unless its handler or post_action goes on without a client. */
  onClose(error: StreamError | undefined): void {
    const { request } = this;
    if (request === undefined) return;
    request.aborted = true;
    if (error !== undefined && !request.finalized) {
      const call = error.code === "EPIPE" || this.sent > request.sentAtStart ? "send" : "recv";
      logError(request, "info", failureText(call, error));
    }
    if (!request.finalized) abandonRequest(request, this.body, 400);
    if (this.request === request && request.finalized && !this.startPostAction(request, true)) this.free(request);
  }

  /** The connection is closed. */
  release(): void {
    this.output.free();
    this.body?.release();
  }

  /** The worker exits: the response says `Connection: close` if its head was not sent yet. */
  shutdown(): void {
    const { request } = this;
    if (request !== undefined && request.location.core.keepaliveMinTimeout === 0 && !request.headerSent) {
      request.keepalive = false;
    }
  }

  // ---- exceptions

  onFault(error: unknown): void {
    this.connection.onFault(error);
  }

  /**
   * Code running for the request threw: it is answered with 500 if nothing has been sent, and the connection closes.
   * False if there is no request.
   */
  fail(error: unknown): boolean {
    const { request } = this;
    if (request === undefined) return false;
    request.keepalive = false;
    // How much of the input was parsed is unknown: no more of the body is read.
    request.bodyEnded = true;
    request.lingering = true;
    failRequest(request, error, this);
    return true;
  }

  /** Answering with 500 threw as well (its error page, a filter): terminates the request. */
  giveUp(): void {
    if (this.request !== undefined) giveUpRequest(this.request, this);
  }
}
