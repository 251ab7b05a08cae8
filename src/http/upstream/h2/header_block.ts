import { BlockParts } from "../../../wire/h2/block_parts.ts";
import { type HeaderBlockError, HpackDecoder } from "../../../wire/h2/hpack_decoder.ts";

/** What a head may have, decoded, whatever …_buffer_size says of its request: beyond, the connection is given up. */
const MOST_HEAD = 256 * 1024;
/** How many CONTINUATION frames a block may have. */
const MOST_CONTINUATIONS = 1000;

/** Puts a server's header block together from HEADERS and CONTINUATION, and decodes it. */
export class HeaderBlock {
  /** Without a table, as in nginx: no block has to do with another. */
  readonly decoder = new HpackDecoder(0);
  /** The stream whose block is not complete: CONTINUATION has to come. 0: none. */
  stream = 0;
  /** The server ends the stream with it. */
  ends = false;
  private readonly parts = new BlockParts();
  private continuations = 0;

  begin(stream: number, ends: boolean): void {
    this.stream = stream;
    this.ends = ends;
    this.continuations = 0;
  }

  /** CONTINUATION with `length` bytes follows. False: that is too much. */
  continues(length: number): boolean {
    return ++this.continuations <= MOST_CONTINUATIONS && this.parts.length + length <= MOST_HEAD;
  }

  /** A part behind which others come, lent for the call. */
  add(part: Buffer): void {
    this.parts.add(part);
  }

  /** The last part: decodes the block. `bufferSize`: how large a head its request allows. */
  end(part: Buffer, bufferSize: number): HeaderBlockError | undefined {
    const { parts } = this;
    let block = part;
    if (parts.length > 0) {
      parts.add(part);
      block = parts.take();
    }
    this.stream = 0;
    const most = Math.max(MOST_HEAD, bufferSize);
    return this.decoder.decode(block, { field: most, all: most });
  }

  /** What nginx says of a block that cannot be decoded (ngx_http_grpc_parse_fragment). */
  sentenceOf({ what }: HeaderBlockError): string {
    const { detail } = this.decoder;
    switch (what) {
      case "no such index":
        return `upstream sent invalid http2 table index: ${detail}`;
      case "long index":
        return "upstream sent http2 table index with continuation flag";
      case "bad size":
      case "long size":
        return `upstream sent invalid http2 dynamic table size update: ${detail}`;
      case "bad code":
        return "upstream sent invalid encoded header";
      case "no name":
        return "upstream sent zero http2 header name length";
      case "end within an integer":
      case "end within a string":
        return "upstream sent truncated http2 header";
      case "long length":
        return "upstream sent too large http2 header value length";
      default:
        return "upstream sent too large http2 header";
    }
  }
}
