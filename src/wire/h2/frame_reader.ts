import { DATA, FLAG, FRAME_HEAD, PREFACE } from "./frames.ts";

/** What frames are read for. Methods return false when no more is to be read. */
export interface FrameHandler {
  /** The head of a frame. Its length is known not to be too large where this returns true. */
  onFrame(length: number, type: number, flags: number, stream: number): boolean;
  /** The whole payload of a frame other than DATA, lent for the call. */
  onPayload(payload: Buffer): boolean;
  /** What has come of such a payload so far, lent for the call. */
  onPart?(payload: Buffer): boolean;
  /** A piece of a DATA frame's data, lent for the call; `last`: the frame ends with it. */
  onFrameData(piece: Buffer, last: boolean): boolean;
  /** Padding is longer than `left`, the rest of its frame; undefined: there is not even its length. */
  onBadPadding(padding: number | undefined, left: number): boolean;
  /** What came first is not the preface. */
  onBadPreface(): boolean;
}

const NOTHING = Buffer.alloc(0);

/** Reads the frames of a connection, in whatever pieces they come. DATA is passed on as it comes; other payloads when they are whole. */
export class FrameReader {
  /** Bytes of the preface that have not come yet. */
  #preface: number;
  /** A head that did not come in one piece; made when there is one. */
  #head: Buffer | undefined = undefined;
  #headBytes = 0;
  #type = 0;
  /** Bytes of the payload that have not come yet. */
  #left = 0;
  /** Of a DATA frame: the byte that says how long its padding is has to come; and how much of the rest is padding. */
  #padded = false;
  #padding = 0;
  /** All data of the frame were passed on, and padding follows. */
  #told = false;
  #payload: Buffer = NOTHING;
  #payloadBytes = 0;
  #stopped = false;

  /** `preface`: how many bytes of it have been read already. */
  constructor(preface = 0) {
    this.#preface = PREFACE.length - preface;
  }

  /** Within a frame, or in the preface. */
  get incomplete(): boolean {
    return this.#headBytes > 0 || (this.#preface > 0 && this.#preface < PREFACE.length);
  }

  read(bytes: Buffer, handler: FrameHandler): void {
    let at = 0;
    const end = bytes.length;
    while (!this.#stopped && (at < end || this.#whole)) {
      if (this.#preface > 0) at = this.#readPreface(bytes, at, handler);
      else if (this.#headBytes < FRAME_HEAD) at = this.#readHead(bytes, at, handler);
      else if (this.#type === DATA) at = this.#readData(bytes, at, handler);
      else at = this.#readPayload(bytes, at, handler);
    }
  }

  stop(): void {
    this.#stopped = true;
  }

  /** Nothing more of the frame has to come, and it was not passed on yet. */
  get #whole(): boolean {
    return this.#headBytes === FRAME_HEAD && this.#left === 0;
  }

  #readPreface(bytes: Buffer, at: number, handler: FrameHandler): number {
    const count = Math.min(this.#preface, bytes.length - at);
    const from = PREFACE.length - this.#preface;
    if (bytes.latin1Slice(at, at + count) !== PREFACE.slice(from, from + count)) this.#goOn(handler.onBadPreface());
    this.#preface -= count;
    return at + count;
  }

  #readHead(bytes: Buffer, at: number, handler: FrameHandler): number {
    if (this.#headBytes === 0 && bytes.length - at >= FRAME_HEAD) {
      this.#takeHead(bytes, at, handler);
      return at + FRAME_HEAD;
    }
    this.#head ??= Buffer.allocUnsafe(FRAME_HEAD);
    const head = this.#head;
    const count = Math.min(FRAME_HEAD - this.#headBytes, bytes.length - at);
    bytes.copy(head, this.#headBytes, at, at + count);
    this.#headBytes += count;
    if (this.#headBytes === FRAME_HEAD) this.#takeHead(head, 0, handler);
    return at + count;
  }

  #takeHead(bytes: Buffer, at: number, handler: FrameHandler): void {
    const length = (bytes[at] << 16) | (bytes[at + 1] << 8) | bytes[at + 2];
    const type = bytes[at + 3];
    const flags = bytes[at + 4];
    const stream = ((bytes[at + 5] & 0x7f) << 24) | (bytes[at + 6] << 16) | (bytes[at + 7] << 8) | bytes[at + 8];
    this.#headBytes = FRAME_HEAD;
    this.#type = type;
    this.#left = length;
    this.#payloadBytes = 0;
    this.#padding = 0;
    this.#padded = type === DATA && (flags & FLAG.PADDED) !== 0;
    this.#goOn(handler.onFrame(length, type, flags, stream));
  }

  #readData(bytes: Buffer, from: number, handler: FrameHandler): number {
    let at = from;
    if (this.#padded) {
      this.#padded = false;
      if (this.#left === 0) {
        this.#goOn(handler.onBadPadding(undefined, 0));
        return at;
      }
      this.#padding = bytes[at++];
      this.#left--;
      if (this.#padding > this.#left) {
        this.#goOn(handler.onBadPadding(this.#padding, this.#left));
        return at;
      }
    }
    const count = Math.min(this.#left, bytes.length - at);
    const data = Math.max(0, Math.min(count, this.#left - this.#padding));
    this.#left -= count;
    if (this.#left === 0) this.#headBytes = 0;
    // The data is whole although its padding may have to come.
    const last = this.#left <= this.#padding;
    if (data > 0 || (last && !this.#told)) this.#goOn(handler.onFrameData(bytes.subarray(at, at + data), last));
    this.#told = last && this.#left > 0;
    return at + count;
  }

  #readPayload(bytes: Buffer, at: number, handler: FrameHandler): number {
    const count = Math.min(this.#left, bytes.length - at);
    let payload = bytes.subarray(at, at + count);
    if (count < this.#left || this.#payloadBytes > 0) {
      if (this.#payloadBytes === 0) this.#payload = Buffer.allocUnsafe(this.#left);
      payload.copy(this.#payload, this.#payloadBytes);
      this.#payloadBytes += count;
      payload = this.#payload;
    }
    this.#left -= count;
    if (this.#left > 0) {
      if (handler.onPart !== undefined) this.#goOn(handler.onPart(payload.subarray(0, this.#payloadBytes)));
      return at + count;
    }
    this.#headBytes = 0;
    this.#payload = NOTHING;
    this.#goOn(handler.onPayload(payload));
    return at + count;
  }

  #goOn(on: boolean): void {
    if (!on) this.#stopped = true;
  }
}
