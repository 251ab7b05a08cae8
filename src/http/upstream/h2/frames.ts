import { type FrameHandler, FrameReader } from "../../../wire/h2/frame_reader.ts";
import * as h2 from "../../../wire/h2/frames.ts";
import type { HpackDecoder } from "../../../wire/h2/hpack_decoder.ts";
import { FrameLimits } from "./frame_limits.ts";
import { HeaderBlock } from "./header_block.ts";

/** The window of the connection is opened again when it is below that. */
const LOW_WINDOW = h2.MAX_WINDOW / 4;

/** What a stream's server answers, as its frames see it. */
export interface AnswerFrames {
  /** The server has ended the stream. */
  readonly ended: boolean;
  /** The answer's head has come: DATA may follow. */
  readonly headed: boolean;
  /** How large the answer's head may be. */
  readonly bufferSize: number;
  /** A frame of so many bytes has come; false: the window had no room for it. */
  takeRoom(length: number): boolean;
  onHead(decoder: HpackDecoder, endStream: boolean): void;
  /** Bytes of the body, lent for the call. */
  onData(bytes: Buffer, endStream: boolean): void;
}

/** A stream, as its frames see it. */
export interface StreamFrames {
  /** Its number now: the object may carry another one later. */
  readonly id: number;
  readonly answer: AnswerFrames;
  onReset(error: number): void;
  /** The server takes more of the request; false: the window is larger than it may be. */
  onWindow(increment: number): boolean;
  /** The server does not keep to the protocol: the stream is given up. */
  breakOff(sentence: string, error: number): void;
  onFault(error: unknown): void;
}

/** The connection whose frames are read. */
export interface FramesOwner {
  /** Nothing more is to be read. */
  readonly dead: boolean;
  streamOf(id: number): StreamFrames | undefined;
  /** Whether such a stream was ever opened. */
  wasOpened(id: number): boolean;
  /** How much of requests it was sent: see ServerOutput. */
  readonly requested: number;
  write(bytes: string): void;
  onSetting(id: number, value: number): boolean;
  /** The server takes more of all streams together; false: the window is larger than it may be. */
  onWindow(increment: number): boolean;
  onGoaway(last: number, error: number): void;
  /** The connection cannot be used any more; `block`: a header block is the reason. */
  fail(sentence: string, error: number, block?: boolean): void;
}

/** The frames of a server (ngx_http_grpc_parse_frame): what is wrong with them ends their stream, or the connection. */
export class ServerFrames implements FrameHandler {
  private readonly owner: FramesOwner;
  private readonly reader = new FrameReader(h2.PREFACE.length);
  private readonly block = new HeaderBlock();
  private recvWindow = h2.MAX_WINDOW;
  private greeted = false;
  private readonly limits = new FrameLimits();
  // The frame that is being read.
  private length = 0;
  private type = 0;
  private flags = 0;
  private id = 0;
  private target: StreamFrames | undefined = undefined;

  constructor(owner: FramesOwner) {
    this.owner = owner;
  }

  read(bytes: Buffer): void {
    this.reader.read(bytes, this);
  }

  onFrame(length: number, type: number, flags: number, id: number): boolean {
    this.length = length;
    this.type = type;
    this.flags = flags;
    this.id = id;
    if (length > h2.DEFAULT_FRAME_SIZE)
      return this.fail(`upstream sent too large http2 frame: ${length}`, h2.ERROR.FRAME_SIZE_ERROR);
    if (!this.greeted && type !== h2.SETTINGS) return this.unexpected();
    if ((this.block.stream !== 0) !== (type === h2.CONTINUATION)) return this.unexpected();
    switch (type) {
      case h2.DATA:
        return this.beginData();
      case h2.HEADERS:
        return this.owner.wasOpened(id) || this.unknownStream();
      case h2.CONTINUATION:
        if (id !== this.block.stream) return this.unknownStream();
        return this.block.continues(length) || this.tooLarge();
      case h2.RST_STREAM:
        return length === 4 || this.wrongLength("rst stream");
      case h2.SETTINGS:
        return this.beginSettings();
      case h2.PUSH_PROMISE:
        return this.fail("upstream sent unexpected push promise frame", h2.ERROR.PROTOCOL_ERROR);
      case h2.PING:
        if (id !== 0) return this.wrongStream("ping");
        return length === 8 || this.wrongLength("ping");
      case h2.GOAWAY:
        if (id !== 0) return this.wrongStream("goaway");
        return length >= 8 || this.wrongLength("goaway");
      case h2.WINDOW_UPDATE:
        return length === 4 || this.wrongLength("window update");
      default:
        // Frames of other types are passed over, and are no more welcome than those that carry nothing.
        return this.idles("unknown");
    }
  }

  onPayload(payload: Buffer): boolean {
    switch (this.type) {
      case h2.HEADERS:
        return this.takeHeaders(payload);
      case h2.CONTINUATION:
        return this.takeBlock(payload, (this.flags & h2.FLAG.END_HEADERS) !== 0);
      case h2.RST_STREAM:
        return this.takeReset(payload.readUInt32BE(0));
      case h2.SETTINGS:
        return this.takeSettings(payload);
      case h2.PING:
        if (!this.idles("ping")) return false;
        if ((this.flags & h2.FLAG.ACK) !== 0) return true;
        this.owner.write(h2.pingAck(payload.latin1Slice()));
        return true;
      case h2.GOAWAY:
        if (!this.idles("goaway")) return false;
        this.owner.onGoaway(payload.readUInt32BE(0) & h2.MAX_WINDOW, payload.readUInt32BE(4));
        return !this.owner.dead;
      case h2.WINDOW_UPDATE:
        return this.takeWindow(payload.readUInt32BE(0) & h2.MAX_WINDOW);
      default:
        return true;
    }
  }

  /** The preface is the client's. */
  onBadPreface(): boolean {
    return false;
  }

  // ---- DATA

  private beginData(): boolean {
    const { length, id, owner } = this;
    if (!owner.wasOpened(id))
      return this.fail(`upstream sent data frame for unknown stream ${id}`, h2.ERROR.PROTOCOL_ERROR);
    if (length > this.recvWindow) {
      const text = `received ${length} data frame with window ${this.recvWindow}`;
      return this.fail(`upstream violated connection flow control, ${text}`, h2.ERROR.FLOW_CONTROL_ERROR);
    }
    this.recvWindow -= length;
    if (this.recvWindow < LOW_WINDOW) {
      owner.write(h2.windowUpdate(0, h2.MAX_WINDOW - this.recvWindow));
      this.recvWindow = h2.MAX_WINDOW;
    }
    this.target = undefined;
    const stream = owner.streamOf(id);
    if (stream === undefined) return this.limits.takeLate(length) || this.closedStream();
    const { answer } = stream;
    if (answer.ended) {
      stream.breakOff(`upstream sent frame for closed stream ${id}`, h2.ERROR.STREAM_CLOSED);
    } else if (!answer.headed) {
      stream.breakOff("upstream sent unexpected http2 frame: 0", h2.ERROR.PROTOCOL_ERROR);
    } else if (answer.takeRoom(length)) {
      this.target = stream;
    }
    return !owner.dead;
  }

  /** No request has the stream any more. */
  expectLate(room: number): void {
    this.limits.expectLate(room);
  }

  onFrameData(piece: Buffer, last: boolean): boolean {
    const { target } = this;
    if (piece.length === 0 && (this.flags & h2.FLAG.END_STREAM) === 0) {
      if (!this.idles("data")) return false;
    } else if (target !== undefined) {
      this.limits.useful();
    }
    // Between two pieces the request may have ended, and the object may carry another since.
    if (target !== undefined && target.id === this.id) {
      const ends = last && (this.flags & h2.FLAG.END_STREAM) !== 0;
      try {
        target.answer.onData(piece, ends);
      } catch (error) {
        target.onFault(error);
      }
    }
    if (last) this.target = undefined;
    return !this.owner.dead;
  }

  onBadPadding(padding: number | undefined, left: number): boolean {
    const text =
      padding === undefined
        ? `upstream sent too short http2 frame`
        : `upstream sent http2 frame with too long padding: ${padding} in frame ${left}`;
    return this.fail(text, h2.ERROR.PROTOCOL_ERROR);
  }

  // ---- HEADERS

  private takeHeaders(payload: Buffer): boolean {
    const { flags, id, length } = this;
    const padded = (flags & h2.FLAG.PADDED) !== 0;
    let at = padded ? 1 : 0;
    if ((flags & h2.FLAG.PRIORITY) !== 0) at += 5;
    if (length < at)
      return this.badBlock(`upstream sent headers frame with invalid length: ${length}`, h2.ERROR.FRAME_SIZE_ERROR);
    const padding = padded ? payload[0] : 0;
    if (padding > length - at) {
      const text = `upstream sent http2 frame with too long padding: ${padding} in frame ${length - at}`;
      return this.badBlock(text, h2.ERROR.PROTOCOL_ERROR);
    }
    this.block.begin(id, (flags & h2.FLAG.END_STREAM) !== 0);
    return this.takeBlock(payload.subarray(at, length - padding), (flags & h2.FLAG.END_HEADERS) !== 0);
  }

  /** A part of a header block. */
  private takeBlock(bytes: Buffer, whole: boolean): boolean {
    const { block } = this;
    if (!whole) {
      block.add(bytes);
      return true;
    }
    const stream = this.owner.streamOf(block.stream);
    const error = block.end(bytes, stream?.answer.bufferSize ?? 0);
    if (error !== undefined) {
      const code = error.kind === "large" ? h2.ERROR.ENHANCE_YOUR_CALM : h2.ERROR.COMPRESSION_ERROR;
      return this.badBlock(block.sentenceOf(error), code);
    }
    if (stream === undefined) return this.idles("headers");
    this.limits.useful();
    if (stream.answer.ended) {
      stream.breakOff(`upstream sent frame for closed stream ${this.id}`, h2.ERROR.STREAM_CLOSED);
    } else {
      try {
        stream.answer.onHead(block.decoder, block.ends);
      } catch (fault) {
        stream.onFault(fault);
      }
    }
    return !this.owner.dead;
  }

  // ---- the others

  private takeReset(error: number): boolean {
    const { owner, id } = this;
    if (!owner.wasOpened(id)) return this.unknownStream();
    const stream = owner.streamOf(id);
    if (stream === undefined) return this.idles("rst stream");
    try {
      stream.onReset(error);
    } catch (fault) {
      stream.onFault(fault);
    }
    return !owner.dead;
  }

  private beginSettings(): boolean {
    const { length, flags, id } = this;
    if (id !== 0) return this.wrongStream("settings");
    if ((flags & h2.FLAG.ACK) !== 0) {
      if (length === 0) return this.greeted || this.unexpected();
      return this.fail(
        `upstream sent settings frame with ack flag and non-zero length: ${length}`,
        h2.ERROR.FRAME_SIZE_ERROR,
      );
    }
    this.greeted = true;
    return length % 6 === 0 || this.wrongLength("settings");
  }

  private takeSettings(payload: Buffer): boolean {
    if (!this.idles("settings", 1 + payload.length / 6)) return false;
    if ((this.flags & h2.FLAG.ACK) !== 0) return true;
    // Until the server has that, it may hold us to what was set before (RFC 9113 section 6.5.3): what larger windows let through follows.
    this.owner.write(h2.SETTINGS_ACK);
    for (let at = 0; at < payload.length; at += 6) {
      if (!this.owner.onSetting(payload.readUInt16BE(at), payload.readUInt32BE(at + 2))) return false;
    }
    return !this.owner.dead;
  }

  private takeWindow(increment: number): boolean {
    const { owner, id } = this;
    if (!this.idles("window update")) return false;
    if (id === 0) {
      if (increment === 0) return this.fail("upstream sent zero window update", h2.ERROR.PROTOCOL_ERROR);
      if (!owner.onWindow(increment))
        return this.fail("upstream sent too large window update", h2.ERROR.FLOW_CONTROL_ERROR);
      return !owner.dead;
    }
    if (!owner.wasOpened(id)) return this.unknownStream();
    const stream = owner.streamOf(id);
    if (stream === undefined) return true;
    if (increment === 0) stream.breakOff("upstream sent zero window update", h2.ERROR.PROTOCOL_ERROR);
    else if (!stream.onWindow(increment))
      stream.breakOff("upstream sent too large window update", h2.ERROR.FLOW_CONTROL_ERROR);
    return !owner.dead;
  }

  // ---- what is wrong

  /** A frame that carries nothing, or as much work as `count` of them. */
  private idles(name: string, count = 1): boolean {
    if (this.limits.allow(count, this.owner.requested)) return true;
    return this.fail(`upstream sent too many ${name} frames`, h2.ERROR.ENHANCE_YOUR_CALM);
  }

  private closedStream(): boolean {
    return this.fail(`upstream sent frame for closed stream ${this.id}`, h2.ERROR.STREAM_CLOSED);
  }

  private tooLarge(): boolean {
    return this.badBlock("upstream sent too large http2 header", h2.ERROR.ENHANCE_YOUR_CALM);
  }

  private unexpected(): boolean {
    return this.fail(`upstream sent unexpected http2 frame: ${this.type}`, h2.ERROR.PROTOCOL_ERROR);
  }

  private unknownStream(): boolean {
    return this.fail(`upstream sent frame for unknown stream ${this.id}`, h2.ERROR.PROTOCOL_ERROR);
  }

  private wrongLength(name: string): boolean {
    return this.fail(`upstream sent ${name} frame with invalid length: ${this.length}`, h2.ERROR.FRAME_SIZE_ERROR);
  }

  private wrongStream(name: string): boolean {
    return this.fail(`upstream sent ${name} frame with non-zero stream id: ${this.id}`, h2.ERROR.PROTOCOL_ERROR);
  }

  /** As in nginx, those that wait for their head are told twice. */
  private badBlock(sentence: string, error: number): false {
    this.owner.fail(sentence, error, true);
    return false;
  }

  private fail(sentence: string, error: number): false {
    this.owner.fail(sentence, error);
    return false;
  }
}
