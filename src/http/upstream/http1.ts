import * as chunked from "../../wire/http1/chunked.ts";
import { HeaderList } from "../../wire/http1/header_list.ts";
import { DONE, INVALID as INVALID_HEAD, NEED_MORE, ResponseHead } from "../../wire/http1/response_head.ts";
import {
  type AnswerReader,
  type BodyCoding,
  DATA,
  HEAD,
  INFORMATIONAL,
  INVALID,
  LAST,
  MORE,
  OVER,
  type UpstreamProtocol,
} from "./protocol.ts";

/** HTTP/1.0 and HTTP/1.1, and what HTTP/0.9 servers send. */
export const HTTP1: UpstreamProtocol = { reader: () => new Http1Reader() };

/** A request's body in chunks (RFC 9112 section 7.1). */
export const CHUNKED: BodyCoding = {
  before: (length) => `${length.toString(16)}\r\n`,
  after: () => "\r\n",
  end: "0\r\n\r\n",
};

class Http1Reader implements AnswerReader {
  head = new ResponseHead();
  pos = 0;
  early: Buffer | undefined = undefined;
  dataStart = 0;
  dataEnd = 0;
  error = "";
  excess = "";
  whole = false;
  private readonly decoder = new chunked.ChunkedDecoder();
  private trailers = new HeaderList();
  private keepalive = false;
  private chunked = false;
  /** A valid head has come on this connection: whatever has none is no HTTP/0.9 answer. */
  private spoken = false;
  /** Body bytes still to come; -1: in chunks, or until the server closes. */
  private left = -1;

  get reusable(): boolean {
    return this.keepalive && this.whole;
  }

  begin(bufferSize: number): void {
    this.head.reset(bufferSize);
    this.early = undefined;
    this.error = "";
    this.excess = "";
    this.whole = false;
    this.keepalive = false;
    this.chunked = false;
    this.left = -1;
  }

  readHead(bytes: Buffer, from: number): number {
    const { head } = this;
    const code = head.feed(bytes, from, bytes.length);
    if (code === NEED_MORE) return MORE;
    this.pos = head.end;
    if (code === DONE) {
      this.spoken = true;
      return head.status < 200 && head.status !== 101 ? INFORMATIONAL : HEAD;
    }
    this.error = head.error;
    if (code === INVALID_HEAD || this.spoken) return INVALID;
    // An HTTP/0.9 answer: all of it is body.
    this.early = head.prefix;
    return HEAD;
  }

  /** RFC 9112 section 6.3, and whether the connection may serve another request. */
  frame(headRequest: boolean, more: boolean): void {
    const { head } = this;
    this.keepalive = !head.connectionClose;
    if (head.status === 204 || head.status === 304 || headRequest) {
      this.left = 0;
    } else if (head.chunked) {
      this.chunked = true;
      this.trailers.clear();
      this.decoder.reset(this.trailers);
    } else {
      this.left = head.contentLength;
      if (this.left < 0) this.keepalive = false;
    }
    if (this.left !== 0) return;
    this.whole = true;
    if (more) this.keepalive = false;
  }

  readBody(bytes: Buffer, from: number): number {
    if (this.chunked) return this.readChunks(bytes, from);
    const { left } = this;
    const length = bytes.length - from;
    this.dataStart = from;
    if (left < 0 || length < left) {
      this.dataEnd = bytes.length;
      this.pos = bytes.length;
      if (left > 0) this.left -= length;
      return DATA;
    }
    if (length > left) {
      this.excess = `upstream sent more data than specified in "Content-Length" header`;
      this.keepalive = false;
    }
    this.dataEnd = from + left;
    this.left = 0;
    this.whole = true;
    return LAST;
  }

  private readChunks(bytes: Buffer, from: number): number {
    const { decoder } = this;
    const code = decoder.next(bytes, from, bytes.length);
    switch (code) {
      case chunked.DATA:
        this.dataStart = decoder.dataStart;
        this.dataEnd = decoder.dataEnd;
        this.pos = decoder.pos;
        return DATA;
      case chunked.CHUNKED_DONE:
        if (decoder.pos < bytes.length) {
          this.excess = "upstream sent data after final chunk";
          this.keepalive = false;
        }
        this.whole = true;
        return OVER;
      case chunked.ERROR:
        this.error = "upstream sent invalid chunked response";
        return INVALID;
      default:
        return MORE;
    }
  }

  endsWithConnection(): boolean {
    return this.left < 0 && !this.chunked;
  }

  takeTrailers(): HeaderList | undefined {
    const { trailers } = this;
    if (!this.chunked || trailers.count === 0) return undefined;
    this.trailers = new HeaderList();
    return trailers;
  }

  leaveHead(): void {
    this.head = new ResponseHead();
  }
}
