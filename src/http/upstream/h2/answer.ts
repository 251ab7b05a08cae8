import type { StreamError } from "../../../net/stream.ts";
import type { Level } from "../../../runtime/log/log.ts";
import { ERROR } from "../../../wire/h2/frames.ts";
import type { HpackDecoder } from "../../../wire/h2/hpack_decoder.ts";
import { H2ResponseReader } from "../../../wire/h2/response_reader.ts";
import { AnswerHeads } from "../answer_heads.ts";
import { INVALID, MORE } from "../protocol.ts";
import type { AnswerSink, ConnectionUser } from "../server_exchange.ts";
import type { AnswerFrames } from "./frames.ts";
import { Inbound, type InboundOwner } from "./inbound.ts";

/** The stream whose answer it is. */
export interface AnswerOwner {
  /** Its number now. */
  readonly id: number;
  /** More of what was read at once follows. */
  readonly reading: boolean;
  /** Has `onRead` called when all of that is passed on. */
  touch(): void;
  /** The head is complete. */
  onHead(user: ConnectionUser): void;
  /** The server does not keep to the protocol: the stream is given up; and its request, too. */
  giveUp(error: number): void;
  /** With what is being done behind it. */
  logAnswer(level: Level, sentence: string): void;
  breakOff(sentence: string, error: number): void;
  /** The server may send so many bytes more. */
  grant(increment: number): void;
  onFault(error: unknown): void;
}

const NOTHING = Buffer.alloc(0);
/** What nginx says after it has said what is wrong with a header block. */
export const BAD_HEADER = "upstream sent invalid header";

/** What a server answers on a stream: its head, its body as far as it is taken, and its trailer. */
export class StreamAnswer implements AnswerFrames, InboundOwner {
  readonly reader = new H2ResponseReader();
  /** Gets the body, once the head was passed on. */
  sink: AnswerSink | undefined = undefined;
  ended = false;
  headed = false;
  bufferSize = 0;
  private readonly owner: AnswerOwner;
  private readonly heads: AnswerHeads;
  private readonly inbound: Inbound;
  private user: ConnectionUser | undefined = undefined;
  private closeError: StreamError | undefined = undefined;

  constructor(owner: AnswerOwner) {
    this.owner = owner;
    this.heads = new AnswerHeads(this.reader);
    this.inbound = new Inbound(this);
  }

  begin(user: ConnectionUser): void {
    this.user = user;
    this.sink = undefined;
    this.ended = false;
    this.headed = false;
    this.bufferSize = user.target.settings.bufferSize;
    this.inbound.begin();
    this.heads.begin(this.bufferSize);
  }

  /** Nothing more of it is wanted. */
  stop(): void {
    this.user = undefined;
    this.sink = undefined;
    this.inbound.stop();
  }

  /** How much of it may still come. */
  get room(): number {
    return this.ended || this.owner.id === 0 ? 0 : this.inbound.left;
  }

  get isPaused(): boolean {
    return this.inbound.paused;
  }

  pause(): void {
    this.inbound.pause();
  }

  resume(): void {
    this.inbound.resume();
  }

  // ---- its frames

  takeRoom(length: number): boolean {
    if (this.user !== undefined) this.user.present.bytesReceived += length;
    if (this.inbound.take(length)) return true;
    const text = `received ${length} data frame with window ${this.inbound.left}`;
    this.owner.breakOff(`upstream violated stream flow control, ${text}`, ERROR.FLOW_CONTROL_ERROR);
    return false;
  }

  onHead(decoder: HpackDecoder, endStream: boolean): void {
    const { user, reader, owner } = this;
    if (endStream) this.ended = true;
    if (user === undefined) return;
    user.present.bytesReceived += decoder.length;
    if (this.headed) {
      this.takeTrailer(decoder, endStream);
      return;
    }
    const { id } = owner;
    reader.takeHead(decoder, endStream);
    const code = this.heads.read(NOTHING, user.request, user.target.settings);
    if (code === MORE) return;
    if (code === INVALID) {
      if (reader.badBlock) owner.logAnswer("error", BAD_HEADER);
      owner.giveUp(ERROR.PROTOCOL_ERROR);
      user.nextUpstream("invalid_header");
      return;
    }
    this.headed = true;
    if (endStream && user.target.settings.protocol.zeroLength) reader.announceNothing();
    owner.onHead(user);
    // It announces a body that does not come.
    if (owner.id === id && this.user === user && endStream && !reader.whole) this.inbound.receive(NOTHING, true);
  }

  private takeTrailer(decoder: HpackDecoder, endStream: boolean): void {
    const { owner, reader } = this;
    if (!endStream) owner.breakOff("upstream sent trailer without end stream flag", ERROR.PROTOCOL_ERROR);
    else if (reader.takeTrailer(decoder)) this.inbound.receive(NOTHING, true);
    else if (!reader.badBlock) owner.breakOff(reader.error, ERROR.PROTOCOL_ERROR);
    else {
      owner.logAnswer("error", reader.error);
      owner.breakOff("upstream sent invalid trailer", ERROR.PROTOCOL_ERROR);
    }
  }

  onData(bytes: Buffer, endStream: boolean): void {
    if (endStream) this.ended = true;
    if (this.user !== undefined) this.inbound.receive(bytes, endStream);
  }

  // ---- InboundOwner

  deliver(bytes: Buffer, end: boolean): boolean {
    const { owner, sink } = this;
    if (sink === undefined) return false;
    const { id } = owner;
    if (owner.reading) owner.touch();
    this.reader.announce(bytes.length, end);
    sink.onServerData(bytes);
    return owner.id === id && this.user !== undefined;
  }

  /** All that was read at once was passed on. */
  onRead(): void {
    if (this.user !== undefined) this.sink?.onServerRead();
  }

  grant(increment: number): void {
    this.owner.grant(increment);
  }

  /** The connection is closed: what has come goes to the sink first. */
  close(error: StreamError | undefined): void {
    this.closeError = error;
    if (!this.inbound.close()) this.onDrained();
  }

  onDrained(): void {
    if (!this.ended) this.sink?.onServerClose(this.closeError);
  }

  onFault(error: unknown): void {
    this.owner.onFault(error);
  }
}
