import type { Pool } from "../../../balancer/pool.ts";
import { failureText, type StreamError } from "../../../net/stream.ts";
import type { Level } from "../../../runtime/log/log.ts";
import { logFault } from "../../../sys/guard.ts";
import { clearDeadline, Deadline, setDeadline } from "../../../sys/timers.ts";
import {
  DATA,
  DEFAULT_FRAME_SIZE,
  ERROR,
  FLAG,
  frameHead,
  headersFrames,
  MAX_WINDOW,
  windowUpdate,
} from "../../../wire/h2/frames.ts";
import type { HpackDecoder } from "../../../wire/h2/hpack_decoder.ts";
import { H2ResponseReader } from "../../../wire/h2/response_reader.ts";
import { ERROR as FAILED } from "../../core/codes.ts";
import { logError } from "../../core/log_context.ts";
import { AnswerHeads } from "../answer_heads.ts";
import { type BodyCoding, INVALID, MORE, type RequestCoding } from "../protocol.ts";
import { RequestSender, type SenderOwner } from "../request_sender.ts";
import type { AnswerSink, ConnectionUser, ServerExchange } from "../server_exchange.ts";
import type { StreamFrames } from "./frames.ts";
import { Inbound, type InboundOwner } from "./inbound.ts";
import type { SentStream } from "./output.ts";

/** The connection that a stream is on. */
export interface StreamOwner {
  /** What it is doing until it is open; undefined then. */
  readonly opening: string | undefined;
  /** It has carried a request before. */
  readonly reused: boolean;
  /** How many reads there were: whether the server says anything. */
  readonly reads: number;
  /** What was read at once is being passed on. */
  readonly reading: boolean;
  /** How much may be sent on all streams together, and on a new one. */
  readonly sendWindow: number;
  readonly initialWindow: number;
  readonly closed: boolean;
  readonly sending: boolean;
  /** Bytes written so far, and how many of these the kernel has. */
  readonly written: number;
  readonly taken: number;
  /** What the next header block begins with. */
  blockStart(): string;
  /** Returns the stream's number, from which on it gets its frames. */
  open(stream: ServerStream): number;
  /** False when the server takes no more for now. */
  write(bytes: Uint8Array | string): boolean;
  readonly takesMore: boolean;
  /** Calls `onSent` of the stream when the kernel has all that was written so far. */
  awaitSent(stream: ServerStream): void;
  spend(bytes: number): void;
  /** The stream has got something: it is told when all that was read is passed on. */
  touch(stream: ServerStream): void;
  reset(id: number, error: number): void;
  /** No request needs the stream any more. True if it may carry another. */
  leave(stream: ServerStream, place: string, pool: Pool | undefined): boolean;
  /** The server takes no more streams than there were before this one. */
  onRefusal(): void;
  /** The server does not answer: no further request should wait for it. */
  retire(): void;
}

// How far the exchange has come, as in server_connection.ts.
const IDLE = 0;
const HEADER = 1;
const ANSWER = 2;

const NOTHING = Buffer.alloc(0);

/** A stream of HTTP/2 to a server: one request and its answer. The object carries one after the other, so that reuse allocates nothing. */
export class ServerStream
  implements ServerExchange, StreamFrames, InboundOwner, SentStream, SenderOwner, RequestCoding, BodyCoding
{
  readonly reader = new H2ResponseReader();
  readonly sender: RequestSender;
  keepalive = true;
  reused = false;
  refused = false;
  /** 0: it has not been opened. */
  id = 0;
  /** The server has ended its side. */
  ended = false;
  headed = false;
  bufferSize = 0;
  /** In the connection's list of those to be told. */
  touched = false;
  awaitsSent = false;
  readonly none = "";
  readonly refuses = true;

  private readonly owner: StreamOwner;
  private readonly heads: AnswerHeads;
  private readonly deadline: Deadline<ServerStream>;
  private user: ConnectionUser | undefined = undefined;
  private sink: AnswerSink | undefined = undefined;
  private step = IDLE;
  /** Reset, by whom ever. */
  private over = false;
  private readonly inbound: Inbound;
  private closeError: StreamError | undefined = undefined;
  private sendWindow = 0;
  /** `owner.written` after this stream's last byte. */
  private mark = 0;
  private readsBefore = 0;

  constructor(owner: StreamOwner) {
    this.owner = owner;
    this.inbound = new Inbound(this);
    this.heads = new AnswerHeads(this.reader);
    this.sender = new RequestSender(this);
    this.deadline = new Deadline<ServerStream>(this, expired);
  }

  // ---- the exchange

  get answered(): boolean {
    return this.step === ANSWER;
  }

  get reading(): boolean {
    return this.owner.reading;
  }

  get doing(): string {
    const { opening } = this.owner;
    if (opening !== undefined) return opening;
    if (this.step === HEADER) {
      return this.sender.sent ? "reading response header from upstream" : "sending request to upstream";
    }
    return this.sink?.doing ?? "reading upstream";
  }

  begin(user: ConnectionUser): void {
    const { target, present } = user;
    const { owner } = this;
    this.user = user;
    this.sink = undefined;
    this.keepalive = true;
    this.refused = false;
    this.reused = owner.opening === undefined && owner.reused;
    this.id = 0;
    this.ended = false;
    this.headed = false;
    this.over = false;
    this.step = IDLE;
    this.bufferSize = target.settings.bufferSize;
    this.inbound.begin();
    this.readsBefore = owner.reads;
    this.heads.begin(this.bufferSize);
    this.sender.reset(user);
    if (owner.opening !== undefined) {
      this.arm(target.settings.connectTimeout);
      return;
    }
    present.connectTime = 0;
    this.send();
  }

  /** The connection is open. */
  onConnected(): void {
    const { user } = this;
    if (user === undefined) return;
    user.present.connectTime = user.present.elapsed();
    this.send();
  }

  private send(): void {
    const { owner } = this;
    this.step = HEADER;
    this.id = owner.open(this);
    this.sendWindow = owner.initialWindow;
    this.sender.send(this);
  }

  passTo(sink: AnswerSink): void {
    this.step = ANSWER;
    this.sink = sink;
  }

  release(place: string, pool: Pool | undefined): boolean {
    const { user, owner, sender, id } = this;
    if (user !== undefined && (this.sending || owner.closed)) user.present.bytesSent -= this.unsent;
    const whole = this.ended && sender.whole;
    sender.stop();
    clearDeadline(this.deadline);
    this.user = undefined;
    this.sink = undefined;
    this.step = IDLE;
    this.inbound.stop();
    // What was answered early is not an error (RFC 9113 section 8.1).
    if (id !== 0 && !whole && !this.over) owner.reset(id, this.ended ? ERROR.NO_ERROR : ERROR.CANCEL);
    this.over = true;
    return owner.leave(this, place, pool);
  }

  missedEnd(): void {}

  missedClose(error: StreamError | undefined): void {
    this.onConnectionClose(error);
  }

  // ---- RequestCoding, BodyCoding

  requestHead(block: string, bodiless: boolean): string {
    return headersFrames(this.id, this.owner.blockStart() + block, bodiless, DEFAULT_FRAME_SIZE);
  }

  bodyCoding(): BodyCoding {
    return this;
  }

  get room(): number {
    return Math.max(0, Math.min(this.sendWindow, this.owner.sendWindow, DEFAULT_FRAME_SIZE));
  }

  before(length: number, last: boolean): string {
    this.sendWindow -= length;
    this.owner.spend(length);
    return frameHead(length, DATA, last ? FLAG.END_STREAM : 0, this.id);
  }

  after(): string {
    return "";
  }

  get end(): string {
    return frameHead(0, DATA, FLAG.END_STREAM, this.id);
  }

  // ---- the sender

  write(bytes: Uint8Array | string): boolean {
    const { owner, user } = this;
    if (user !== undefined) user.present.bytesSent += bytes.length;
    const more = owner.write(bytes);
    this.mark = owner.written;
    owner.awaitSent(this);
    return more;
  }

  /** All that is written in a turn is sent together. */
  cork(): void {}

  uncork(): boolean {
    return this.owner.takesMore;
  }

  get sending(): boolean {
    const { owner } = this;
    return owner.sending && owner.taken < this.mark;
  }

  get unsent(): number {
    return Math.max(0, this.mark - this.owner.taken);
  }

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

  arm(ms: number): void {
    setDeadline(this.deadline, ms);
  }

  disarm(): void {
    clearDeadline(this.deadline);
  }

  // ---- what an upgraded connection would do

  spliceFrom(): number {
    return 0;
  }

  spliceTo(): number {
    return 0;
  }

  halfClose(): void {}

  // ---- the answer

  get isPaused(): boolean {
    return this.inbound.paused;
  }

  pause(): void {
    this.inbound.pause();
  }

  resume(): void {
    this.inbound.resume();
  }

  takeRoom(length: number): boolean {
    if (this.user !== undefined) this.user.present.bytesReceived += length;
    if (this.inbound.take(length)) return true;
    const text = `received ${length} data frame with window ${this.inbound.left}`;
    this.breakOff(`upstream violated stream flow control, ${text}`, ERROR.FLOW_CONTROL_ERROR);
    return false;
  }

  onHead(decoder: HpackDecoder, endStream: boolean): void {
    const { user, reader, id } = this;
    if (endStream) this.ended = true;
    if (user === undefined) return;
    user.present.bytesReceived += decoder.length;
    if (this.headed) {
      if (!endStream) this.breakOff("upstream sent trailer without end stream flag", ERROR.PROTOCOL_ERROR);
      else if (reader.takeTrailer(decoder)) this.inbound.receive(NOTHING, true);
      else this.breakOff(reader.error, ERROR.PROTOCOL_ERROR);
      return;
    }
    reader.takeHead(decoder, endStream);
    const code = this.heads.read(NOTHING, user.request, user.target.settings);
    if (code === MORE) return;
    if (code === INVALID) {
      this.giveUp(ERROR.PROTOCOL_ERROR);
      user.nextUpstream("invalid_header");
      return;
    }
    this.headed = true;
    if (endStream && user.target.settings.protocol.zeroLength) reader.announceNothing();
    user.kept?.drop();
    this.owner.touch(this);
    user.onHead(this, NOTHING);
    // It announces a body that does not come.
    if (this.id === id && this.user === user && endStream && !reader.whole) this.inbound.receive(NOTHING, true);
  }

  onData(bytes: Buffer, endStream: boolean): void {
    if (endStream) this.ended = true;
    if (this.user !== undefined) this.inbound.receive(bytes, endStream);
  }

  deliver(bytes: Buffer, end: boolean): boolean {
    const { id, sink, owner } = this;
    if (sink === undefined) return false;
    if (owner.reading) owner.touch(this);
    this.reader.announce(bytes.length, end);
    sink.onServerData(bytes);
    return this.id === id && this.user !== undefined;
  }

  /** All that was read at once was passed on. */
  onRead(): void {
    if (this.user !== undefined) this.sink?.onServerRead();
  }

  grant(increment: number): void {
    this.owner.write(windowUpdate(this.id, increment));
  }

  // ---- the connection

  onWindow(increment: number): boolean {
    if (increment > MAX_WINDOW - this.sendWindow) return false;
    this.sendWindow += increment;
    this.onRoom();
    return true;
  }

  /** SETTINGS_INITIAL_WINDOW_SIZE was changed by so much. */
  shiftWindow(by: number): boolean {
    this.sendWindow += by;
    return this.sendWindow <= MAX_WINDOW;
  }

  /** More of the request may be sent. */
  onRoom(): void {
    if (this.user === undefined) return;
    if (this.sink?.onServerDrain !== undefined) this.sink.onServerDrain();
    else this.sender.onDrain();
  }

  onSent(): void {
    if (this.user !== undefined && !this.sending) this.sender.onSent();
  }

  onReset(error: number): void {
    const { user } = this;
    this.over = true;
    if (user === undefined) return;
    if (this.ended) {
      // It has answered, and wants no more of the request.
      this.sender.stop();
      return;
    }
    this.ended = true;
    this.log("error", `upstream rejected request with error ${error}`);
    if (this.step === ANSWER) {
      user.finalize(FAILED);
      return;
    }
    this.refused = error === ERROR.REFUSED_STREAM;
    if (this.refused) this.owner.onRefusal();
    user.nextUpstream(this.refused ? "error" : "invalid_header");
  }

  /** The server goes away, and has not processed this request. */
  onGoaway(error: number): void {
    const { user } = this;
    this.over = true;
    if (user === undefined) return;
    this.log("error", `upstream sent goaway with error ${error}`);
    if (this.step === ANSWER) {
      user.finalize(FAILED);
      return;
    }
    this.refused = error === ERROR.NO_ERROR;
    user.nextUpstream(this.refused ? "error" : "invalid_header");
  }

  breakOff(sentence: string, error: number): void {
    this.giveUp(error);
    this.fail(sentence);
  }

  private giveUp(error: number): void {
    if (!this.over && this.id !== 0) this.owner.reset(this.id, error);
    this.over = true;
  }

  /** What came of the server is nothing to go on with (ngx_http_grpc_process_header, ngx_http_grpc_filter: NGX_ERROR). */
  fail(sentence: string): void {
    const { user } = this;
    this.over = true;
    if (user === undefined) return;
    this.log("error", sentence);
    if (this.step === ANSWER) user.finalize(FAILED);
    else user.nextUpstream("invalid_header");
  }

  /** It could not be opened; `condition` is a parameter of proxy_next_upstream. */
  onConnectFailure(condition: string): void {
    this.user?.nextUpstream(condition);
  }

  onConnectionClose(error: StreamError | undefined): void {
    const { user } = this;
    this.over = true;
    if (user === undefined) return;
    if (this.step === ANSWER) {
      this.closeError = error;
      if (!this.inbound.close()) this.onDrained();
    } else if (error === undefined || error.code === "EPIPE") {
      logError(
        user.request,
        "error",
        "upstream prematurely closed connection while reading response header from upstream",
      );
      user.nextUpstream("error");
    } else {
      logError(user.request, "error", `${failureText("recv", error)} while reading response header from upstream`);
      user.nextUpstream("error");
    }
  }

  onDrained(): void {
    if (!this.ended) this.sink?.onServerClose(this.closeError);
  }

  // ---- the log, the time, and exceptions

  log(level: Level, sentence: string): void {
    if (this.user !== undefined) logError(this.user.request, level, `${sentence} while ${this.doing}`);
  }

  onFault(error: unknown): void {
    if (this.user !== undefined) this.user.onFault(error);
    else logFault(error, " on a stream to a server");
  }

  /** The deadline of the current step has passed. */
  expired(): void {
    const { user, owner, sender } = this;
    if (user === undefined) return;
    const silent = owner.reads === this.readsBefore;
    if (this.step === ANSWER) {
      this.sink?.onTimeout();
      if (this.user === undefined && silent) owner.retire();
      return;
    }
    if (this.step === HEADER) {
      if (sender.whole && !sender.sent && !this.sending) {
        // What others send keeps the connection busy.
        sender.onSent();
        return;
      }
      if (sender.goesOn()) return;
    }
    this.log("error", "upstream timed out (110: Connection timed out)");
    if (silent) owner.retire();
    user.nextUpstream("timeout");
  }
}

function expired(stream: ServerStream): void {
  stream.expired();
}
