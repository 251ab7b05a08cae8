import type { Address } from "../../../net/address.ts";
import type { ProxyProtocol } from "../../../net/proxy_protocol.ts";
import type { Stream, StreamError, StreamHandler } from "../../../net/stream.ts";
import { Deadline, setDeadline } from "../../../sys/timers.ts";
import type * as body from "../../../wire/http1/body_input.ts";
import type { HeaderList } from "../../../wire/http1/header_list.ts";
import { RequestHead } from "../../../wire/http1/request_head.ts";
import { COUNTER } from "../../core/counters.ts";
import { bodyWritable, FLUSH, LAST } from "../../core/filters.ts";
import type { Request } from "../../core/request.ts";
import { newResponse } from "../../core/response.ts";
import type { ClientConnection, Response, Tunnel } from "../../core/types.ts";
import { nextNumber } from "../connections.ts";
import type { Accepted, AddressConfig, Closable, ConnectionHost } from "../site.ts";
import { consumeBody, discard, pause, resume, start } from "./connection_body.ts";
import {
  clientEnded,
  clientLeaves,
  finish,
  finished,
  sendTimedOut,
  streamClosed,
  terminate,
} from "./connection_end.ts";
import { faulted } from "./connection_fault.ts";
import { consumeHead } from "./connection_head.ts";
import { IDLE, KEPT, NOTHING } from "./connection_modes.ts";
import { expire } from "./connection_time.ts";
import { Output } from "./output.ts";
import { appended, copied, PENDING } from "./pending.ts";
import { informationalHead, responseHead } from "./response_writer.ts";

/**
 * One HTTP/1 client connection: head after head, body after body, strictly one request at a time. Its state is here;
 * what becomes of it is in connection_head (a request begins), connection_body (its body is read or dropped),
 * connection_end (it ends, and perhaps the connection) and connection_time. Nobody else touches what no interface names.
 */
export class H1Connection implements ClientConnection, StreamHandler, Closable {
  readonly number: number;
  requests = 0;
  readonly startedAt: number;
  readonly proxyProtocol: ProxyProtocol | undefined;
  pipelined = false;
  readonly host: ConnectionHost;
  afterRequest: (() => void) | undefined = undefined;
  earlier: Closable | undefined = undefined;
  later: Closable | undefined = undefined;

  readonly stream: Stream;
  readonly head: RequestHead;
  readonly response: Response;
  readonly output: Output;
  readonly deadline: Deadline<H1Connection>;
  mode = IDLE;
  /** When the first byte of a head came that did not come in one piece; 0 otherwise. */
  headSince = 0;
  config: AddressConfig;
  request: Request | undefined = undefined;
  /** Made for the first request that has a body. */
  body: body.BodyInput | undefined = undefined;
  /** While a request with a body begins: what was received behind its head. */
  following: Buffer | undefined = undefined;
  followingAt = 0;
  followingEnd = 0;
  bodyPaused = false;
  /** Bytes received and not yet consumed: the rest of a body nobody reads yet, or pipelined requests. */
  pending: Buffer | undefined = undefined;
  consuming = false;
  paused = false;
  readClosed = false;
  /** The connection cannot be used any more, although its stream is still there. */
  broken = false;
  /** What the client sent last was not, and will not be, read. */
  unread = false;
  lingering = false;
  /** The response is complete; the connection waits until the client has taken it. */
  finishing = false;
  tunnel: Tunnel | undefined = undefined;
  /** ms it may be idle: keepalive_timeout, or what is left of it after keepalive_min_timeout. */
  idleTime = 0;

  /** `accepted`: where stages have come before it. */
  constructor(stream: Stream, host: ConnectionHost, accepted?: Accepted) {
    this.number = accepted === undefined ? nextNumber() : accepted.number;
    this.stream = stream;
    this.host = host;
    this.startedAt = accepted === undefined ? performance.now() : accepted.startedAt;
    this.proxyProtocol = accepted?.proxyProtocol;
    const { config } = host;
    this.config = config;
    this.head = new RequestHead(config.limits);
    this.head.fields.limitsOf = config.limitsOf;
    this.response = newResponse();
    this.output = new Output(stream, this);
    this.deadline = new Deadline<H1Connection>(this, expired);
    const elapsed = accepted === undefined ? 0 : performance.now() - accepted.startedAt;
    setDeadline(this.deadline, config.defaultServer.clientHeaderTimeout - elapsed);
    if (!config.defaultServer.root.core.tcpNodelay) stream.setNoDelay(false);
    if (accepted !== undefined) {
      host.replaced(accepted, this);
      return;
    }
    host.opened(this);
    host.waits(this);
    host.counters[COUNTER.waiting]++;
  }

  get remote(): Address {
    return this.stream.remote;
  }

  get local(): Address {
    return this.stream.local;
  }

  get counters(): Int32Array {
    return this.host.counters;
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

  get busyWith(): AddressConfig | undefined {
    return this.request === undefined && this.requests > 0 ? undefined : this.config;
  }

  // ---- bytes in

  onData(_stream: Stream, bytes: Buffer): void {
    if (this.tunnel !== undefined) {
      if (!this.finishing) this.tunnel.onClientData(bytes);
      return;
    }
    if (this.pending !== undefined) {
      this.pending = appended(this.pending, bytes);
      this.consumePending();
      return;
    }
    if (this.mode <= KEPT) this.pipelined = false;
    this.consume(bytes, false);
  }

  consumePending(): void {
    const bytes = this.pending;
    if (bytes === undefined) return;
    this.pending = undefined;
    this.consume(bytes, true);
  }

  /**
   * Takes bytes as far as the connection's state allows, and keeps the rest (`owned`: without a copy). Reading goes on
   * behind it, so that the client's end is seen, until there is too much of it.
   */
  consume(bytes: Buffer, owned: boolean): void {
    this.consuming = true;
    const end = bytes.length;
    let at = 0;
    while (at < end) {
      const { request } = this;
      if (this.lingering || this.closed) {
        at = end;
      } else if (this.tunnel !== undefined) {
        this.tunnel.onClientData(bytes.subarray(at, end));
        at = end;
      } else if (request === undefined) {
        at = consumeHead(this, bytes, at, end);
      } else if (request.bodyEnded || this.bodyPaused || (request.bodySink === undefined && !request.discardBody)) {
        break;
      } else {
        at = consumeBody(this, request, bytes, at, end);
      }
    }
    this.consuming = false;
    if (at < end) {
      const rest = at === 0 ? bytes : bytes.subarray(at, end);
      this.pending = owned ? rest : copied(rest, rest.length);
      if (rest.length >= PENDING) this.pauseStream();
      else this.resumeStream();
    } else if (this.paused && this.pending === undefined && this.tunnel === undefined) {
      this.resumeStream();
    }
    if (this.readClosed && !this.closed) clientEnded(this);
  }

  pauseStream(): void {
    if (this.paused) return;
    this.paused = true;
    this.stream.pause();
  }

  resumeStream(): void {
    if (!this.paused) return;
    this.paused = false;
    this.stream.resume();
  }

  discardBody(request: Request): number {
    return discard(this, request);
  }

  sendContinue(request: Request): void {
    if (!request.expectContinue) return;
    request.expectContinue = false;
    this.output.write(request, "HTTP/1.1 100 Continue\r\n\r\n");
  }

  sendInformational(request: Request, status: number, fields: HeaderList): void {
    this.output.write(request, informationalHead(status, fields));
  }

  startBody(request: Request): void {
    start(this, request);
  }

  readOn(): void {
    if (this.pending !== undefined) this.consumePending();
    else this.resumeStream();
  }

  pauseBody(): void {
    pause(this);
  }

  resumeBody(): void {
    resume(this);
  }

  onEnd(): void {
    clientEnded(this);
  }

  onPeerClosed(): void {
    clientLeaves(this);
  }

  onClose(_stream: Stream, error: StreamError | undefined): void {
    streamClosed(this, error);
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
    const head = responseHead(request);
    request.headSize = head.length;
    this.output.hold(head);
  }

  sendBody(request: Request, bytes: Uint8Array | string, flags: number): boolean {
    this.output.sendBody(request, bytes, (flags & LAST) !== 0);
    if ((flags & FLUSH) !== 0) this.output.flush(request);
    return !this.output.blocked;
  }

  flush(): void {
    this.output.flush(this.request);
  }

  onDrain(_stream: Stream): void {
    if (this.finishing) return;
    if (this.tunnel !== undefined) {
      this.output.blocked = false;
      this.tunnel.onClientDrain();
    } else {
      this.output.onDrain();
    }
  }

  onSent(_stream: Stream): void {
    if (this.finishing || this.tunnel === undefined) this.output.onSent(this.request);
  }

  /** The client takes more; or it has taken all, where the response is complete. */
  drained(): void {
    const { request } = this;
    if (request === undefined) return;
    if (this.finishing) finished(this, request);
    else bodyWritable(request);
  }

  sendTimedOut(request: Request): void {
    sendTimedOut(this, request);
  }

  finish(request: Request): void {
    finish(this, request);
  }

  onFault(error: unknown): void {
    faulted(this, error);
  }

  terminate(request: Request): void {
    terminate(this, request);
  }

  // ---- upgrade

  takeOver(request: Request, tunnel: Tunnel): void {
    this.output.takeOver(request);
    this.tunnel = tunnel;
    this.mode = NOTHING;
    request.keepalive = false;
    this.resumeStream();
    if (this.consuming) return;
    const rest = this.pending;
    this.pending = undefined;
    if (rest !== undefined) tunnel.onClientData(rest);
    if (this.readClosed) tunnel.onClientEnd();
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

  expire(): void {
    expire(this);
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

function expired(connection: H1Connection): void {
  connection.expire();
}
