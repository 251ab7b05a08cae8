import * as records from "./fastcgi.ts";
import * as parsed from "./http1/response_head.ts";
import { ResponseHead } from "./http1/response_head.ts";
import { BROKEN, DATA, HEAD, INVALID, LAST, MORE, OVER } from "./http1/response_reader.ts";

/** How much of the body is still to come: as much as there is. */
const UNKNOWN = -1;
/** Nothing is expected, but what comes is that of `Content-Length`: an answer to HEAD (nginx's f->rest). */
const AS_ANNOUNCED = -2;

/** Gets what the application wrote to its error stream, as it came; true if the answer is to be refused for it. */
export type StderrSink = (text: string) => boolean;

/**
 * Reads the answers on one connection to a FastCGI application: a CGI response (RFC 3875) in records
 * (ngx_http_fastcgi_process_header, ngx_http_fastcgi_input_filter). Its functions return the codes of
 * http1/response_reader.ts. Bytes are lent for the call.
 */
export class FastcgiReader {
  head = new ResponseHead("cgi");
  pos = 0;
  readonly early = undefined;
  dataStart = 0;
  dataEnd = 0;
  error = "";
  excess = "";
  whole = false;
  private readonly keepConn: boolean;
  private readonly stderr: StderrSink;
  private readonly records = new records.RecordReader();
  private rest = UNKNOWN;
  /** Nothing more comes of the response. */
  private outEnded = false;
  /** The application's last record was read, and whether nothing is behind it. */
  private ended = false;
  private clean = false;

  /** `keepConn`: the application was asked to keep the connection. */
  constructor(keepConn: boolean, stderr: StderrSink) {
    this.keepConn = keepConn;
    this.stderr = stderr;
  }

  get reusable(): boolean {
    return this.keepConn && this.clean;
  }

  get awaitsClose(): boolean {
    return this.outEnded && !this.ended;
  }

  begin(bufferSize: number): void {
    this.head.reset(bufferSize);
    this.records.reset();
    this.error = "";
    this.excess = "";
    this.whole = false;
    this.rest = UNKNOWN;
    this.outEnded = false;
    this.ended = false;
    this.clean = false;
  }

  readHead(bytes: Buffer, from: number): number {
    const { head } = this;
    const reader = this.records;
    for (let at = from; ; at = reader.pos) {
      switch (reader.next(bytes, at, bytes.length)) {
        case records.MORE:
          return MORE;
        case records.OUT: {
          const code = head.feed(bytes, reader.dataStart, reader.dataEnd);
          if (code === parsed.NEED_MORE) break;
          if (code !== parsed.DONE) return this.refuse(head.error);
          reader.giveBack(reader.dataEnd - head.end);
          this.pos = reader.pos;
          return HEAD;
        }
        case records.ERR:
          if (this.complains(bytes)) return INVALID;
          break;
        case records.OUT_END:
          return this.refuse("upstream prematurely closed FastCGI stdout");
        case records.END:
          return this.refuse("upstream sent unexpected FastCGI record: 3");
        default:
          return this.refuse(reader.error);
      }
    }
  }

  frame(headRequest: boolean): void {
    const { status, contentLength } = this.head;
    if (status === 204 || status === 304) this.rest = 0;
    else this.rest = headRequest ? AS_ANNOUNCED : contentLength;
  }

  readBody(bytes: Buffer, from: number): number {
    const reader = this.records;
    for (let at = from; ; at = reader.pos) {
      switch (reader.next(bytes, at, bytes.length)) {
        case records.MORE:
          // END_REQUEST is awaited for the sake of the connection alone.
          if (this.keepConn || !this.outEnded) return MORE;
          this.whole = true;
          return OVER;
        case records.OUT: {
          const code = this.take(reader.dataStart, reader.dataEnd);
          return code === DATA && this.rest <= 0 && reader.pos < bytes.length ? this.takeEnd(bytes) : code;
        }
        case records.ERR:
          this.complains(bytes);
          break;
        case records.OUT_END:
          if (this.rest > 0) return this.breakOff("upstream prematurely closed FastCGI stdout");
          this.outEnded = true;
          break;
        case records.END:
          this.ended = true;
          if (this.rest > 0) return this.breakOff("upstream prematurely closed FastCGI request");
          this.whole = true;
          this.clean = reader.pos === bytes.length;
          return OVER;
        default:
          return this.refuse(reader.error);
      }
    }
  }

  /** After a piece of the body: LAST if these bytes have the end of the answer too, and nothing more of it. Else DATA. */
  private takeEnd(bytes: Buffer): number {
    const reader = this.records;
    for (;;) {
      switch (reader.next(bytes, reader.pos, bytes.length)) {
        case records.ERR:
          this.complains(bytes);
          break;
        case records.OUT_END:
          this.outEnded = true;
          break;
        case records.END:
          this.ended = true;
          this.whole = true;
          this.clean = reader.pos === bytes.length;
          return LAST;
        case records.MORE:
          this.pos = bytes.length;
          if (this.keepConn || !this.outEnded) return DATA;
          this.whole = true;
          return LAST;
        case records.OUT:
          reader.giveBack(reader.dataEnd - reader.dataStart);
          this.pos = reader.pos;
          return DATA;
        default:
          // The next call finds it again, when the piece was passed on.
          this.pos = reader.pos;
          return DATA;
      }
    }
  }

  /** A piece of the body. What exceeds Content-Length is dropped, and ends the answer. */
  private take(start: number, end: number): number {
    if (this.rest === AS_ANNOUNCED) this.rest = this.head.contentLength;
    const { rest } = this;
    this.dataStart = start;
    this.dataEnd = end;
    this.pos = end;
    if (rest === UNKNOWN) return DATA;
    if (end - start <= rest) {
      this.rest = rest - (end - start);
      return DATA;
    }
    this.excess = 'upstream sent more data than specified in "Content-Length" header';
    this.whole = true;
    this.dataEnd = start + rest;
    return rest === 0 ? OVER : LAST;
  }

  /**
   * Whether nothing is missing: an application may end the answer by closing the connection, between records, unless it was
   * asked to keep it. It may close it behind the end in any case.
   */
  endsWithConnection(): boolean {
    if (this.outEnded || this.rest === 0) return true;
    return this.rest < 0 && !this.keepConn && !this.records.within;
  }

  takeTrailers(): undefined {}

  leaveHead(): void {
    this.head = new ResponseHead("cgi");
  }

  private complains(bytes: Buffer): boolean {
    const { dataStart, dataEnd } = this.records;
    return dataEnd > dataStart && this.stderr(bytes.latin1Slice(dataStart, dataEnd));
  }

  private refuse(error: string): number {
    this.error = error;
    return INVALID;
  }

  private breakOff(error: string): number {
    this.error = error;
    return BROKEN;
  }
}
