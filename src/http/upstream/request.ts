import type { Attempt } from "../../balancer/attempt.ts";
import type { Peer } from "../../balancer/peer.ts";
import type { ConnectHandler, Stream, StreamError } from "../../net/stream.ts";
import { now } from "../../sys/clock.ts";
import { clearDeadline, setDeadline } from "../../sys/timers.ts";
import type { HeaderList } from "../../wire/http1/header_list.ts";
import { CLIENT_CLOSED_REQUEST, OK } from "../core/codes.ts";
import { finalizeRequest } from "../core/engine.ts";
import type { Request } from "../core/request.ts";
import type { BodySink, Tunnel } from "../core/types.ts";
import { takeHead } from "./answer.ts";
import { readOn, takeBody, takeLimited } from "./body.ts";
import type { ServerConnection } from "./connection.ts";
import { serverClosed, serverEnded, timedOut } from "./failure.ts";
import { clientGone, finalize, finish, leave, releaseServer } from "./finish.ts";
import { connectNext } from "./next.ts";
import { drained } from "./passing.ts";
import type { AnswerHead } from "./protocol.ts";
import type { ReadLimit } from "./read_limit.ts";
import type { ResponseSpool } from "./response_spool.ts";
import { awaitTaking, bodyEnded, bodyPiece, requestSent, sendMore, sendRequest, takesRequest } from "./sending.ts";
import { markPassage, NO_STATE, type UpstreamState } from "./state.ts";
import { BODY, CONNECTING, HEADER, OVER, TUNNEL } from "./step.ts";
import type { UpstreamTarget } from "./target.ts";
import { clientEnded, fromClient, fromServer } from "./tunnel.ts";

/**
 * One request on its way through an upstream: picks a server, sends, reads the answer and passes it on; tries the next
 * server where proxy_next_upstream allows (ngx_http_upstream.c). It is the handler of the server's stream meanwhile.
 * What it does stands in the files beside this one; the fields are theirs alone but for those read by variables.
 */
export class UpstreamRequest implements ConnectHandler, BodySink, Tunnel {
  readonly request: Request;
  /** The last answer's head, for $upstream_http_* after the connection has gone on. */
  head: AnswerHead | undefined = undefined;
  /** The trailer of the last answer's body, once it has been read. */
  trailers: HeaderList | undefined = undefined;

  readonly target: UpstreamTarget;
  readonly attempt: Attempt;
  readonly startedAt: number;
  /** The server tried last. */
  present: UpstreamState = NO_STATE;
  connection: ServerConnection | undefined = undefined;
  stream: Stream | undefined = undefined;
  peer: Peer | undefined = undefined;
  step = OVER;
  /** The attempt was given back: nothing is left to do. */
  ended = false;
  fromPool = false;

  // The request.

  /** It, or a part of it, has been sent to the present server. */
  sent = false;
  /** All of it has been written, and then: the kernel has taken it. */
  bodyWritten = false;
  bodySent = false;
  /** What `stream.unsent` was when the server was last given time to take the request. */
  unsent = 0;
  /** How much of a body that was read whole was sent, and in how many pieces. */
  bodyOffset = 0;
  bodyPieces = 0;
  /** The body is passed on as it comes: what was sent is gone. */
  streaming = false;
  /** Body bytes received in the present turn, to be sent in one piece. */
  gathered: Buffer[] | undefined = undefined;

  // The answer.

  /** All of it has been read. */
  answerEnded = false;
  /** No more of it will come, although it is not complete. */
  brokenOff = false;
  /** Nothing happened that forbids the connection another request. */
  keepalive = false;
  paused = false;
  /** proxy_buffering or what X-Accel-Buffering says. */
  buffering = true;
  /** proxy_limit_rate, and whether the next read waits for it. */
  limit: ReadLimit | undefined = undefined;
  limiting = false;
  /** Informational answers of the present server, and the bytes of its early hints. */
  informational = 0;
  hintsLength = 0;
  spool: ResponseSpool | undefined = undefined;
  /** The connection that went back to the pool while its head is still this request's. */
  lent: ServerConnection | undefined = undefined;

  // A tunnel.

  clientEnded = false;
  serverEnded = false;

  constructor(request: Request, target: UpstreamTarget) {
    this.request = request;
    this.target = target;
    this.startedAt = now();
    markPassage(request);
    this.attempt = target.group.begin(target.input);
    const { nextTries } = target.settings;
    if (nextTries > 0) this.attempt.tries = Math.min(this.attempt.tries, nextTries);
  }

  /** `http://127.0.0.1:8080/uri` for the error log while a server is at work. */
  get shown(): string | undefined {
    if (this.ended) return undefined;
    return `${this.target.scheme}${this.peer?.name ?? this.target.group.name}${this.target.uri}`;
  }

  start(): void {
    this.request.onAbort = this.target.settings.ignoreClientAbort ? abortLate : abort;
    connectNext(this);
  }

  /** Ends the exchange with the server and answers `code`. */
  finalize(code: number): void {
    finalize(this, code);
  }

  /** Gives the server back and answers nothing. */
  abandon(): void {
    this.keepalive = false;
    releaseServer(this, "ok");
    leave(this);
  }

  /** Gives the present step so many ms. */
  arm(ms: number): void {
    if (this.connection !== undefined) setDeadline(this.connection.deadline, ms);
  }

  /** The present step takes as long as it likes. */
  disarm(): void {
    if (this.connection !== undefined) clearDeadline(this.connection.deadline);
  }

  pause(): void {
    if (this.paused) return;
    this.paused = true;
    this.stream?.pause();
  }

  resume(): void {
    if (!this.paused || this.limiting) return;
    this.paused = false;
    this.stream?.resume();
  }

  /** The deadline of the present step has passed. */
  expired(): void {
    if (this.step === BODY && this.limiting) readOn(this);
    else if (this.step === HEADER && !this.bodySent && takesRequest(this)) awaitTaking(this);
    else timedOut(this);
  }

  // ---- the server's stream

  onConnect(stream: Stream): void {
    if (this.step !== CONNECTING) return;
    this.present.connectTime = now() - this.present.startedAt;
    if (this.target.settings.socketKeepalive) stream.setKeepAlive(true);
    sendRequest(this, stream);
  }

  onData(_stream: Stream, bytes: Buffer): void {
    this.present.bytesReceived += bytes.length;
    switch (this.step) {
      case BODY:
        if (this.limit === undefined) takeBody(this, bytes, 0);
        else takeLimited(this, this.limit, bytes, 0);
        return;
      case HEADER:
        takeHead(this, bytes);
        return;
      case TUNNEL:
        fromServer(this, bytes);
    }
  }

  onDrain(stream: Stream): void {
    if (this.step === TUNNEL) this.request.exchange.resumeRead();
    else if (!this.bodyWritten && this.step !== OVER) sendMore(this, stream);
  }

  onSent(): void {
    if (this.bodyWritten && !this.bodySent && this.step !== OVER) requestSent(this);
  }

  /** A turn to read the request's body from its file. */
  readOn(): void {
    if (this.stream !== undefined && !this.bodyWritten && this.step !== OVER) sendMore(this, this.stream);
  }

  onEnd(): void {
    serverEnded(this);
  }

  onClose(_stream: Stream, error: StreamError | undefined): void {
    serverClosed(this, error);
  }

  onFault(error: unknown): void {
    this.keepalive = false;
    this.request.exchange.onFault(error);
  }

  // ---- a request body passed on as it comes

  onBody(bytes: Buffer): void {
    if (this.step !== OVER) bodyPiece(this, bytes);
  }

  onBodyEnd(): void {
    if (this.step !== OVER) bodyEnded(this);
  }

  onBodyError(status: number): void {
    finalize(this, status);
  }

  // ---- the client

  /** The client takes bytes again. */
  writable(): void {
    drained(this);
  }

  /** The client has gone, with proxy_ignore_client_abort: the server's answer is awaited, but nobody takes it. */
  clientLost(): void {
    if (this.step === CONNECTING || this.step === HEADER) finalizeRequest(this.request, CLIENT_CLOSED_REQUEST);
    else this.clientGone();
  }

  /** The client has gone: so does the server's connection. */
  clientGone(): void {
    if (this.step === TUNNEL) finish(this, OK);
    else clientGone(this);
  }

  onClientData(bytes: Buffer): void {
    if (this.step === TUNNEL) fromClient(this, bytes);
  }

  onClientEnd(): void {
    if (this.step === TUNNEL) clientEnded(this);
  }

  onClientDrain(): void {
    this.resume();
  }
}

function abort(request: Request): void {
  request.upstream?.clientGone();
}

/** One that only half-closed still wants its answer. */
function abortLate(request: Request): void {
  if (request.aborted) request.upstream?.clientLost();
}
