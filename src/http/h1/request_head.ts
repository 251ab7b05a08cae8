import { type HostPort, validateHost } from "../host.ts";
import { END, FIELD, FieldScanner, INVALID, INVALID_NAME, SPAN, UNDERSCORE } from "./field_scan.ts";
import { HeaderList } from "./header_list.ts";
import * as known from "./known_fields.ts";
import { byteString, shown, shownByte } from "./latin1.ts";
import { RequestLine } from "./request_line.ts";
import * as line from "./request_line_syntax.ts";

/** More bytes are needed. */
export const NEED_MORE = 0;
/** The head is whole; `head.end` says where the body begins. */
export const DONE = 1;
// Anything else `feed` returns is the status of an error: 400, 405, 414, 494, 501 or 505.

/** What a server allows of a request's head. Sizes in bytes. */
export interface RequestLimits {
  /** client_header_buffer_size */
  readonly headerBufferSize: number;
  /** large_client_header_buffers */
  readonly largeBuffers: number;
  readonly largeBufferSize: number;
  /** max_headers */
  readonly maxHeaders: number;
  /** ignore_invalid_headers, underscores_in_headers */
  readonly ignoreInvalid: boolean;
  readonly underscores: boolean;
  /** allow_connect */
  readonly allowConnect: boolean;
}

/** What Connection said last, as nginx weighs it. */
export const CONNECTION_NONE = 0;
export const CONNECTION_CLOSE = 1;
export const CONNECTION_KEEP_ALIVE = 2;

/** Positions of the head being read, shared by all: a head that comes in one piece needs no memory of its own. */
let shared = new Int32Array(64 * SPAN);
const hostPort: HostPort = { host: "", port: 0 };

/**
 * Reads one request's head after another from a connection (nginx's ngx_http_parse.c and ngx_http_request.c,
 * RFC 9112). Reused: `reset` before each request, `feed` with whatever arrives. While a head comes in one piece nothing
 * is copied but the one string all its parts are slices of; else the part that came is kept. Strings are byte strings.
 */
export class RequestHead {
  readonly headers = new HeaderList();

  /** Index into the bytes last fed: where the body or the next request begins, once DONE. */
  end = 0;
  /** Bytes of the head with its blank lines before it left out ($request_length without the body). */
  length = 0;
  /** The sentence for the error log after an error (level info), without nginx's "while reading …". */
  error = "";
  /** Sentences for fields that were left out (level info); undefined when none was. */
  ignored: string[] | undefined;

  method = "";
  /** $request; after an error, what was read of the line. */
  requestLine = "";
  /** The target with its arguments as sent ($request_uri); for an absolute one, what follows the authority. */
  rawUri = "";
  /** Why the path is not simply the target's text (request_line.ts: COMPLEX, QUOTED, EMPTY_PATH); 0 when it is. */
  complex = 0;
  /** Index in `rawUri` of the arguments, of the extension; -1 without. Valid while `complex` is 0. */
  argsAt = -1;
  extAt = -1;
  plus = false;
  /** 9, 1000, 1001 … */
  version = 0;
  /** Scheme of an absolute target, "" otherwise. */
  scheme = "";

  /** Validated, lower case, without port: of the target, else of Host. "" when there is none. */
  host = "";
  port = 0;
  /** -1 without Content-Length. */
  contentLength = -1;
  chunked = false;
  connectionType = CONNECTION_NONE;
  /** Connection names the upgrade option. */
  connectionUpgrade = false;

  // First values of the fields a server acts upon, as sent.
  hostField: string | undefined;
  connection: string | undefined;
  transferEncoding: string | undefined;
  userAgent: string | undefined;
  expect: string | undefined;
  upgrade: string | undefined;
  ifModifiedSince: string | undefined;
  ifUnmodifiedSince: string | undefined;
  ifMatch: string | undefined;
  ifNoneMatch: string | undefined;
  ifRange: string | undefined;
  range: string | undefined;
  referer: string | undefined;
  contentType: string | undefined;
  acceptEncoding: string | undefined;
  authorization: string | undefined;
  keepAlive: string | undefined;
  xForwardedFor: string | undefined;
  cookie: string | undefined;

  /** Where set, gives the limits of the server a host belongs to; they hold for the fields (nginx's set_virtual_server). */
  limitsOf: ((host: string) => RequestLimits) | undefined;

  private limits: RequestLimits;
  /** What is being parsed, while a host may choose other limits. */
  private bytes: Buffer | undefined = undefined;
  private readonly line = new RequestLine();
  private readonly fields = new FieldScanner(false);
  private inFields = false;
  /** Bytes of this head from earlier calls, and how many; undefined while there are none. */
  private carry: Buffer | undefined;
  private carried = 0;
  private spans: Int32Array | undefined;
  private count = 0;
  /** Simulated end of nginx's current buffer, relative to the head's start, and how many large ones are in use. */
  private bufferEnd = 0;
  private buffersUsed = 0;
  /** The Host seen last and its valid form: on a kept-alive connection it is nearly always the same. */
  private lastHostField = "";
  private lastHost = "";
  private lastPort = 0;
  private seen = 0;
  private contentLengthField = "";

  constructor(limits: RequestLimits) {
    this.limits = limits;
    this.bufferEnd = limits.headerBufferSize;
  }

  /** Gets ready for the next request. */
  reset(limits: RequestLimits): void {
    this.limits = limits;
    this.headers.clear();
    this.error = "";
    this.ignored = undefined;
    this.method = "";
    this.requestLine = "";
    this.rawUri = "";
    this.complex = 0;
    this.argsAt = -1;
    this.extAt = -1;
    this.plus = false;
    this.version = 0;
    this.scheme = "";
    this.host = "";
    this.port = 0;
    this.contentLength = -1;
    this.chunked = false;
    this.connectionType = CONNECTION_NONE;
    this.connectionUpgrade = false;
    if (this.seen !== 0) this.forgetFields();
    this.line.reset();
    this.fields.reset();
    this.inFields = false;
    this.carry = undefined;
    this.carried = 0;
    this.spans = undefined;
    this.count = 0;
    this.bufferEnd = limits.headerBufferSize;
    this.buffersUsed = 0;
  }

  /** Lets go of what the last request left behind: for a connection that goes idle. Call `reset` before the next feed. */
  release(): void {
    this.reset(this.limits);
    this.headers.release();
  }

  /** True once a byte of a request was seen: an idle connection that ends then was cut off. */
  get started(): boolean {
    return this.inFields || !this.line.blank;
  }

  /** The request line was read whole and without fault: what is wrong is among the fields. */
  get inHeaders(): boolean {
    return this.inFields;
  }

  /** No more will come: takes over what was read, for the logs. */
  giveUp(): void {
    const { carry } = this;
    if (carry === undefined) return;
    if (this.inFields) this.failInFields(400, "", carry, this.carried);
    else this.fail(400, "", carry, this.carried);
  }

  /** Reads `bytes[start..end)`. Nothing behind the head is touched, so a pipelined request stays where it is. */
  feed(bytes: Buffer, start: number, end: number): number {
    if (this.carry === undefined) {
      const code = this.parse(bytes, start, end);
      if (code === NEED_MORE) this.keep(bytes, end);
      return code;
    }
    const before = this.carried;
    // No head is longer than all its buffers together, so no more than that is ever kept.
    const most = this.limits.headerBufferSize + this.limits.largeBuffers * this.limits.largeBufferSize + 1;
    const taken = Math.min(end, start + Math.max(1, most - before));
    this.carryOn(bytes, start, taken);
    const code = this.parse(this.carry, before, this.carried);
    if (code === DONE) this.end = start + (this.end - before);
    else if (code === NEED_MORE && taken < end) return this.feed(bytes, taken, end);
    if (code !== NEED_MORE) this.carry = undefined;
    return code;
  }

  private parse(bytes: Buffer, from: number, end: number): number {
    let p = from;
    this.bytes = this.limitsOf === undefined ? undefined : bytes;
    if (!this.inFields) {
      const request = this.line;
      const code = request.next(bytes, p, end);
      if (code === line.AGAIN) return this.lineUnfinished(bytes, end);
      if (code !== line.LINE) return this.badLine(code, bytes, end);
      p = request.pos;
      if (p - request.start > this.bufferEnd && !this.grow(shared, 0, 0, p - request.start))
        return this.lineTooLong(bytes, p);
      if (request.version === 9) return this.finish(bytes, p);
      this.inFields = true;
    }
    return this.parseFields(bytes, p, end);
  }

  private parseFields(bytes: Buffer, from: number, end: number): number {
    const fields = this.fields;
    const base = this.line.start;
    const limit = base + this.bufferEnd;
    let spans = this.spans ?? shared;
    let at = this.count * SPAN;
    let p = from;
    for (;;) {
      const before = at;
      at = fields.usual(bytes, p, end, spans, at, base);
      p = fields.pos;
      // Which of them did not fit is found out line by line.
      if (p > limit && !this.allFit(spans, before, at, p - base)) {
        while (at > before && spans[at - SPAN] >= fields.nameStart - base) at -= SPAN;
        this.count = at / SPAN;
        return this.fieldTooLong(bytes, end);
      }
      const code = fields.next(bytes, p, end);
      if (code === FIELD) {
        p = fields.pos;
        if (p > limit && !this.fits(spans, at, fields.nameStart - base, p - base)) {
          this.count = at / SPAN;
          return this.fieldTooLong(bytes, p);
        }
        if (at === spans.length) spans = this.moreSpans(spans);
        fields.write(spans, at, base);
        at += SPAN;
        continue;
      }
      this.count = at / SPAN;
      if (code === END) return this.finish(bytes, fields.pos);
      if (code === INVALID) {
        const bad = fields.pos;
        const text = shown(bytes, fields.nameStart, bad);
        const sentence = `client sent invalid header line: "${text}${shownByte(bytes[bad])}..."`;
        return this.failInFields(400, sentence, bytes, fields.nameStart);
      }
      if (
        end >= limit &&
        !this.full(spans, at, fields.betweenLines ? end - base : fields.nameStart - base, end - base)
      ) {
        // The request line alone filled all buffers.
        if (fields.betweenLines && at === 0) return this.fail(494, "client sent too large request", bytes, base);
        return this.fieldTooLong(bytes, end);
      }
      return NEED_MORE;
    }
  }

  private allFit(spans: Int32Array, from: number, to: number, end: number): boolean {
    for (let at = from; at < to; at += SPAN) {
      if (this.fits(spans, at, spans[at], at + SPAN < to ? spans[at + SPAN] : end)) continue;
      this.fields.nameStart = this.line.start + spans[at];
      return false;
    }
    return true;
  }

  private fits(spans: Int32Array, read: number, lineStart: number, lineEnd: number): boolean {
    return lineEnd <= this.bufferEnd || this.grow(spans, read, lineStart, lineEnd);
  }

  /**
   * nginx reads into one buffer of client_header_buffer_size, then into large ones; a line may not span two, so an
   * unfinished one moves to the next. The buffers are only counted here. False when a line does not fit.
   */
  private grow(spans: Int32Array, read: number, lineStart: number, needed: number): boolean {
    while (needed > this.bufferEnd) if (!this.nextBuffer(this.limitsNow(spans, read), lineStart)) return false;
    return true;
  }

  /** The same with the buffer full to its last byte and more to come. */
  private full(spans: Int32Array, read: number, lineStart: number, end: number): boolean {
    while (end >= this.bufferEnd) if (!this.nextBuffer(this.limitsNow(spans, read), lineStart)) return false;
    return true;
  }

  /** The limits in force after the fields `spans[0..read)`: a Host among them may have chosen another server. */
  private limitsNow(spans: Int32Array, read: number): RequestLimits {
    const { limitsOf, bytes } = this;
    if (limitsOf === undefined || bytes === undefined) return this.limits;
    const base = this.line.start;
    const { hostStart, hostEnd } = this.line;
    let host = hostEnd > 0 ? byteString(bytes, hostStart, hostEnd) : "";
    for (let at = 0; at < read && host === ""; at += SPAN) {
      const name = byteString(bytes, base + spans[at], base + spans[at + 1]);
      if (name.toLowerCase() === "host") host = byteString(bytes, base + spans[at + 2], base + spans[at + 3]);
    }
    return host !== "" && validateHost(host, hostPort) ? limitsOf(hostPort.host) : this.limits;
  }

  private nextBuffer(limits: RequestLimits, lineStart: number): boolean {
    const partial = this.bufferEnd - lineStart;
    if (partial > 0 && partial >= limits.largeBufferSize) return false;
    if (this.buffersUsed === limits.largeBuffers) return false;
    this.buffersUsed++;
    this.bufferEnd = lineStart + limits.largeBufferSize;
    return true;
  }

  private lineUnfinished(bytes: Buffer, end: number): number {
    const request = this.line;
    if (request.blank) return NEED_MORE;
    const read = end - request.start;
    if (read >= this.bufferEnd && !this.full(shared, 0, 0, read)) return this.lineTooLong(bytes, end);
    return NEED_MORE;
  }

  private lineTooLong(bytes: Buffer, end: number): number {
    return this.fail(414, "client sent too long URI", bytes, end);
  }

  private fieldTooLong(bytes: Buffer, end: number): number {
    const { nameStart } = this.fields;
    const text = shown(bytes, nameStart, end);
    return this.failInFields(494, `client sent too long header line: "${text}..."`, bytes, nameStart);
  }

  private badLine(code: number, bytes: Buffer, end: number): number {
    switch (code) {
      case line.INVALID_METHOD:
        return this.fail(400, "client sent invalid method", bytes, end);
      case line.INVALID_VERSION:
        return this.fail(505, "client sent invalid version", bytes, end);
      case line.INVALID_09_METHOD:
        this.version = 9;
        return this.fail(400, "client sent invalid method in HTTP/0.9 request", bytes, end);
      default:
        return this.fail(400, "client sent invalid request", bytes, end);
    }
  }

  /** Notes the error and, as nginx's $request does, what was read of the request line. */
  private fail(status: number, error: string, bytes: Buffer, end: number): number {
    this.error = error;
    if (this.requestLine === "") {
      const start = this.line.start;
      let last = this.inFields ? this.line.end : start;
      while (!this.inFields && last < end && bytes[last] !== 0x0d && bytes[last] !== 0x0a) last++;
      this.requestLine = byteString(bytes, start, last);
      if (this.inFields) this.takeLine(this.requestLine, start);
    }
    return status;
  }

  /** The fields before the fault count: they choose the server whose page is shown, and may be wrong themselves. */
  private failInFields(status: number, error: string, bytes: Buffer, end: number): number {
    this.fail(status, error, bytes, end);
    const base = this.line.start;
    const earlier = this.takeFields(bytes, base, byteString(bytes, base, end));
    if (earlier !== DONE) return earlier;
    this.error = error;
    return status;
  }

  /** The head is whole: one string is made of it, and everything else is cut out of that. */
  private finish(bytes: Buffer, headEnd: number): number {
    const request = this.line;
    const base = request.start;
    this.end = headEnd;
    this.length = headEnd - base;
    const text = byteString(bytes, base, headEnd);
    this.requestLine = text.substring(0, request.end - base);
    this.takeLine(text, base);
    if (request.hostEnd > 0) {
      if (!validateHost(text.substring(request.hostStart - base, request.hostEnd - base), hostPort)) {
        this.inFields = false;
        return this.refuse(400, "client sent invalid host in request line");
      }
      this.host = hostPort.host;
      this.port = hostPort.port;
    }
    if (this.version < 1000) return DONE;
    const status = this.takeFields(bytes, base, text);
    return status !== DONE ? status : this.check();
  }

  private takeLine(text: string, base: number): void {
    const request = this.line;
    this.method = methodName(text, request.methodEnd - base);
    this.rawUri = text.substring(request.uriStart - base, request.uriEnd - base);
    this.complex = request.complex;
    this.plus = request.plus;
    if (request.argsStart >= 0) this.argsAt = request.argsStart - request.uriStart;
    if (request.extStart >= 0) this.extAt = request.extStart - request.uriStart;
    if (request.schemeEnd > 0) this.scheme = text.substring(request.schemeStart - base, request.schemeEnd - base);
    this.version = request.version;
  }

  private takeFields(bytes: Buffer, base: number, text: string): number {
    let limits = this.limitsOf !== undefined && this.host !== "" ? this.limitsOf(this.host) : this.limits;
    const headers = this.headers;
    const spans = this.spans ?? shared;
    const last = this.count * SPAN;
    for (let at = 0; at < last; at += SPAN) {
      const nameStart = spans[at];
      const nameEnd = spans[at + 1];
      const flags = spans[at + 5];
      if (flags !== 0 && limits.ignoreInvalid) {
        if ((flags & INVALID_NAME) !== 0 || ((flags & UNDERSCORE) !== 0 && !limits.underscores)) {
          const sentence = `client sent invalid header line: "${shown(bytes, base + nameStart, base + spans[at + 3])}"`;
          if (this.ignored === undefined) this.ignored = [sentence];
          else this.ignored.push(sentence);
          continue;
        }
      }
      if (headers.count >= limits.maxHeaders) return this.refuse(494, "client sent too many header lines");
      const value = text.substring(spans[at + 2], spans[at + 3]);
      let field = known.knownField(bytes, base + nameStart, base + nameEnd, spans[at + 4]);
      let name: string;
      if (field !== undefined) name = field.name;
      else {
        name = text.substring(nameStart, nameEnd);
        const key = name.toLowerCase();
        field = known.fieldByKey(key);
        if (field === undefined) {
          headers.add(name, key, value);
          continue;
        }
      }
      headers.add(name, field.key, value);
      if (field.id !== 0 && field.id <= known.COOKIE && !this.note(field, name, value)) return 400;
      if (field.id === known.HOST && this.limitsOf !== undefined) limits = this.limitsOf(this.host);
    }
    this.limits = limits;
    return DONE;
  }

  /** Acts upon a field as nginx's ngx_http_headers_in table does; false refuses the request with 400. */
  private note(field: known.KnownField, name: string, value: string): boolean {
    const bit = 1 << field.id;
    if ((this.seen & bit) !== 0) {
      if (field.id === known.CONNECTION) this.noteConnection(value);
      else if (field.id === known.HOST || (UNIQUE & bit) !== 0) return this.duplicate(field, name, value);
      return true;
    }
    this.seen |= bit;
    switch (field.id) {
      case known.HOST:
        return this.noteHost(value);
      case known.CONNECTION:
        this.connection = value;
        this.noteConnection(value);
        break;
      case known.CONTENT_LENGTH:
        this.contentLengthField = value;
        break;
      case known.TRANSFER_ENCODING:
        this.transferEncoding = value;
        break;
      case known.USER_AGENT:
        this.userAgent = value;
        break;
      case known.EXPECT:
        this.expect = value;
        break;
      case known.UPGRADE:
        this.upgrade = value;
        break;
      case known.IF_MODIFIED_SINCE:
        this.ifModifiedSince = value;
        break;
      case known.IF_UNMODIFIED_SINCE:
        this.ifUnmodifiedSince = value;
        break;
      case known.IF_MATCH:
        this.ifMatch = value;
        break;
      case known.IF_NONE_MATCH:
        this.ifNoneMatch = value;
        break;
      case known.IF_RANGE:
        this.ifRange = value;
        break;
      case known.RANGE:
        this.range = value;
        break;
      case known.REFERER:
        this.referer = value;
        break;
      case known.CONTENT_TYPE:
        this.contentType = value;
        break;
      case known.ACCEPT_ENCODING:
        this.acceptEncoding = value;
        break;
      case known.AUTHORIZATION:
        this.authorization = value;
        break;
      case known.KEEP_ALIVE:
        this.keepAlive = value;
        break;
      case known.X_FORWARDED_FOR:
        this.xForwardedFor = value;
        break;
      case known.COOKIE:
        this.cookie = value;
        break;
    }
    return true;
  }

  private noteHost(value: string): boolean {
    this.hostField = value;
    if (value !== this.lastHostField || value === "") {
      if (!validateHost(value, hostPort)) {
        this.error = "client sent invalid host header";
        return false;
      }
      this.lastHostField = value;
      this.lastHost = hostPort.host;
      this.lastPort = hostPort.port;
    }
    if (this.host === "") {
      this.host = this.lastHost;
      this.port = this.lastPort;
    }
    return true;
  }

  private noteConnection(value: string): void {
    if (value === "keep-alive" || value === "Keep-Alive") {
      this.connectionType = CONNECTION_KEEP_ALIVE;
      return;
    }
    const lower = value.toLowerCase();
    if (lower.includes("close")) this.connectionType = CONNECTION_CLOSE;
    else if (lower.includes("keep-alive")) this.connectionType = CONNECTION_KEEP_ALIVE;
    if (lower.includes("upgrade")) this.connectionUpgrade = true;
  }

  private duplicate(field: known.KnownField, name: string, value: string): boolean {
    const first = this.headers.indexOf(field.key);
    const what = field.id === known.HOST ? "host header" : "header line";
    const previous = `${this.headers.names[first]}: ${this.headers.values[first]}`;
    this.error = `client sent duplicate ${what}: "${name}: ${value}", previous value: "${previous}"`;
    return false;
  }

  /** What can only be said of the whole head (ngx_http_process_request_header). */
  private check(): number {
    if (this.hostField === undefined && this.version > 1000) {
      return this.refuse(400, 'client sent HTTP/1.1 request without "Host" header');
    }
    const lengthGiven = (this.seen & (1 << known.CONTENT_LENGTH)) !== 0;
    if (lengthGiven) {
      this.contentLength = parseLength(this.contentLengthField);
      if (this.contentLength < 0) return this.refuse(400, 'client sent invalid "Content-Length" header');
    }
    const coding = this.transferEncoding;
    if (coding !== undefined) {
      if (this.version < 1001) {
        return this.refuse(400, 'client sent HTTP/1.0 request with "Transfer-Encoding" header');
      }
      if (coding.length !== 7 || coding.toLowerCase() !== "chunked") {
        return this.refuse(501, `client sent unknown "Transfer-Encoding": "${coding}"`);
      }
      if (lengthGiven) {
        return this.refuse(400, 'client sent "Content-Length" and "Transfer-Encoding" headers at the same time');
      }
      this.chunked = true;
    }
    if (this.method === "CONNECT") {
      if (this.version !== 1001 || !this.limits.allowConnect) return this.refuse(405, "client sent CONNECT method");
      if (this.contentLength > 0 || this.chunked) return this.refuse(400, "client sent CONNECT request with body");
    }
    return this.method === "TRACE" ? this.refuse(405, "client sent TRACE method") : DONE;
  }

  private refuse(status: number, error: string): number {
    this.error = error;
    return status;
  }

  private forgetFields(): void {
    this.seen = 0;
    this.contentLengthField = "";
    this.hostField = undefined;
    this.connection = undefined;
    this.transferEncoding = undefined;
    this.userAgent = undefined;
    this.expect = undefined;
    this.upgrade = undefined;
    this.ifModifiedSince = undefined;
    this.ifUnmodifiedSince = undefined;
    this.ifMatch = undefined;
    this.ifNoneMatch = undefined;
    this.ifRange = undefined;
    this.range = undefined;
    this.referer = undefined;
    this.contentType = undefined;
    this.acceptEncoding = undefined;
    this.authorization = undefined;
    this.keepAlive = undefined;
    this.xForwardedFor = undefined;
    this.cookie = undefined;
  }

  /** Keeps the head's bytes so far: the caller's are only lent. */
  private keep(bytes: Buffer, end: number): void {
    const inLine = !this.inFields;
    if (inLine && this.line.blank) return;
    const start = this.line.start;
    const length = end - start;
    const carry = Buffer.allocUnsafe(Math.max(512, length * 2));
    bytes.copy(carry, 0, start, end);
    this.carry = carry;
    this.carried = length;
    this.line.shift(start);
    this.fields.shift(start);
    if (this.spans === undefined) this.spans = shared.slice(0, Math.max(16 * SPAN, this.count * SPAN * 2));
  }

  private carryOn(bytes: Buffer, start: number, end: number): void {
    const needed = this.carried + (end - start);
    let carry = this.carry;
    if (carry === undefined || carry.length < needed) {
      const larger = Buffer.allocUnsafe(needed * 2);
      carry?.copy(larger, 0, 0, this.carried);
      this.carry = carry = larger;
    }
    bytes.copy(carry, this.carried, start, end);
    this.carried = needed;
  }

  private moreSpans(spans: Int32Array): Int32Array {
    const larger = new Int32Array(spans.length * 2);
    larger.set(spans);
    if (this.spans === undefined) shared = larger;
    else this.spans = larger;
    return larger;
  }
}

/** Fields nginx allows once only (ngx_http_process_unique_header_line). */
const UNIQUE =
  (1 << known.IF_MODIFIED_SINCE) |
  (1 << known.IF_UNMODIFIED_SINCE) |
  (1 << known.IF_MATCH) |
  (1 << known.IF_NONE_MATCH) |
  (1 << known.CONTENT_LENGTH) |
  (1 << known.CONTENT_RANGE) |
  (1 << known.IF_RANGE) |
  (1 << known.TRANSFER_ENCODING) |
  (1 << known.EXPECT) |
  (1 << known.AUTHORIZATION) |
  (1 << known.PROXY_AUTHORIZATION);

const METHODS = new Map<string, string>(
  "GET HEAD POST PUT DELETE OPTIONS PATCH TRACE CONNECT MKCOL COPY MOVE LOCK UNLOCK PROPFIND PROPPATCH"
    .split(" ")
    .map((method) => [method, method]),
);

function methodName(text: string, end: number): string {
  if (end === 3 && text.startsWith("GET")) return "GET";
  if (end === 4 && text.startsWith("POST")) return "POST";
  const method = text.substring(0, end);
  return METHODS.get(method) ?? method;
}

/** A Content-Length in bytes, -1 when it is not digits alone or too large to count exactly. */
export function parseLength(text: string): number {
  const length = text.length;
  if (length === 0) return -1;
  let value = 0;
  for (let i = 0; i < length; i++) {
    const digit = text.charCodeAt(i) - 0x30;
    if (digit < 0 || digit > 9) return -1;
    value = value * 10 + digit;
    if (value > Number.MAX_SAFE_INTEGER) return -1;
  }
  return value;
}
