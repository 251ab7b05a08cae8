import { BlockParts } from "../../../wire/h2/block_parts.ts";
import { completeFields } from "../../../wire/h2/complete_fields.ts";
import { ERROR, FLAG } from "../../../wire/h2/frames.ts";
import { type HeaderBlockError, HpackDecoder, LONG_LENGTH } from "../../../wire/h2/hpack_decoder.ts";
import type { RequestLimits } from "../../../wire/http1/request_fields.ts";

/** The connection whose header blocks these are. */
export interface HeadBlocksOwner {
  readonly limits: RequestLimits;
  fail(error: number, sentence: string): false;
}

/** Gets the blocks. */
export interface HeadBlockHandler {
  /** The fields of a block were decoded. `length`: its bytes; `ends`: the request ends with it. False: no more is to be read. */
  blockDecoded(stream: number, length: number, ends: boolean): boolean;
  /** A block cannot be decoded; the decoder has the fields before the wrong one. */
  blockBroken(stream: number, length: number, ends: boolean): void;
}

/** Puts header blocks together from HEADERS and CONTINUATION, and decodes them. */
export class HeadBlocks {
  readonly decoder = new HpackDecoder();
  /** The stream whose block is not complete: CONTINUATION has to come. 0: none. */
  stream = 0;
  private readonly owner: HeadBlocksOwner;
  private readonly handler: HeadBlockHandler;
  private ends = false;
  private readonly parts = new BlockParts();
  /** How much of a part that is not complete was looked at. */
  private looked = 0;

  constructor(owner: HeadBlocksOwner, handler: HeadBlockHandler) {
    this.owner = owner;
    this.handler = handler;
  }

  /** How much has come of a block that is not complete. */
  get length(): number {
    return this.parts.length;
  }

  /** A frame with `length` bytes of a block follows. */
  fits(length: number): boolean {
    const { largeBuffers, largeBufferSize } = this.owner.limits;
    // A block may take some more than its fields do, and no less than half of it.
    const most = 2 * largeBuffers * largeBufferSize + 1024;
    if (this.parts.length + length <= most) return true;
    return this.owner.fail(ERROR.ENHANCE_YOUR_CALM, "client sent too large header");
  }

  begin(stream: number, ends: boolean): void {
    this.stream = stream;
    this.ends = ends;
  }

  /** What has come so far of the first part of a block, behind `offset` bytes. */
  look(payload: Buffer, offset: number, begins: boolean): boolean {
    if (begins) this.looked = offset;
    if (payload.length <= this.looked) return true;
    const at = completeFields(payload, this.looked);
    if (at < 0) return this.owner.fail(ERRORS[LONG_LENGTH.kind], sentenceOf(LONG_LENGTH, 0));
    this.looked = at;
    return true;
  }

  /** A part of the block, lent for the call. */
  take(bytes: Buffer, flags: number): boolean {
    const whole = (flags & FLAG.END_HEADERS) !== 0;
    const { owner, stream, parts } = this;
    if (!whole || parts.length > 0) parts.add(bytes);
    if (!whole) return true;
    const block = parts.length > 0 ? parts.take() : bytes;
    this.stream = 0;
    const { largeBuffers, largeBufferSize } = owner.limits;
    const error = this.decoder.decode(block, { field: largeBufferSize, all: largeBuffers * largeBufferSize });
    if (error !== undefined) {
      owner.fail(ERRORS[error.kind], sentenceOf(error, this.decoder.detail));
      this.handler.blockBroken(stream, block.length, this.ends);
      return false;
    }
    return this.handler.blockDecoded(stream, block.length, this.ends);
  }

  /** Decodes what there is of a block that will not be complete, as the connection ends. */
  decodePart(): void {
    const { largeBuffers, largeBufferSize } = this.owner.limits;
    this.decoder.decode(this.parts.take(), { field: largeBufferSize, all: largeBuffers * largeBufferSize });
  }
}

const ERRORS = {
  compression: ERROR.COMPRESSION_ERROR,
  size: ERROR.FRAME_SIZE_ERROR,
  large: ERROR.ENHANCE_YOUR_CALM,
  protocol: ERROR.PROTOCOL_ERROR,
} as const;

/** Entries of the static table, and the one behind them: nginx counts from there. */
const STATIC_ENTRIES = 62;

/** What nginx says of a header block that cannot be decoded (ngx_http_v2_state_header_block and those that follow it). */
function sentenceOf({ what }: HeaderBlockError, detail: number): string {
  switch (what) {
    case "end within an integer":
      return "client sent header block with incorrect length";
    case "end within a string":
      return "client sent header field with incorrect length";
    case "no such index":
      if (detail === 0) return "client sent invalid hpack table index 0";
      return `client sent out of bound hpack table index: ${detail - STATIC_ENTRIES}`;
    case "long index":
      return "client sent header block with too long header index value";
    case "long length":
      return "client sent header field with too long length value";
    case "long size":
      return "client sent header block with too long size update value";
    case "bad code":
      return "client sent invalid encoded header field";
    case "bad size":
      return `client sent invalid table size update: ${detail}`;
    case "no name":
      return "client sent zero header name length";
    case "large field":
      return "client sent too large header field";
    case "large head":
      return "client sent too large header";
  }
}
