import type { Pool } from "../../../balancer/pool.ts";
import { failureText, type StreamError } from "../../../net/stream.ts";
import type { Level } from "../../../runtime/log/log.ts";
import { logFault } from "../../../sys/guard.ts";
import { clearDeadline, Deadline, setDeadline } from "../../../sys/timers.ts";
import { ERROR, windowUpdate } from "../../../wire/h2/frames.ts";
import type { H2ResponseReader } from "../../../wire/h2/response_reader.ts";
import { ERROR as FAILED } from "../../core/codes.ts";
import { logError } from "../../core/log_context.ts";
import type { RequestSender } from "../request_sender.ts";
import type { AnswerSink, ConnectionUser, ServerExchange } from "../server_exchange.ts";
import { type AnswerOwner, BAD_HEADER, StreamAnswer } from "./answer.ts";
import type { StreamFrames } from "./frames.ts";
import { Outbound, type OutboundOwner } from "./outbound.ts";
import type { ServerOutput } from "./output.ts";
import type { ReadStream } from "./read_end.ts";

/** The connection that a stream is on. */
export interface StreamOwner {
  readonly output: ServerOutput;
  /** What it is doing until it is open; undefined then. */
  readonly opening: string | undefined;
  /** It has carried a request before. */
  readonly reused: boolean;
  /** How many reads there were: whether the server says anything. */
  readonly reads: number;
  /** What was read at once is being passed on. */
  readonly reading: boolean;
  /** Gives the stream its number, with which it gets its frames. */
  open(stream: ServerStream): void;
  /** The stream has got something: it is told when all that was read is passed on. */
  touch(stream: ServerStream): void;
  /** More of its request may be sent: it is told then. */
  giveRoom(stream: ServerStream): void;
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

/**
 * A stream of HTTP/2 to a server: one request and its answer, and how they end. The object carries one after the other, so that
 * reuse allocates nothing.
 */
export class ServerStream implements ServerExchange, StreamFrames, OutboundOwner, AnswerOwner, ReadStream {
  readonly answer: StreamAnswer;
  readonly outbound: Outbound;
  readonly reader: H2ResponseReader;
  readonly sender: RequestSender;
  keepalive = true;
  reused = false;
  refused = false;
  /** 0: it has not been opened. */
  id = 0;
  answerCame = false;
  roomCame = false;

  private readonly owner: StreamOwner;
  private readonly deadline: Deadline<ServerStream>;
  private user: ConnectionUser | undefined = undefined;
  private step = IDLE;
  /** Reset, by whom ever. */
  private over = false;
  private readsBefore = 0;

  constructor(owner: StreamOwner) {
    this.owner = owner;
    this.answer = new StreamAnswer(this);
    this.outbound = new Outbound(this, owner.output);
    this.reader = this.answer.reader;
    this.sender = this.outbound.sender;
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
    return this.answer.sink?.doing ?? "reading upstream";
  }

  begin(user: ConnectionUser): void {
    const { target, present } = user;
    const { owner } = this;
    this.user = user;
    this.keepalive = true;
    this.refused = false;
    this.reused = owner.opening === undefined && owner.reused;
    this.id = 0;
    this.over = false;
    this.step = IDLE;
    this.readsBefore = owner.reads;
    this.answer.begin(user);
    this.outbound.begin(user);
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
    this.step = HEADER;
    this.owner.open(this);
    this.outbound.send(this.id);
  }

  passTo(sink: AnswerSink): void {
    this.step = ANSWER;
    this.answer.sink = sink;
  }

  release(place: string, pool: Pool | undefined): boolean {
    const { owner, id, answer, outbound } = this;
    const whole = answer.ended && this.sender.whole;
    outbound.stop();
    answer.stop();
    clearDeadline(this.deadline);
    this.user = undefined;
    this.step = IDLE;
    // What was answered early is not an error (RFC 9113 section 8.1).
    if (id !== 0 && !whole && !this.over) owner.reset(id, answer.ended ? ERROR.NO_ERROR : ERROR.CANCEL);
    this.over = true;
    return owner.leave(this, place, pool);
  }

  missedEnd(): void {}

  missedClose(error: StreamError | undefined): void {
    this.onConnectionClose(error);
  }

  get isPaused(): boolean {
    return this.answer.isPaused;
  }

  pause(): void {
    this.answer.pause();
  }

  resume(): void {
    this.answer.resume();
  }

  arm(ms: number): void {
    setDeadline(this.deadline, ms);
  }

  disarm(): void {
    clearDeadline(this.deadline);
  }

  // What an upgraded connection would do: HTTP/2 has none.

  write(): boolean {
    return true;
  }

  spliceFrom(): number {
    return 0;
  }

  spliceTo(): number {
    return 0;
  }

  halfClose(): void {}

  // ---- what is sent, and what is answered

  get awaitsHead(): boolean {
    return this.step === HEADER;
  }

  onRequestSent(): void {
    if (this.step === HEADER) this.arm(this.user?.target.settings.readTimeout ?? 0);
    else this.answer.sink?.onRequestSent?.();
  }

  onHead(user: ConnectionUser): void {
    user.kept?.drop();
    this.touch();
    user.onHead(this, NOTHING);
  }

  get lastSent(): number {
    return this.outbound.lastSent;
  }

  touch(): void {
    this.owner.touch(this);
  }

  grant(increment: number): void {
    this.owner.output.put(windowUpdate(this.id, increment));
  }

  onWindow(increment: number): boolean {
    if (!this.outbound.open(increment)) return false;
    this.owner.giveRoom(this);
    return true;
  }

  onRead(): void {
    this.answer.onRead();
  }

  onRoom(): void {
    this.outbound.onRoom();
  }

  // ---- how it fails

  onReset(error: number): void {
    const { user } = this;
    this.over = true;
    if (user === undefined) return;
    if (this.answer.ended) {
      // It has answered, and wants no more of the request.
      this.sender.stop();
      return;
    }
    this.answer.ended = true;
    this.logAnswer("error", `upstream rejected request with error ${error}`);
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
    this.logAnswer("error", `upstream sent goaway with error ${error}`);
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

  giveUp(error: number): void {
    if (!this.over && this.id !== 0) this.owner.reset(this.id, error);
    this.over = true;
  }

  /** What came of the server is nothing to go on with (ngx_http_grpc_process_header, ngx_http_grpc_filter: NGX_ERROR). */
  fail(sentence: string, block = false): void {
    const { user } = this;
    this.over = true;
    if (user === undefined) return;
    this.logAnswer("error", sentence);
    if (block && this.step === HEADER) this.logAnswer("error", BAD_HEADER);
    if (this.step === ANSWER) user.finalize(FAILED);
    else user.nextUpstream("invalid_header");
  }

  finalize(code: number): void {
    this.user?.finalize(code);
  }

  /** The connection could not be opened; `condition` is a parameter of proxy_next_upstream. */
  onConnectFailure(condition: string): void {
    this.user?.nextUpstream(condition);
  }

  onConnectionClose(error: StreamError | undefined): void {
    const { user } = this;
    this.over = true;
    if (user === undefined) return;
    if (this.step === ANSWER) {
      this.answer.close(error);
      return;
    }
    const closed = error === undefined || error.code === "EPIPE";
    const what = closed ? "upstream prematurely closed connection" : failureText("recv", error);
    logError(user.request, "error", `${what} while reading response header from upstream`);
    user.nextUpstream("error");
  }

  /** The deadline of the current step has passed. */
  expired(): void {
    const { user, owner, sender } = this;
    if (user === undefined) return;
    const silent = owner.reads === this.readsBefore;
    if (this.step === ANSWER) {
      this.answer.sink?.onTimeout();
      if (this.user === undefined && silent) owner.retire();
      return;
    }
    if (this.step === HEADER) {
      if (sender.whole && !sender.sent && !this.outbound.sending) {
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

  onFault(error: unknown): void {
    if (this.user !== undefined) this.user.onFault(error);
    else logFault(error, " on a stream to a server");
  }

  /** Logs what is wrong with what the server has sent: as in nginx that is read, however much of the request is still to be sent. */
  logAnswer(level: Level, sentence: string): void {
    const { user, step } = this;
    if (user === undefined) return;
    const doing = step === HEADER ? "reading response header from upstream" : this.doing;
    logError(user.request, level, `${sentence} while ${doing}`);
  }

  log(level: Level, sentence: string): void {
    if (this.user !== undefined) logError(this.user.request, level, `${sentence} while ${this.doing}`);
  }
}

function expired(stream: ServerStream): void {
  stream.expired();
}
