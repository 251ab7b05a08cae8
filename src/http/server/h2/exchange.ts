import type { Address } from "../../../net/address.ts";
import type { ProxyProtocol } from "../../../net/proxy_protocol.ts";
import { logFault } from "../../../sys/guard.ts";
import { ERROR } from "../../../wire/h2/frames.ts";
import type { HeaderList } from "../../../wire/http1/header_list.ts";
import { CLIENT_CLOSED_REQUEST, OK } from "../../core/codes.ts";
import { freeRequest } from "../../core/free_request.ts";
import { logError, whileSending } from "../../core/log_context.ts";
import { postActionOf, runPostAction } from "../../core/post_action.ts";
import type { Request } from "../../core/request.ts";
import type { ClientConnection, ClientTls, Exchange } from "../../core/types.ts";
import { abandonRequest, failRequest, giveUpRequest } from "../request_ends.ts";
import type { AddressConfig } from "../types.ts";
import { H2Body } from "./body.ts";
import type { H2Output } from "./output.ts";
import type { RequestMemory } from "./request_memory.ts";
import { H2StreamOutput, type StreamOutputOwner } from "./stream_output.ts";
import { H2Tunnel } from "./tunnel.ts";

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
  readonly output: H2Output;
  reset(stream: number, error: number): void;
  /** Bytes of the stream's body were taken: its window opens again. */
  consumed(stream: number, bytes: number): void;
  /** The request was freed. `outlived`: not all of its subrequests are over. */
  requestFreed(stream: H2Exchange, outlived: boolean): void;
  onFault(error: unknown): void;
}

/** A stream of HTTP/2: a request and its response. To its request it is the connection as well. */
export class H2Exchange implements Exchange, ClientConnection, StreamOutputOwner {
  readonly id: number;
  readonly config: AddressConfig;
  readonly memory: RequestMemory;
  /** $connection_requests as of this request. */
  readonly requests: number;
  readonly pipelined = false;
  /** Where the request asks for one. */
  tunnel: H2Tunnel | undefined = undefined;
  atClose: (() => void)[] | undefined = undefined;
  readonly body: H2Body;
  readonly output: H2StreamOutput;
  /** No more frames of it come. */
  resetByClient = false;
  private readonly owner: StreamOwner;
  private request: Request | undefined = undefined;
  /** All of the response was put into frames, and the kernel does not have all of them yet. */
  private leaving = false;
  private gone = false;

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
    this.requests = owner.requests;
    this.body = new H2Body(this, owner, recvWindow);
    this.output = new H2StreamOutput(this, owner.output, window);
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

  get sent(): number {
    return this.output.sent;
  }

  get current(): Request | undefined {
    return this.request;
  }

  begin(request: Request): void {
    this.request = request;
    request.keepalive = true;
  }

  /** The request asks for a tunnel: what follows its head is no body. */
  offerTunnel(request: Request): void {
    this.tunnel = new H2Tunnel(this.body, this.output);
    request.bodyEnded = true;
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

  get blocked(): boolean {
    return this.output.blocked;
  }

  sendInformational(_request: Request, status: number, fields: HeaderList): void {
    if (!this.closed) this.output.sendInformational(status, fields);
  }

  sendHead(request: Request): void {
    this.tunnel?.answer(request);
    this.output.holdHead(request);
  }

  sendBody(request: Request, bytes: Uint8Array | string, flags: number): boolean {
    return request !== this.request || this.closed || this.output.send(request, bytes, flags);
  }

  flush(): void {
    if (this.request !== undefined && !this.request.headerOnly) this.output.sendHead(this.request, false);
  }

  sendTimedOut(request: Request): void {
    request.timedOut = true;
    logError(request, "info", "client timed out (110: Connection timed out) while sending response to client");
    this.terminate(request);
  }

  // ---- the end

  finalize(request: Request): void {
    this.tunnel?.end();
    this.output.finalize(request);
  }

  complete(request: Request): void {
    // One that was broken off must not be taken for complete.
    if (!this.output.ended && !this.closed) {
      this.terminate(request);
      return;
    }
    this.leaving = true;
    this.owner.output.awaitSent(this.output);
  }

  onSent(): void {
    const { request } = this;
    if (!this.leaving || request === undefined) return;
    this.leaving = false;
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
    if (this.output.ended) return ERROR.NO_ERROR;
    return timedOut ? ERROR.PROTOCOL_ERROR : ERROR.INTERNAL_ERROR;
  }

  private startPostAction(request: Request, broken: boolean): boolean {
    const next = postActionOf(request, broken);
    if (next === undefined) return false;
    this.request = next;
    this.leaving = false;
    this.output.stop();
    this.body.replace(next);
    runPostAction(next);
    return true;
  }

  private free(request: Request): void {
    this.request = undefined;
    this.gone = true;
    this.leaving = false;
    this.output.free();
    freeRequest(request);
    this.body.release();
    if (this.atClose !== undefined) for (const close of this.atClose) close();
    const { subrequests } = request;
    this.owner.requestFreed(this, subrequests !== undefined && subrequests.count > 0);
  }

  /** There is no request to answer, only one to log. */
  drop(request: Request, status: number): void {
    this.gone = true;
    request.response.status = status;
    this.free(request);
  }

  /** The client has reset the stream, or made it end (`sentence`: what the log says of that). */
  onReset(sentence: string): void {
    const { request } = this;
    if (request !== undefined && !request.finalized) logError(request, "info", sentence + whileSending(request));
    this.onClosed();
  }

  /** No more comes, and nothing can be sent. */
  onClosed(): void {
    const { request } = this;
    this.gone = true;
    if (request === undefined) return;
    request.aborted = true;
    if (!request.finalized) {
      // As in nginx (ngx_http_v2_read_unbuffered_request_body), where a body goes on as it comes.
      const status = request.upstream === undefined ? CLIENT_CLOSED_REQUEST : 400;
      if (request.bodySink !== undefined && request.upstream === undefined)
        logError(request, "info", "client prematurely closed stream");
      abandonRequest(request, this.body, status);
    }
    if (this.request === request && request.finalized && !this.startPostAction(request, true)) this.free(request);
  }

  /** Code running for the request threw. */
  onFault(error: unknown): void {
    const { request } = this;
    if (request === undefined) {
      this.owner.onFault(error);
      return;
    }
    try {
      failRequest(request, error, this);
    } catch (second) {
      logFault(second);
      giveUpRequest(request, this);
    }
  }
}
