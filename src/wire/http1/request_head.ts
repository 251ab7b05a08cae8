import { type HeadWord, headWord, scannedWord } from "../head_text.ts";
import { byteString, shown, shownByte } from "../latin1.ts";
import { END, FIELD, FieldScanner, INVALID, SPAN } from "./field_scan.ts";
import { HeadStore } from "./head_store.ts";
import { HeaderBuffers } from "./header_buffers.ts";
import { parseRequestLine } from "./parse_request_line.ts";
import { FIELDS_OK, RequestFields, type RequestLimits } from "./request_fields.ts";
import * as line from "./request_line.ts";

/** More bytes are needed. */
export const NEED_MORE = 0;
/** The head is whole; `head.end` says where the body begins. */
export const DONE = 1;
// Anything else `feed` returns is the status of an error: 400, 405, 414, 494, 501 or 505.

const NONE = headWord("");

/** A head that comes in pieces is parsed this many bytes at a time. */
const PIECE = 16 * 1024;

/**
 * Reads the heads of requests, one after another (nginx's ngx_http_parse.c and ngx_http_request.c, RFC
 * 9112). Reused: `clear` and `begin` before each request, `feed` with whatever arrives. A head that comes in one piece is not
 * copied, except into the one string that all its parts are slices of; otherwise the part that came is kept. Strings
 * are byte strings.
 */
export class RequestHead {
  readonly fields: RequestFields;

  /** Index into the bytes last fed: where the body or the next request begins, once DONE. */
  end = 0;
  /** Bytes of the head without empty lines before it ($request_length without the body). */
  length = 0;
  /** The sentence for the error log after an error (level info), without nginx's "while reading …". */
  error = "";

  method: HeadWord = NONE;
  /** $request; after an error, what was read of the line. */
  requestLine = "";
  /** The target as sent, with arguments ($request_uri); of an absolute one, what follows the authority. */
  rawUri: HeadWord = NONE;
  /** Why the path differs from the target's text (request_line.ts: COMPLEX, QUOTED, EMPTY_PATH); 0 if it does not. */
  complex = 0;
  /** Index in `rawUri` of the arguments, of the extension; -1 without. Valid while `complex` is 0. */
  argsAt = -1;
  extAt = -1;
  plus = false;
  /** 9, 1000, 1001 … */
  version = 0;
  /** Scheme of an absolute target, "" otherwise. */
  scheme = "";

  private readonly line = new line.RequestLine();
  private readonly scanner = new FieldScanner(false);
  private inFields = false;
  private readonly store = new HeadStore();
  private readonly buffers: HeaderBuffers;

  constructor(limits: RequestLimits) {
    this.fields = new RequestFields(limits);
    this.buffers = new HeaderBuffers(this.line, this.store, this.fields);
  }

  /** Prepares for a request that has these limits, or once its host is known those of `limitsOf`. */
  begin(limits: RequestLimits, limitsOf?: (host: string) => RequestLimits): void {
    this.fields.limits = limits;
    this.fields.limitsOf = limitsOf;
    this.buffers.reset();
  }

  /** Forgets the last request, whose strings would keep its whole head. */
  clear(): void {
    this.fields.clear();
    this.length = 0;
    this.error = "";
    this.method = NONE;
    this.requestLine = "";
    this.rawUri = NONE;
    this.complex = 0;
    this.argsAt = -1;
    this.extAt = -1;
    this.plus = false;
    this.version = 0;
    this.scheme = "";
    this.line.reset();
    this.scanner.reset();
    this.inFields = false;
    this.store.reset();
  }

  /** The same, and releases the memory that it needed. */
  release(): void {
    this.clear();
    this.fields.release();
  }

  /** True once a byte of a request was read: a connection that ends then has an incomplete request. */
  get started(): boolean {
    return this.inFields || !this.line.blank;
  }

  /** The request line is complete and valid: an error is in the fields. */
  get inHeaders(): boolean {
    return this.inFields;
  }

  /** The head will not be completed: takes over what was read, for the logs. */
  giveUp(): void {
    const { bytes, length } = this.store;
    if (bytes === undefined) return;
    if (this.inFields) this.failInFields(400, "", bytes, length);
    else this.fail(400, "", bytes, length);
  }

  /** Reads `bytes[start..end)`. Nothing behind the head is touched, so a pipelined request stays where it is. */
  feed(bytes: Buffer, start: number, end: number): number {
    const { store } = this;
    if (store.bytes === undefined) {
      const code = this.parse(bytes, start, end);
      if (code === NEED_MORE) this.keep(bytes, end);
      return code;
    }
    // Piece by piece, so that little of what follows the head is copied with it.
    for (let from = start; ; ) {
      const before = store.length;
      const taken = Math.min(end, from + PIECE);
      const code = this.parse(store.add(bytes, from, taken, Number.POSITIVE_INFINITY), before, store.length);
      if (code === NEED_MORE && taken < end) {
        from = taken;
        continue;
      }
      if (code === DONE) this.end = from + (this.end - before);
      if (code !== NEED_MORE) store.bytes = undefined;
      return code;
    }
  }

  /** Keeps the head's bytes so far, without blank lines before it. */
  private keep(bytes: Buffer, end: number): void {
    const { start, blank } = this.line;
    if (blank) return;
    this.store.keep(bytes, start, end, Number.POSITIVE_INFINITY);
    this.line.shift(start);
    this.scanner.shift(start);
  }

  private parse(bytes: Buffer, from: number, end: number): number {
    let p = from;
    if (!this.inFields) {
      const request = this.line;
      const code = parseRequestLine(request, bytes, p, end);
      if (code === line.AGAIN) return this.lineUnfinished(bytes, end);
      if (code !== line.LINE) return this.badLine(code, bytes, end);
      p = request.pos;
      if (p - request.start > this.buffers.end && !this.buffers.grow(bytes, 0, 0, p - request.start))
        return this.lineTooLong(bytes, p);
      if (request.version === 9) return this.finish(bytes, p);
      this.inFields = true;
    }
    return this.parseFields(bytes, p, end);
  }

  private parseFields(bytes: Buffer, from: number, end: number): number {
    const { scanner, store } = this;
    const base = this.line.start;
    const limit = base + this.buffers.end;
    let { spans } = store;
    let at = store.count * SPAN;
    let p = from;
    for (;;) {
      const before = at;
      at = scanner.usual(bytes, p, end, spans, at, base);
      p = scanner.pos;
      // Finds the first line that does not fit.
      if (p > limit && !this.allFit(bytes, spans, before, at, p - base)) {
        while (at > before && spans[at - SPAN] >= scanner.nameStart - base) at -= SPAN;
        store.count = at / SPAN;
        return this.fieldTooLong(bytes, end);
      }
      const code = scanner.next(bytes, p, end);
      if (code === FIELD) {
        p = scanner.pos;
        if (p > limit && !this.buffers.fits(bytes, at, scanner.nameStart - base, p - base)) {
          store.count = at / SPAN;
          return this.fieldTooLong(bytes, p);
        }
        if (at === spans.length) spans = store.more(spans);
        scanner.write(bytes, spans, at, base);
        at += SPAN;
        continue;
      }
      store.count = at / SPAN;
      if (code === END) return this.finish(bytes, scanner.pos);
      if (code === INVALID) {
        const bad = scanner.pos;
        const text = shown(bytes, scanner.nameStart, bad);
        const sentence = `client sent invalid header line: "${text}${shownByte(bytes[bad])}..."`;
        return this.failInFields(400, sentence, bytes, scanner.nameStart);
      }
      if (
        end >= limit &&
        !this.buffers.full(bytes, at, scanner.betweenLines ? end - base : scanner.nameStart - base, end - base)
      ) {
        // The request line alone filled all buffers.
        if (scanner.betweenLines && at === 0) return this.fail(494, "client sent too large request", bytes, base);
        return this.fieldTooLong(bytes, end);
      }
      return NEED_MORE;
    }
  }

  private allFit(bytes: Buffer, spans: Int32Array, from: number, to: number, end: number): boolean {
    for (let at = from; at < to; at += SPAN) {
      if (this.buffers.fits(bytes, at, spans[at], at + SPAN < to ? spans[at + SPAN] : end)) continue;
      this.scanner.nameStart = this.line.start + spans[at];
      return false;
    }
    return true;
  }

  private lineUnfinished(bytes: Buffer, end: number): number {
    const request = this.line;
    if (request.blank) return NEED_MORE;
    const read = end - request.start;
    if (read >= this.buffers.end && !this.buffers.full(bytes, 0, 0, read)) return this.lineTooLong(bytes, end);
    return NEED_MORE;
  }

  private lineTooLong(bytes: Buffer, end: number): number {
    return this.fail(414, "client sent too long URI", bytes, end);
  }

  private fieldTooLong(bytes: Buffer, end: number): number {
    const { nameStart } = this.scanner;
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

  /**
   * Fields before the error count: they choose the server whose error page is shown, and may have errors themselves.
   */
  private failInFields(status: number, error: string, bytes: Buffer, end: number): number {
    this.fail(status, error, bytes, end);
    const base = this.line.start;
    const earlier = this.takeFields(bytes, base, byteString(bytes, base, end));
    if (earlier !== FIELDS_OK) return earlier;
    this.error = error;
    return status;
  }

  /** The head is complete: makes one string of it, of which everything else is a slice. */
  private finish(bytes: Buffer, headEnd: number): number {
    const request = this.line;
    const base = request.start;
    this.end = headEnd;
    this.length = headEnd - base;
    const text = byteString(bytes, base, headEnd);
    this.requestLine = text.substring(0, request.end - base);
    this.takeLine(text, base);
    if (request.hostEnd > 0) {
      if (!this.fields.takeHost(text.substring(request.hostStart - base, request.hostEnd - base))) {
        this.inFields = false;
        this.error = "client sent invalid host in request line";
        return 400;
      }
    }
    if (this.version < 1000) {
      this.fields.whole = true;
      return DONE;
    }
    const refused = this.takeFields(bytes, base, text);
    if (refused !== FIELDS_OK) return refused;
    const { fields } = this;
    const status = fields.check(this.version, this.method);
    if (status === FIELDS_OK) return DONE;
    this.error = fields.error;
    return status;
  }

  private takeFields(bytes: Buffer, base: number, text: string): number {
    const { fields } = this;
    const status = fields.take(bytes, base, text, this.store);
    if (status !== FIELDS_OK) this.error = fields.error;
    return status;
  }

  private takeLine(text: string, base: number): void {
    const request = this.line;
    this.method = methodName(text, request.methodEnd - base);
    this.rawUri = scannedWord(text.substring(request.uriStart - base, request.uriEnd - base));
    this.complex = request.complex;
    this.plus = request.plus;
    if (request.argsStart >= 0) this.argsAt = request.argsStart - request.uriStart;
    if (request.extStart >= 0) this.extAt = request.extStart - request.uriStart;
    if (request.schemeEnd > 0) this.scheme = text.substring(request.schemeStart - base, request.schemeEnd - base);
    this.version = request.version;
  }
}

const GET = headWord("GET");
const POST = headWord("POST");
const METHODS = new Map<string, HeadWord>(
  "GET HEAD POST PUT DELETE OPTIONS PATCH TRACE CONNECT MKCOL COPY MOVE LOCK UNLOCK PROPFIND PROPPATCH"
    .split(" ")
    .map((method) => [method, headWord(method)]),
);

function methodName(text: string, end: number): HeadWord {
  if (end === 3 && text.startsWith("GET")) return GET;
  if (end === 4 && text.startsWith("POST")) return POST;
  const method = text.substring(0, end);
  return METHODS.get(method) ?? scannedWord(method);
}
