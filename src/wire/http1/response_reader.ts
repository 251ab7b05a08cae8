import * as chunked from "./chunked.ts";
import { HeaderList } from "./header_list.ts";
import { DONE, type HeadForm, INVALID as INVALID_HEAD, NEED_MORE, ResponseHead } from "./response_head.ts";

// What `readHead` and `readBody` return.

/** All bytes were read; more are needed. */
export const MORE = 0;
/** `readHead`: the head is whole, `pos` is where the rest begins. */
export const HEAD = 1;
/** `readHead`: an informational response's head is whole; the final one comes at `pos`, after another `begin`. */
export const INFORMATIONAL = 2;
/** The response cannot be used; `error` says why. */
export const INVALID = 3;
/** `readBody`: `dataStart..dataEnd` is body; call again at `pos`. */
export const DATA = 4;
/** `readBody`: `dataStart..dataEnd` is the last of the body. */
export const LAST = 5;
/** `readBody`: the body is over. */
export const OVER = 6;
/** `readBody`: the server has ended it too early; `error` says how (level error). Not of HTTP/1, where the connection's end does. */
export const BROKEN = 7;

/**
 * Reads the responses on one connection to a server, heads and bodies; used by the proxy and by checks. Made once per
 * connection and reused for all its responses. Bytes are lent for the call, and those that were read may be
 * overwritten.
 */
export class ResponseReader {
  head: ResponseHead;
  /** After `readHead`: the first byte behind the head. After DATA: where to go on. */
  pos = 0;
  /** Body bytes that an earlier `readHead` took for a head. */
  early: Buffer | undefined = undefined;
  /** After DATA and LAST. */
  dataStart = 0;
  dataEnd = 0;
  /** After INVALID, and after HEAD if something should be logged (level error), without "while reading …". */
  error = "";
  /** After LAST and OVER: what is wrong with what followed (level warn), "" for nothing. */
  excess = "";
  /** The whole response has been read. */
  whole = false;
  private readonly form: HeadForm;
  private readonly decoder = new chunked.ChunkedDecoder();
  private trailers = new HeaderList();
  private keepalive = false;
  private chunked = false;
  /** There was a valid head on this connection, so that data without a head is not an HTTP/0.9 response. */
  private spoken = false;
  /** Bytes of the body that have not come yet; -1: in chunks, or until the server closes. */
  private left = -1;
  /** CGI's answer to HEAD: with a body or, whatever is announced, without. */
  private optional = false;

  /** With another `form` than HTTP's the response is CGI's: never in chunks, and the last one of its connection. */
  constructor(form: HeadForm = "http") {
    this.form = form;
    this.head = new ResponseHead(form);
  }

  /** HTTP allows another request on the connection. */
  get reusable(): boolean {
    return this.keepalive && this.whole;
  }

  /** Prepares for a response whose head may have `bufferSize` bytes. */
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

  /** Reads on in the head at `from`: MORE, HEAD, INFORMATIONAL or INVALID. */
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
    // An HTTP/0.9 response: all of it is body.
    this.early = head.prefix;
    return HEAD;
  }

  /**
   * To be called after HEAD: determines how the body ends (RFC 9112 section 6.3) and whether the connection may be
   * reused. `more`: bytes follow the head already.
   */
  frame(headRequest: boolean, more: boolean): void {
    const { head } = this;
    const http = this.form === "http";
    this.keepalive = http && !head.connectionClose;
    this.optional = headRequest && !http;
    if (head.status === 204 || head.status === 304 || (headRequest && http)) {
      this.left = 0;
    } else if (http && head.chunked) {
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

  /** Reads on in the body at `from`: MORE, DATA, LAST, OVER or INVALID. */
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

  /** Called when the server has closed: whether that completes the body. */
  endsWithConnection(): boolean {
    return (this.left < 0 && !this.chunked) || this.optional;
  }

  /** The trailer fields of the body that was read, if any; the caller owns them. */
  takeTrailers(): HeaderList | undefined {
    const { trailers } = this;
    if (!this.chunked || trailers.count === 0) return undefined;
    this.trailers = new HeaderList();
    return trailers;
  }

  /** Leaves the head to its request: the next response gets another object. */
  leaveHead(): void {
    this.head = new ResponseHead(this.form);
  }
}
