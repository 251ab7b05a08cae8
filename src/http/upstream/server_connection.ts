import type { Peer } from "../../balancer/peer.ts";
import { type Pool, PooledStream } from "../../balancer/pool.ts";
import type { ConnectOptions } from "../../net/engine.ts";
import { engine } from "../../net/engines.ts";
import { parseAddrPort } from "../../net/parse_url.ts";
import { type ConnectHandler, failureText, IGNORE, type Stream, type StreamError } from "../../net/stream.ts";
import { startTls } from "../../net/tls/client.ts";
import type { Level } from "../../runtime/log/log.ts";
import { now } from "../../sys/clock.ts";
import { logFault } from "../../sys/guard.ts";
import { clearDeadline, Deadline, setDeadline } from "../../sys/timers.ts";
import { logError } from "../core/log_context.ts";
import type { Request } from "../core/request.ts";
import type { ClientTunnel } from "../core/types.ts";
import type { UpstreamState } from "../core/upstream.ts";
import { passEarlyHints } from "./headers.ts";
import {
  type AnswerHead,
  type AnswerReader,
  type CodecPort,
  INFORMATIONAL,
  INVALID,
  MORE,
  type UpstreamCodec,
  type UpstreamProtocol,
  type UpstreamTarget,
} from "./protocol.ts";
import { RequestSender, type SenderOwner } from "./request_sender.ts";
import { awaitClose } from "./server_close.ts";
import { clientSettings, type TlsChoice } from "./tls.ts";

/** The request that a connection to a server is used for. */
export interface ConnectionUser {
  readonly request: Request;
  readonly target: UpstreamTarget;
  /** What $upstream_* shows of this server. */
  readonly present: UpstreamState;
  /**
   * The answer's head is complete, and ends at the reader's `pos` in `bytes`: it is passed on, or the server is
   * released.
   */
  onHead(connection: ServerConnection, bytes: Buffer): void;
  /** The server failed before it answered; `condition` is a parameter of proxy_next_upstream. */
  nextUpstream(condition: string): void;
  finalize(code: number): void;
  /** Starts to deliver the client's body to the connection's sender. */
  startBody(): void;
  onFault(error: unknown): void;
}

/** Receiver of the bytes behind an answer's head. */
export interface AnswerSink {
  /** What the connection is doing, for the error log. */
  readonly doing: string;
  onServerData(bytes: Buffer): void;
  /** The server has half-closed. */
  onServerEnd(): void;
  onServerClose(error: StreamError | undefined): void;
  /** The deadline that it has armed has passed. */
  onTimeout(): void;
  /** The server takes bytes again. Without it, the rest of the request is sent then. */
  onServerDrain?(): void;
  /** The kernel has all of the request, after the answer began. */
  onRequestSent?(): void;
}

// How far the exchange has come.

const CONNECTING = 0;
/** Connected, and agreeing on TLS. */
const HANDSHAKE = 1;
/** Sending the request, waiting for the answer's head. */
const HEADER = 2;
/** The answer's head has been passed on; the sink gets the rest. */
const ANSWER = 3;
/** No request has the connection. */
const IDLE = 4;

/** How many informational answers may precede the final one: a broken server might send them endlessly. */
const MOST_INFORMATIONAL = 100;

/**
 * A connection to a server, and the exchange on it: connects, sends the request, reads the answer's head, and passes
 * what follows to a sink. It serves one request after another with the same codec, so that reuse allocates nothing.
 */
export class ServerConnection implements ConnectHandler, SenderOwner, CodecPort {
  readonly pooled: PooledStream;
  readonly reader: AnswerReader;
  readonly sender: RequestSender;
  /** The connection may be kept for another request. */
  keepalive = true;
  private stream: Stream;
  private readonly codec: UpstreamCodec;
  /** Re-armed while it has a request; left armed while it is idle. */
  private readonly deadline: Deadline<ServerConnection>;
  private user: ConnectionUser | undefined = undefined;
  private sink: AnswerSink | undefined = undefined;
  private step = IDLE;
  private paused = false;
  /** Informational answers so far, and the bytes of early hints in them. */
  private informational = 0;
  private hintsLength = 0;

  /** `identity`: what is in the pool under another one is not for its requests. */
  constructor(protocol: UpstreamProtocol, peer: Peer, identity: string, options: ConnectOptions) {
    this.stream = engine().connect(options, this);
    this.pooled = new PooledStream(this.stream, peer.name, Math.floor(now()), identity);
    this.pooled.data = this;
    this.codec = protocol.open(this);
    this.reader = this.codec.reader;
    this.sender = new RequestSender(this);
    this.deadline = new Deadline<ServerConnection>(this, expired);
  }

  /** It has carried a request before. */
  get reused(): boolean {
    return this.pooled.requests > 1;
  }

  /** The answer's head has been passed on. */
  get answered(): boolean {
    return this.step === ANSWER;
  }

  /** What it is doing, for the error log. */
  get doing(): string {
    if (this.step === CONNECTING) return "connecting to upstream";
    if (this.step === HANDSHAKE) return "SSL handshaking to upstream";
    if (this.step === HEADER) {
      return this.sender.sent ? "reading response header from upstream" : "sending request to upstream";
    }
    return this.sink?.doing ?? "reading upstream";
  }

  /** Begins a request's exchange. `user` gets all events until `release`. */
  begin(user: ConnectionUser): void {
    const { target, present } = user;
    this.user = user;
    this.sink = undefined;
    this.keepalive = true;
    this.informational = 0;
    this.hintsLength = 0;
    this.stream.handler = this;
    this.reader.begin(target.settings.bufferSize);
    this.sender.reset(user);
    if (this.reused) {
      present.connectTime = 0;
      this.send(target);
      return;
    }
    this.step = CONNECTING;
    this.arm(target.settings.connectTimeout);
  }

  private send({ head, lengthKnown }: UpstreamTarget): void {
    this.step = HEADER;
    this.sender.send(this.codec.requestHead(head), this.codec.bodyCoding(lengthKnown));
  }

  /** The answer's head is passed on; what follows goes to the sink. */
  passTo(sink: AnswerSink): void {
    this.step = ANSWER;
    this.sink = sink;
  }

  /**
   * The request does not need it any more: it goes back to the pool if it can carry another (`reuse`), else it is
   * closed. `place` names the location. True if it is in the pool; until then the head that was read belongs to the request.
   */
  release(place: string, pool: Pool | undefined, reuse: boolean): boolean {
    const { stream, pooled, user } = this;
    if (user !== undefined && (stream.sending || stream.closed)) user.present.bytesSent -= stream.unsent;
    const complete = this.sender.complete;
    this.sender.stop();
    this.user = undefined;
    this.sink = undefined;
    this.step = IDLE;
    this.resume();
    if (reuse && this.keepalive && this.reader.reusable && complete && pool?.put(pooled, place) === true) {
      return true;
    }
    clearDeadline(this.deadline);
    pooled.leave();
    if (reuse && this.reader.awaitsClose === true && !stream.closed) {
      awaitClose(stream);
      return false;
    }
    stream.handler = IGNORE;
    stream.destroy();
    return false;
  }

  // ---- the stream, for those who are at work on it

  /** False when the server takes no more for now. */
  write(bytes: Uint8Array | string): boolean {
    if (this.user !== undefined) this.user.present.bytesSent += bytes.length;
    return this.stream.write(bytes);
  }

  /** Writes what the client has sent behind the bytes just written: see Stream.spliceTo. Returns how many bytes. */
  spliceFrom(client: ClientTunnel): number {
    const count = client.spliceTo(this.stream);
    if (this.user !== undefined) this.user.present.bytesSent += count;
    return count;
  }

  /** The same in the other direction. */
  spliceTo(client: ClientTunnel): number {
    const count = client.spliceFrom(this.stream);
    if (this.user !== undefined) this.user.present.bytesReceived += count;
    return count;
  }

  cork(): void {
    this.stream.cork();
  }

  uncork(): boolean {
    return this.stream.uncork();
  }

  /** Half-closes. */
  end(): void {
    this.stream.end();
  }

  get sending(): boolean {
    return this.stream.sending;
  }

  get unsent(): number {
    return this.stream.unsent;
  }

  get isPaused(): boolean {
    return this.paused;
  }

  pause(): void {
    if (this.paused) return;
    this.paused = true;
    this.stream.pause();
  }

  resume(): void {
    if (!this.paused) return;
    this.paused = false;
    this.stream.resume();
  }

  /** Sets the deadline of the current step, ms. */
  arm(ms: number): void {
    setDeadline(this.deadline, ms);
  }

  /** The current step has no deadline. */
  disarm(): void {
    clearDeadline(this.deadline);
  }

  // ---- the sender

  get awaitsHead(): boolean {
    return this.step === HEADER;
  }

  onRequestSent(): void {
    if (this.step === HEADER) this.arm(this.user?.target.settings.readTimeout ?? 0);
    else this.sink?.onRequestSent?.();
  }

  startBody(): void {
    this.user?.startBody();
  }

  finalize(code: number): void {
    this.user?.finalize(code);
  }

  // ---- the codec

  log(level: Level, sentence: string): void {
    if (this.user !== undefined) logError(this.user.request, level, `${sentence} while ${this.doing}`);
  }

  roomGrown(): void {
    this.sender.onDrain();
  }

  // ---- events of the stream

  onConnect(stream: Stream): void {
    const { user } = this;
    if (user === undefined || this.step > HANDSHAKE) return;
    const { present, target } = user;
    if (target.tls !== undefined && this.step === CONNECTING) {
      this.shakeHands(user, target.tls);
      return;
    }
    present.connectTime = present.elapsed();
    if (target.settings.socketKeepalive) stream.setKeepAlive(true);
    this.send(target);
  }

  /** Its end is `onConnect` with the stream over this one, or `onClose`. proxy_connect_timeout goes on (nginx). */
  private shakeHands(user: ConnectionUser, choice: TlsChoice): void {
    const stream = startTls(this.stream, clientSettings(choice, this.pooled.name), this);
    if (typeof stream === "string") {
      this.log("error", stream);
      user.finalize(500);
      return;
    }
    this.step = HANDSHAKE;
    this.stream = stream;
    this.pooled.stream = stream;
  }

  onData(_stream: Stream, bytes: Buffer): void {
    const { user } = this;
    if (user === undefined) return;
    user.present.bytesReceived += bytes.length;
    if (this.sink !== undefined) this.sink.onServerData(bytes);
    else this.readHead(user, bytes);
  }

  onDrain(): void {
    if (this.sink?.onServerDrain !== undefined) this.sink.onServerDrain();
    else this.sender.onDrain();
  }

  onSent(): void {
    this.sender.onSent();
  }

  onEnd(): void {
    if (this.step === HEADER) this.prematureEnd();
    else this.sink?.onServerEnd();
  }

  onClose(_stream: Stream, error: StreamError | undefined): void {
    const { user } = this;
    if (user === undefined) return;
    if (this.step === CONNECTING) {
      if (error?.code === "EMFILE" || error?.code === "ENFILE") {
        // An error of this machine: no server counts as failed.
        this.log("alert", `socket() failed (${error.message})`);
        user.finalize(500);
        return;
      }
      this.logFailure(error);
      user.nextUpstream("error");
    } else if (this.step === HANDSHAKE) {
      this.log(error?.crit ? "crit" : "error", error?.sentence ?? "closed");
      user.nextUpstream("error");
    } else if (this.step === ANSWER) {
      this.sink?.onServerClose(error);
    } else if (error === undefined || error.code === "EPIPE") {
      this.prematureEnd();
    } else {
      logError(user.request, "error", `${failureText("recv", error)} while reading response header from upstream`);
      user.nextUpstream("error");
    }
  }

  /** In nginx's words, which name a unix socket: connecting to one fails at once, or not at all. */
  private logFailure(error: StreamError | undefined): void {
    const why = error?.message ?? "closed";
    if (this.stream.remote.family !== "unix") {
      this.log("error", `connect() failed (${why})`);
      return;
    }
    const busy = error?.code === "ECONNREFUSED" || error?.code === "EAGAIN";
    this.log(busy ? "error" : "crit", `connect() to ${this.pooled.name} failed (${why})`);
  }

  onFault(error: unknown): void {
    if (this.user !== undefined) this.user.onFault(error);
    else logFault(error, ` on a connection to ${this.pooled.name}`);
  }

  /** The deadline of the current step has passed. */
  expired(): void {
    const { user } = this;
    if (user === undefined) return;
    if (this.step === ANSWER) {
      this.sink?.onTimeout();
      return;
    }
    if (this.step === HEADER && this.sender.goesOn()) return;
    this.log("error", "upstream timed out (110: Connection timed out)");
    user.nextUpstream("timeout");
  }

  private prematureEnd(): void {
    const sentence = "upstream prematurely closed connection while reading response header from upstream";
    if (this.user === undefined) return;
    logError(this.user.request, "error", sentence);
    this.user.nextUpstream("error");
  }

  /** Bytes of an answer's head. */
  private readHead(user: ConnectionUser, bytes: Buffer): void {
    const { reader } = this;
    const { request, target } = user;
    let code = reader.readHead(bytes, 0);
    while (code === INFORMATIONAL) {
      // The final answer follows (RFC 9110 section 15.2).
      if (++this.informational > MOST_INFORMATIONAL) {
        logError(
          request,
          "error",
          "upstream sent too many informational responses while reading response header from upstream",
        );
        user.nextUpstream("invalid_header");
        return;
      }
      if (reader.head.status === 103) this.takeHints(user, reader.head);
      const { pos } = reader;
      reader.begin(target.settings.bufferSize);
      if (pos === bytes.length) return;
      code = reader.readHead(bytes, pos);
    }
    // As in nginx one proxy_read_timeout covers the whole head: a server cannot extend it by sending byte by byte.
    if (code === MORE) return;
    if (reader.error !== "") logError(request, "error", `${reader.error} while reading response header from upstream`);
    if (code === INVALID) {
      user.nextUpstream("invalid_header");
      return;
    }
    const { ignored } = reader.head;
    if (ignored !== undefined) {
      for (const sentence of ignored)
        logError(request, "warn", `${sentence} while reading response header from upstream`);
    }
    user.onHead(this, bytes);
  }

  private takeHints({ request, target }: ConnectionUser, head: AnswerHead): void {
    const { bufferSize, earlyHints, hidden } = target.settings;
    if (earlyHints.length === 0) return;
    this.hintsLength += head.length;
    if (this.hintsLength <= bufferSize) passEarlyHints(request, head.headers, earlyHints, hidden);
    else logError(request, "info", "upstream sent too big early hints while reading response header from upstream");
  }
}

function expired(connection: ServerConnection): void {
  connection.expired();
}

/** A connection to the peer, an idle one from the pool or a new one. */
export function connectionTo(
  peer: Peer,
  target: UpstreamTarget,
  request: Request,
  pool: Pool | undefined,
): ServerConnection {
  const { bind, place, protocol } = target.settings;
  const source = bind === undefined ? "" : (bind.address.constant ?? bind.address.render(request));
  const { tls } = target;
  let identity = source;
  if (tls !== undefined) identity = source === "" ? tls.identity : `${source}\0${tls.identity}`;
  if (protocol.identity !== "") identity = `${protocol.identity}\0${identity}`;
  const pooled = pool?.take(peer, place, identity);
  if (pooled !== undefined) {
    const { data } = pooled;
    if (data instanceof ServerConnection) return data;
    // Not ours: as any connection that cannot be used.
    pooled.leave();
    pooled.stream.destroy();
  }
  const local = source === "" ? undefined : parseAddrPort(source);
  if (local === undefined && source !== "") logError(request, "error", `invalid local address "${source}"`);
  return new ServerConnection(protocol, peer, identity, {
    address: peer.address,
    localAddress: local?.host,
    localPort: local?.port,
    transparent: bind?.transparent,
    rcvbuf: target.settings.socketRcvbuf,
    sndbuf: target.settings.socketSndbuf,
  });
}
