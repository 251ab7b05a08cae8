import { SPAN } from "../http1/field_scan.ts";
import { HeaderList } from "../http1/header_list.ts";
import { DONE, ResponseHead } from "../http1/response_head.ts";
import { DATA, HEAD, INFORMATIONAL, INVALID, LAST, MORE, OVER } from "../http1/response_reader.ts";
import { byteString } from "../latin1.ts";
import { BAD_NAME, BAD_VALUE, PSEUDO } from "./field_table.ts";
import type { HpackDecoder } from "./hpack_decoder.ts";

/**
 * Reads the answers of one stream after another (ngx_http_grpc_process_header, ngx_http_grpc_filter): its connection gives it
 * decoded heads and the payload of DATA frames. Its functions return the codes of http1/response_reader.ts.
 */
export class H2ResponseReader {
  head = new ResponseHead();
  /** Nothing of a head is behind it: the body comes by itself. */
  pos = 0;
  readonly early = undefined;
  dataStart = 0;
  dataEnd = 0;
  error = "";
  /** `error` is about the block, or about a field as such. */
  badBlock = false;
  readonly excess = "";
  whole = false;
  /** A stream carries one request; what that says of the connection is for the connection to know. */
  readonly reusable = true;
  /** END_STREAM has come, with the head or behind the bytes that were announced. */
  private ended = false;
  /** Bytes announced and not read yet. */
  private announced = 0;
  /** Bytes of the body that have not come yet; -1: as many as there are. */
  private left = -1;
  private bufferSize = 4096;
  private code = MORE;
  private trailers: HeaderList | undefined = undefined;

  begin(bufferSize: number): void {
    this.head.reset(bufferSize);
    this.bufferSize = bufferSize;
    this.error = "";
    this.badBlock = false;
    this.whole = false;
    this.ended = false;
    this.announced = 0;
    this.pos = 0;
    this.left = -1;
    this.code = MORE;
    this.trailers = undefined;
  }

  /** The head that was decoded, for `readHead`. */
  takeHead(decoder: HpackDecoder, endStream: boolean): void {
    this.ended = endStream;
    this.code = this.read(decoder);
    if (this.code === INFORMATIONAL && endStream) this.code = this.refuse("upstream prematurely closed stream");
  }

  private read(decoder: HpackDecoder): number {
    const { count, spans, lines, length } = decoder;
    // Of lines, `: ` and CR LF are no part of the fields.
    const text = byteString(lines, 0, length);
    if (length - 4 * count > this.bufferSize) return this.refuseBlock(tooLarge(spans, count, this.bufferSize));
    let status = 0;
    for (let at = 0; at < count * SPAN; at += SPAN) {
      const flags = spans[at + 5];
      if ((flags & (BAD_NAME | BAD_VALUE)) !== 0)
        return this.refuseBlock(`upstream sent invalid header: "${shown(text, spans, at)}"`);
      if ((flags & PSEUDO) === 0) {
        if (status === 0) return this.refuse("upstream sent no :status header");
        continue;
      }
      if (text.slice(spans[at], spans[at + 1]) !== ":status")
        return this.refuse(`upstream sent invalid header "${shown(text, spans, at)}"`);
      if (at > 0) return this.refuse("upstream sent duplicate :status header");
      const value = decoder.pseudoValue(at / SPAN);
      if (!/^\d{3}$/.test(value)) return this.refuse(`upstream sent invalid :status "${value}"`);
      status = Number(value);
      if (status < 100 || status === 101) return this.refuse(`upstream sent unexpected :status "${value}"`);
    }
    if (status === 0) return this.refuse("upstream sent no :status header");
    const { head } = this;
    if (head.takeDecoded(status, text, spans, SPAN, count * SPAN) !== DONE) return this.refuse(head.error);
    return status < 200 ? INFORMATIONAL : HEAD;
  }

  /** Without a Content-Length, the head says that there is no body. */
  announceNothing(): void {
    if (this.head.contentLength < 0) this.head.contentLength = 0;
  }

  readHead(): number {
    return this.code;
  }

  frame(headRequest: boolean): void {
    const { status, contentLength } = this.head;
    this.left = headRequest || status === 204 || status === 304 ? 0 : contentLength;
    if (this.ended && this.left <= 0) this.whole = true;
  }

  /** So many bytes of the body come next; END_STREAM with them where `endStream`. */
  announce(length: number, endStream: boolean): void {
    this.announced = length;
    this.ended = endStream;
  }

  readBody(bytes: Buffer, from: number): number {
    const length = bytes.length - from;
    this.announced -= length;
    this.dataStart = from;
    this.dataEnd = bytes.length;
    this.pos = bytes.length;
    if (this.left >= 0) {
      if (length > this.left) return this.refuse("upstream sent response body larger than indicated content length");
      this.left -= length;
    }
    if (!this.ended || this.announced > 0) return length === 0 ? MORE : DATA;
    if (this.left > 0) return this.refuse("upstream prematurely closed stream");
    this.whole = true;
    return length === 0 ? OVER : LAST;
  }

  /** The trailer that was decoded; false: it is invalid, and `error` says why. */
  takeTrailer(decoder: HpackDecoder): boolean {
    const { count, spans, lines, length } = decoder;
    if (length - 4 * count > this.bufferSize) {
      this.refuseBlock(tooLarge(spans, count, this.bufferSize));
      return false;
    }
    const text = byteString(lines, 0, length);
    const trailers = new HeaderList();
    trailers.readFrom(text);
    for (let at = 0; at < count * SPAN; at += SPAN) {
      const flags = spans[at + 5];
      if ((flags & (BAD_NAME | BAD_VALUE)) !== 0) {
        this.refuseBlock(`upstream sent invalid header: "${shown(text, spans, at)}"`);
        return false;
      }
      if ((flags & PSEUDO) !== 0) {
        this.error = `upstream sent invalid trailer "${shown(text, spans, at)}"`;
        return false;
      }
      trailers.read(spans[at + 4], spans, at);
    }
    this.trailers = trailers;
    return true;
  }

  endsWithConnection(): boolean {
    return false;
  }

  takeTrailers(): HeaderList | undefined {
    return this.trailers;
  }

  leaveHead(): void {
    this.head = new ResponseHead();
  }

  private refuse(error: string): number {
    this.error = error;
    return INVALID;
  }

  private refuseBlock(error: string): number {
    this.badBlock = true;
    return this.refuse(error);
  }
}

/** Says which of these fields is more than the rest of `limit` bytes, as nginx does. */
function tooLarge(spans: Int32Array, count: number, limit: number): string {
  let left = limit;
  for (let at = 0; at < count * SPAN; at += SPAN) {
    const name = spans[at + 1] - spans[at];
    const value = spans[at + 3] - spans[at + 2];
    if (name > left) return `upstream sent too large http2 header name length: ${name}`;
    if (value > left) return `upstream sent too large http2 header value length: ${value}`;
    left -= name + value;
    if (left < 0) break;
  }
  return "upstream sent too large http2 header";
}

/** `name: value`, for log messages. */
function shown(text: string, spans: Int32Array, at: number): string {
  return `${text.slice(spans[at], spans[at + 1])}: ${text.slice(spans[at + 2], spans[at + 3])}`;
}
