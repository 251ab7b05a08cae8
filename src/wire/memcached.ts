import { ESCAPE_MEMCACHED, escapeUri } from "./escape.ts";
import { type HeadText, headText } from "./head_text.ts";
import { HeaderList } from "./http1/header_list.ts";
import { DATA, HEAD, INVALID, LAST, MORE, OVER } from "./http1/response_reader.ts";
import { byteString } from "./latin1.ts";

/** memcached's text protocol, as far as nginx speaks it: a key is asked for, and answered with its value or without. */

const LF = 0x0a;
/** What follows a value. */
const TRAILER = Buffer.from("\r\nEND\r\n");
const CONTENT_ENCODING = headText("Content-Encoding");
const GZIP = headText("gzip");

const GET = "get ";

/** Asks for the value of a key, which has at least one byte. Byte strings. */
export function getCommand(key: string): string {
  return `${GET}${escapeUri(key, ESCAPE_MEMCACHED)}\r\n`;
}

/** An answer as the head of an HTTP response: 200 with a value, else 404. */
class MemcachedHead {
  readonly version = 1001;
  status = 0;
  readonly statusLine: HeadText | undefined = undefined;
  readonly headers = new HeaderList();
  contentLength = 0;
  length = 0;
  readonly setCookieAt = -1;
  readonly ignored = undefined;
  readonly xAccelRedirect = undefined;
  readonly xAccelBuffering = undefined;
  readonly xAccelLimitRate = undefined;
  readonly xAccelCharset = undefined;
}

/** Gets what is to be logged besides what the reader's codes say. */
type LogSink = (level: "error" | "info", sentence: string) => void;

/**
 * Reads the answers on one connection to memcached (ngx_http_memcached_process_header, ngx_http_memcached_filter). Its
 * functions return the codes of http1/response_reader.ts. Bytes are lent for the call.
 */
export class MemcachedReader {
  head = new MemcachedHead();
  pos = 0;
  readonly early = undefined;
  dataStart = 0;
  dataEnd = 0;
  error = "";
  readonly excess = "";
  whole = false;
  reusable = false;
  private readonly gzipFlag: number;
  private readonly log: LogSink;
  /** As it was sent. */
  private key = "";
  private bufferSize = 0;
  /** What has come of the first line. */
  private line = "";
  /** Bytes that have not come yet: of the value, and of what follows it. */
  private left = 0;
  private trailer = 0;

  /** `gzipFlag`: a value that has one of these flags is compressed. */
  constructor(gzipFlag: number, log: LogSink) {
    this.gzipFlag = gzipFlag;
    this.log = log;
  }

  begin(bufferSize: number): void {
    this.bufferSize = bufferSize;
    this.head.headers.clear();
    this.line = "";
    this.error = "";
    this.whole = false;
    this.reusable = false;
  }

  /** `command`: of `getCommand`; what is read next answers it. */
  expect(command: string): void {
    this.key = command.slice(GET.length, -2);
  }

  readHead(bytes: Buffer, from: number): number {
    const at = bytes.indexOf(LF, from);
    this.line += byteString(bytes, from, at < 0 ? bytes.length : at);
    // The line feed is one of the bytes that must fit.
    if (this.line.length >= this.bufferSize) return this.refuse("upstream sent too big header");
    if (at < 0) return MORE;
    this.pos = at + 1;
    this.head.length = this.line.length + 1;
    if (!this.line.endsWith("\r")) return this.invalid(this.line);
    return this.takeLine(this.line.slice(0, -1));
  }

  private takeLine(line: string): number {
    const { head, key } = this;
    if (line === "END") {
      this.log("info", `key: "${key}" was not found by memcached`);
      head.status = 404;
      head.contentLength = 0;
      return HEAD;
    }
    const value = "VALUE ";
    if (!line.startsWith(value)) return this.invalid(line);
    if (!line.startsWith(key, value.length)) return this.broken("key", line);
    const flags = value.length + key.length + 1;
    const length = line.indexOf(" ", flags) + 1;
    if (line[flags - 1] !== " " || length === 0) return this.invalid(line);
    if (this.gzipFlag !== 0) {
      const sent = line.slice(flags, length - 1);
      if (!DIGITS.test(sent)) return this.broken("flags", line);
      if ((Number(sent) & this.gzipFlag) !== 0) head.headers.add(CONTENT_ENCODING, "content-encoding", GZIP);
    }
    const sent = line.slice(length);
    if (!DIGITS.test(sent)) return this.broken("length", line);
    head.status = 200;
    head.contentLength = Number(sent);
    return HEAD;
  }

  private invalid(line: string): number {
    return this.refuse(`memcached sent invalid response: "${line}"`);
  }

  private broken(part: string, line: string): number {
    return this.refuse(`memcached sent invalid ${part} in response "${line}" for key "${this.key}"`);
  }

  private refuse(error: string): number {
    this.error = error;
    return INVALID;
  }

  frame(_headRequest: boolean, more: boolean): void {
    const { head } = this;
    this.left = head.contentLength;
    this.trailer = 0;
    if (head.status === 200) return;
    this.whole = true;
    this.reusable = !more;
  }

  readBody(bytes: Buffer, from: number): number {
    let at = from;
    const { left } = this;
    if (left > 0) {
      at = Math.min(bytes.length, from + left);
      this.left = left - (at - from);
      this.dataStart = from;
      this.dataEnd = at;
      this.pos = at;
      // The last bytes of a value go on with what ends it, where that has come too.
      if (this.left > 0 || bytes.length - at < TRAILER.length) return DATA;
    }
    const length = bytes.length - at;
    const valid = length <= TRAILER.length - this.trailer && startsWith(bytes, at, this.trailer, length);
    this.trailer += length;
    if (valid && this.trailer < TRAILER.length) return MORE;
    if (!valid) this.log("error", "memcached sent invalid trailer");
    this.whole = true;
    this.reusable = valid;
    return left > 0 ? LAST : OVER;
  }

  /** A value ends with its trailer. */
  endsWithConnection(): boolean {
    return false;
  }

  takeTrailers(): undefined {}

  leaveHead(): void {
    this.head = new MemcachedHead();
  }
}

/** As many as a number holds exactly. */
const DIGITS = /^\d{1,15}$/;

/** Whether `length` bytes are those of the trailer from `matched` on. */
function startsWith(bytes: Buffer, from: number, matched: number, length: number): boolean {
  return bytes.compare(TRAILER, matched, matched + length, from, from + length) === 0;
}
