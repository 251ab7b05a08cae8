import type { Peer } from "../../balancer/peer.ts";
import { type Pool, PooledStream } from "../../balancer/pool.ts";
import type { ConnectOptions } from "../../net/engine.ts";
import { failureText, IGNORE, type Stream, type StreamError, type StreamHandler } from "../../net/stream.ts";
import type { Level } from "../../runtime/log/log.ts";
import { now } from "../../sys/clock.ts";
import { logFault } from "../../sys/guard.ts";
import { clearDeadline, Deadline, setDeadline } from "../../sys/timers.ts";
import { logError } from "../core/log_context.ts";
import type { ClientTunnel } from "../core/types.ts";
import { AnswerHeads } from "./answer_heads.ts";
import { Connecting, type ConnectingOwner } from "./connecting.ts";
import { type AnswerReader, type CodecPort, INVALID, MORE, type UpstreamCodec } from "./protocol.ts";
import { RequestSender, type SenderOwner } from "./request_sender.ts";
import { awaitClose } from "./server_close.ts";
import type { AnswerSink, ConnectionUser, ServerExchange } from "./server_exchange.ts";
import type { TlsChoice } from "./tls.ts";

// How far the exchange has come.

/** No request has the connection, or it is being opened. */
const IDLE = 0;
/** Sending the request, waiting for the answer's head. */
const HEADER = 1;
/** The answer's head has been passed on; the sink gets the rest. */
const ANSWER = 2;

/**
 * A connection to a server that carries one request at a time, and the exchange on it: sends the request, reads the answer's head, and passes what follows
 * to a sink. It serves one request after another with the same codec, so that reuse allocates nothing.
 */
export class ServerConnection implements ServerExchange, StreamHandler, ConnectingOwner, SenderOwner, CodecPort {
  readonly pooled: PooledStream;
  readonly reader: AnswerReader;
  readonly sender: RequestSender;
  /** The connection may be kept for another request. */
  keepalive = true;
  /** Until it is open. */
  private connecting: Connecting | undefined;
  private stream: Stream;
  private readonly codec: UpstreamCodec;
  private readonly heads: AnswerHeads;
  /** Re-armed while it has a request; left armed while it is idle. */
  private readonly deadline: Deadline<ServerConnection>;
  private user: ConnectionUser | undefined = undefined;
  private sink: AnswerSink | undefined = undefined;
  private step = IDLE;
  private paused = false;

  /** `identity`: what is in the pool under another one is not for its requests. */
  constructor(
    open: (port: CodecPort) => UpstreamCodec,
    peer: Peer,
    identity: string,
    tls: TlsChoice | undefined,
    options: ConnectOptions,
  ) {
    this.connecting = new Connecting(this, peer.name, tls);
    this.stream = this.connecting.connect(options);
    this.pooled = new PooledStream(this.stream, peer.name, Math.floor(now()), identity);
    this.pooled.data = this;
    this.codec = open(this);
    this.reader = this.codec.reader;
    this.heads = new AnswerHeads(this.reader);
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
    if (this.connecting !== undefined) return this.connecting.doing;
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
    this.heads.begin(target.settings.bufferSize);
    this.sender.reset(user);
    if (this.connecting !== undefined) {
      this.arm(target.settings.connectTimeout);
      return;
    }
    this.stream.handler = this;
    present.connectTime = 0;
    this.send();
  }

  private send(): void {
    this.step = HEADER;
    this.sender.send(this.codec);
  }

  readonly refused = false;
  readonly reading = false;

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

  missedEnd(): void {
    this.onEnd();
  }

  missedClose(error: StreamError | undefined): void {
    this.onClose(this.stream, error);
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

  halfClose(): void {
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

  // ---- connecting

  onHandshake(stream: Stream): void {
    this.stream = stream;
    this.pooled.stream = stream;
  }

  onConnected(stream: Stream): void {
    this.connecting = undefined;
    stream.handler = this;
    const { user } = this;
    if (user === undefined) return;
    const { present, target } = user;
    present.connectTime = present.elapsed();
    if (target.settings.socketKeepalive) stream.setKeepAlive(true);
    this.send();
  }

  nextUpstream(condition: string): void {
    this.user?.nextUpstream(condition);
  }

  // ---- events of the stream

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
    if (this.step === ANSWER) {
      this.sink?.onServerClose(error);
    } else if (error === undefined || error.code === "EPIPE") {
      this.prematureEnd();
    } else {
      logError(user.request, "error", `${failureText("recv", error)} while reading response header from upstream`);
      user.nextUpstream("error");
    }
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

  /** As in nginx one proxy_read_timeout covers the whole head: a server cannot extend it by sending byte by byte. */
  private readHead(user: ConnectionUser, bytes: Buffer): void {
    const code = this.heads.read(bytes, user.request, user.target.settings);
    if (code === INVALID) user.nextUpstream("invalid_header");
    else if (code !== MORE) user.onHead(this, bytes);
  }
}

function expired(connection: ServerConnection): void {
  connection.expired();
}
