import { type FrameHandler, FrameReader } from "../../../wire/h2/frame_reader.ts";
import * as h2 from "../../../wire/h2/frames.ts";
import type { RequestLimits } from "../../../wire/http1/request_fields.ts";
import type { Goaway } from "./goaway.ts";
import { HeadBlocks } from "./head_blocks.ts";
import type { H2Output } from "./output.ts";
import type { H2Streams } from "./streams.ts";

/** Bytes of frames that carry nothing, beyond eight times those that carry something: a flood (as in nginx). */
const FLOOD_BYTES = 1024 * 1024;
/** The window of the connection is opened again when it is below that. */
const LOW_WINDOW = h2.MAX_WINDOW / 4;

/** The connection. */
export interface FrameInputOwner {
  readonly closed: boolean;
  readonly output: H2Output;
  readonly streams: H2Streams;
  readonly goaway: Goaway;
  readonly limits: RequestLimits;
  /** Ends the connection with an error (RFC 9113 section 5.4.1). */
  fail(error: number, sentence: string): false;
  /** A header block begins that is not complete. */
  blockBegins(): void;
  /** It is complete. `requestBegins` may follow. */
  blockEnds(): void;
  log(sentence: string): void;
}

/** The frames that a connection's client sends: what they may be, and what they are for. */
export class H2FrameInput implements FrameHandler {
  /** The client knows our SETTINGS. */
  settingsAcknowledged = false;
  readonly blocks: HeadBlocks;
  private readonly owner: FrameInputOwner;
  private readonly reader: FrameReader;
  private recvWindow = h2.MAX_WINDOW;
  private totalBytes = 0;
  private payloadBytes = 0;
  /** How many more PRIORITY frames the client may send: for each stream so many as there may be streams (as in nginx). */
  private prioritiesLeft: number;
  private readonly prioritiesEach: number;
  // The frame that is being read.
  private length = 0;
  private type = 0;
  private flags = 0;
  private id = 0;
  /** A part of it was looked at. */
  private looking = false;
  /** The header block that is being read is that of trailers, or of a stream that is over: it begins no request. */
  private trailers = false;
  /** It comes in several frames. */
  private split = false;
  private unknownSaid = false;

  /** `preface`: how many bytes of it were read before. */
  constructor(owner: FrameInputOwner, maxConcurrentStreams: number, preface: number) {
    this.owner = owner;
    this.reader = new FrameReader(preface);
    this.blocks = new HeadBlocks(owner, this);
    this.prioritiesLeft = Math.max(maxConcurrentStreams, 100);
    this.prioritiesEach = maxConcurrentStreams;
  }

  /** Within a frame or a header block, or in the preface. */
  get incomplete(): boolean {
    return this.reader.incomplete || this.blocks.stream !== 0;
  }

  /** The stream whose header block is not complete, or 0. */
  get pendingBlock(): number {
    if (this.blocks.stream !== 0) return this.blocks.stream;
    return this.type === h2.HEADERS && this.reader.incomplete ? this.id : 0;
  }

  /** It is that of a request. */
  get pendingRequest(): boolean {
    if (this.blocks.stream !== 0) return !this.trailers;
    return this.id % 2 === 1 && this.id > this.owner.streams.last;
  }

  /** How many bytes of it there are, that frame's all included. */
  get pendingLength(): number {
    return this.blocks.stream !== 0 ? this.blocks.length : this.length;
  }

  /** False: it is a flood. */
  read(bytes: Buffer): boolean {
    this.totalBytes += bytes.length;
    this.reader.read(bytes, this);
    return this.totalBytes / 8 <= this.payloadBytes + this.owner.output.carried + FLOOD_BYTES;
  }

  stop(): void {
    this.reader.stop();
  }

  // ---- frames

  onFrame(length: number, type: number, flags: number, id: number): boolean {
    this.length = length;
    this.type = type;
    this.flags = flags;
    this.id = id;
    this.looking = false;
    if (this.blocks.stream !== 0 && type !== h2.CONTINUATION) {
      return this.wrong("client sent inappropriate frame while CONTINUATION was expected");
    }
    switch (type) {
      case h2.DATA:
        return this.beginData();
      case h2.HEADERS:
        return this.blocks.fits(length);
      case h2.CONTINUATION:
        return this.beginContinuation();
      case h2.PRIORITY:
        return this.countPriority() && (length === 5 || this.wrongLength("PRIORITY"));
      case h2.PRIORITY_UPDATE:
        return this.countPriority() && (length <= h2.DEFAULT_FRAME_SIZE || this.wrongLength("PRIORITY_UPDATE"));
      case h2.RST_STREAM:
        return length === 4 || this.wrongLength("RST_STREAM");
      case h2.SETTINGS:
        return this.beginSettings();
      case h2.PING:
        return length === 8 || this.wrongLength("PING");
      case h2.GOAWAY:
        return (length >= 8 && length <= h2.DEFAULT_FRAME_SIZE) || this.wrongLength("GOAWAY");
      case h2.WINDOW_UPDATE:
        return length === 4 || this.wrongLength("WINDOW_UPDATE");
      case h2.PUSH_PROMISE:
        return this.wrong("client sent PUSH_PROMISE frame");
      default:
        this.sayUnknown(type);
        return length <= h2.DEFAULT_FRAME_SIZE || this.wrongLength("unknown");
    }
  }

  onPayload(payload: Buffer): boolean {
    switch (this.type) {
      case h2.HEADERS:
        return this.takeHeaders(payload);
      case h2.CONTINUATION:
        return this.blocks.take(payload, this.flags);
      case h2.PRIORITY:
        return this.takePriority(payload);
      case h2.PRIORITY_UPDATE:
        return this.takePriorityUpdate(payload);
      case h2.RST_STREAM:
        return this.takeReset(payload.readUInt32BE(0));
      case h2.SETTINGS:
        return this.takeSettings(payload);
      case h2.PING:
        if (this.id !== 0) return this.wrongStream("PING");
        if ((this.flags & h2.FLAG.ACK) !== 0) this.owner.goaway.acknowledged(payload);
        else this.owner.output.put(h2.pingAck(payload.latin1Slice()));
        return true;
      case h2.GOAWAY:
        return this.id === 0 || this.wrongStream("GOAWAY");
      case h2.WINDOW_UPDATE:
        return this.takeWindow(payload.readUInt32BE(0) & h2.MAX_WINDOW);
      default:
        return true;
    }
  }

  onPart(payload: Buffer): boolean {
    if (this.type !== h2.HEADERS) return true;
    const { flags, looking } = this;
    this.looking = true;
    const offset = ((flags & h2.FLAG.PADDED) !== 0 ? 1 : 0) + ((flags & h2.FLAG.PRIORITY) !== 0 ? 5 : 0);
    return this.blocks.look(payload, offset, !looking);
  }

  onBadPreface(): boolean {
    return this.wrong("invalid connection preface");
  }

  /** nginx says it of each, which fills a disk as fast as the client sends them. */
  private sayUnknown(type: number): void {
    if (this.unknownSaid) return;
    this.unknownSaid = true;
    this.owner.log(`client sent frame with unknown type ${type}`);
  }

  private wrong(sentence: string): boolean {
    return this.owner.fail(h2.ERROR.PROTOCOL_ERROR, sentence);
  }

  private wrongLength(name: string): boolean {
    const text = `client sent ${name} frame with incorrect length ${this.length}`;
    return this.owner.fail(h2.ERROR.FRAME_SIZE_ERROR, text);
  }

  private wrongStream(name: string): boolean {
    return this.wrong(`client sent ${name} frame with incorrect identifier`);
  }

  // ---- DATA

  private beginData(): boolean {
    const { length, id, owner } = this;
    if (id === 0) return this.wrongStream("DATA");
    if (length > this.recvWindow) {
      const text = `received DATA frame length ${length}, available window ${this.recvWindow}`;
      return owner.fail(h2.ERROR.FLOW_CONTROL_ERROR, `client violated connection flow control: ${text}`);
    }
    this.recvWindow -= length;
    if (this.recvWindow < LOW_WINDOW) {
      owner.output.put(h2.windowUpdate(0, h2.MAX_WINDOW - this.recvWindow));
      this.recvWindow = h2.MAX_WINDOW;
    }
    return owner.streams.beginData(id, length) || this.wrongStream("DATA");
  }

  onFrameData(piece: Buffer, last: boolean): boolean {
    const { streams } = this.owner;
    if (streams.receive(piece, last && (this.flags & h2.FLAG.END_STREAM) !== 0)) this.payloadBytes += piece.length;
    return !this.owner.closed;
  }

  onBadPadding(padding: number | undefined): boolean {
    const { length, owner } = this;
    const text = `client sent padded DATA frame with incorrect length: ${length}`;
    if (padding === undefined) return owner.fail(h2.ERROR.FRAME_SIZE_ERROR, text);
    return this.wrong(`${text}, padding: ${padding}`);
  }

  // ---- HEADERS

  private beginContinuation(): boolean {
    if (!this.blocks.fits(this.length)) return false;
    if (this.blocks.stream === 0) return this.wrong("client sent unexpected CONTINUATION frame");
    return this.id === this.blocks.stream || this.wrongStream("CONTINUATION");
  }

  private takeHeaders(payload: Buffer): boolean {
    const { flags, id, length, owner } = this;
    const priority = (flags & h2.FLAG.PRIORITY) !== 0;
    let at = (flags & h2.FLAG.PADDED) !== 0 ? 1 : 0;
    const depends = at;
    if (priority) at += 5;
    if (length < at) return this.wrongLength("HEADERS");
    const padding = depends > 0 ? payload[0] : 0;
    if (padding > length - at) {
      return this.wrong(`client sent padded HEADERS frame with incorrect length: ${length - at}, padding: ${padding}`);
    }
    const end = length - padding;
    const depend = priority ? payload.readUInt32BE(depends) & h2.MAX_WINDOW : 0;
    if (at === end) {
      return owner.fail(h2.ERROR.FRAME_SIZE_ERROR, "client sent HEADERS frame with empty header block");
    }
    const ends = (flags & h2.FLAG.END_STREAM) !== 0;
    const { streams, goaway } = owner;
    const { last } = streams;
    // A client that does not know yet that a stream is over, or that it goes unanswered, sends the rest of it.
    this.trailers = id <= last && ((ends && streams.awaitsTrailers(id)) || streams.isOver(id) || id > goaway.last);
    if (!this.trailers) {
      if (id % 2 === 0 || id <= last) {
        return this.wrong(`client sent HEADERS frame with incorrect identifier ${id}, the last was ${last}`);
      }
      if (depend === id) return this.wrong(`client sent HEADERS frame for stream ${id} with incorrect dependency`);
      streams.last = id;
    }
    this.blocks.begin(id, ends);
    this.split = (flags & h2.FLAG.END_HEADERS) === 0;
    if (this.split) owner.blockBegins();
    return this.blocks.take(at === 0 && end === length ? payload : payload.subarray(at, end), flags);
  }

  blockDecoded(stream: number, length: number, ends: boolean): boolean {
    const { streams, goaway } = this.owner;
    if (this.split) this.owner.blockEnds();
    if (this.trailers) {
      if (streams.trailersDecoded(stream, ends)) this.payloadBytes += length;
    } else {
      if (stream <= goaway.last) {
        this.payloadBytes += length;
        this.prioritiesLeft += this.prioritiesEach;
      }
      streams.begin(stream, length, ends);
    }
    return !this.owner.closed;
  }

  /** The connection ends before a header block does. */
  leaveBlock(): void {
    const { blocks } = this;
    const { stream, length } = blocks;
    if (stream === 0) return;
    blocks.decodePart();
    this.blockBroken(stream, length, true);
  }

  blockBroken(stream: number, length: number, ends: boolean): void {
    if (!this.trailers) this.owner.streams.break(stream, length, ends);
  }

  // ---- priorities

  private countPriority(): boolean {
    if (this.prioritiesLeft-- > 0) return true;
    return this.owner.fail(h2.ERROR.ENHANCE_YOUR_CALM, "client sent too many PRIORITY frames");
  }

  private takePriority(payload: Buffer): boolean {
    if (this.id === 0) return this.wrongStream("PRIORITY");
    if ((payload.readUInt32BE(0) & h2.MAX_WINDOW) !== this.id) return true;
    return this.wrong(`client sent PRIORITY frame for stream ${this.id} with incorrect dependency`);
  }

  /** RFC 9218 section 7.1 */
  private takePriorityUpdate(payload: Buffer): boolean {
    if (this.id !== 0) return this.wrongStream("PRIORITY_UPDATE");
    if (payload.length < 4) return this.wrongLength("PRIORITY_UPDATE");
    const stream = payload.readUInt32BE(0) & h2.MAX_WINDOW;
    if (stream === 0) return this.wrong("client sent PRIORITY_UPDATE frame for stream 0");
    this.owner.streams.prioritize(stream, payload.latin1Slice(4));
    return true;
  }

  // ---- SETTINGS, windows, RST_STREAM

  private beginSettings(): boolean {
    if (this.id !== 0) return this.wrongStream("SETTINGS");
    if ((this.flags & h2.FLAG.ACK) !== 0) {
      if (this.length === 0) return true;
      const text = `client sent SETTINGS frame with the ACK flag and nonzero length`;
      return this.owner.fail(h2.ERROR.FRAME_SIZE_ERROR, text);
    }
    return (this.length % 6 === 0 && this.length <= h2.DEFAULT_FRAME_SIZE) || this.wrongLength("SETTINGS");
  }

  private takeSettings(payload: Buffer): boolean {
    const { owner } = this;
    if ((this.flags & h2.FLAG.ACK) !== 0) {
      this.settingsAcknowledged = true;
      return true;
    }
    const { streams } = owner;
    let window = streams.initialWindow;
    for (let at = 0; at < payload.length; at += 6) {
      const value = payload.readUInt32BE(at + 2);
      switch (payload.readUInt16BE(at)) {
        case h2.SETTING.HEADER_TABLE_SIZE:
          owner.output.tableChanged = true;
          break;
        case h2.SETTING.INITIAL_WINDOW_SIZE:
          if (value > h2.MAX_WINDOW) {
            return this.wrongSetting("INITIAL_WINDOW_SIZE", value, h2.ERROR.FLOW_CONTROL_ERROR);
          }
          window = value;
          break;
        case h2.SETTING.MAX_FRAME_SIZE:
          if (value > h2.MAX_FRAME_SIZE || value < h2.DEFAULT_FRAME_SIZE) {
            return this.wrongSetting("MAX_FRAME_SIZE", value, h2.ERROR.PROTOCOL_ERROR);
          }
          owner.output.frameSize = value;
          break;
        case h2.SETTING.ENABLE_PUSH:
          if (value > 1) return this.wrongSetting("ENABLE_PUSH", value, h2.ERROR.PROTOCOL_ERROR);
          break;
      }
    }
    owner.output.put(h2.SETTINGS_ACK);
    if (window !== streams.initialWindow) streams.adjustWindows(window);
    return !owner.closed;
  }

  private wrongSetting(name: string, value: number, error: number): boolean {
    return this.owner.fail(error, `client sent SETTINGS frame with incorrect ${name} value ${value}`);
  }

  private takeWindow(increment: number): boolean {
    const { id, owner } = this;
    if (increment === 0) return this.wrong("client sent WINDOW_UPDATE frame with incorrect window increment 0");
    if (id !== 0) {
      if (!owner.streams.openWindow(id, increment)) return this.wrongStream("WINDOW_UPDATE");
      return !owner.closed;
    }
    const { output } = owner;
    if (increment > h2.MAX_WINDOW - output.window) {
      const text = `received WINDOW_UPDATE frame with window increment ${increment} not allowed for window ${output.window}`;
      return owner.fail(h2.ERROR.FLOW_CONTROL_ERROR, `client violated connection flow control: ${text}`);
    }
    output.window += increment;
    output.serveSoon();
    return true;
  }

  private takeReset(error: number): boolean {
    if (this.id === 0 || !this.owner.streams.resetByClient(this.id, error)) return this.wrongStream("RST_STREAM");
    return !this.owner.closed;
  }
}
