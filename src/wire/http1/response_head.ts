import { type HeadText, headText, scanned } from "../head_text.ts";
import { byteString, shown, shownByte } from "../latin1.ts";
import { parseLength } from "./content_length.ts";
import { END, FIELD, FieldScanner, INVALID as INVALID_FIELD, SPAN } from "./field_scan.ts";
import { HeadStore } from "./head_store.ts";
import { HeaderList } from "./header_list.ts";
import * as known from "./known_fields.ts";
import * as line from "./status_line.ts";

/** More bytes are needed. */
export const NEED_MORE = 0;
/** The head is whole; `head.end` says where the body begins. */
export const DONE = 1;
/**
 * No status line: an HTTP/0.9 response, all of it body. `head.prefix` has what came in earlier calls, this call's part
 * begins at `head.end`. `head.error` is the message that nginx logs (level error) before it goes on. @internal Named by
 * tests only: its `version` says the same.
 */
export const NO_HEAD = 2;
/** Invalid response (proxy_next_upstream invalid_header); `head.error` says why (level error). */
export const INVALID = 3;

const NO_TEXT = headText("");
const OK = headText("200 OK");
const FOUND = headText("302 Moved Temporarily");

/**
 * What a head begins with: "http": a status line. "cgi": there is none, but a field for the status (RFC 3875 section 6),
 * as FastCGI has it. "either": uwsgi and SCGI.
 */
export type HeadForm = "http" | "cgi" | "either";

/**
 * Reads the heads of an upstream's responses (ngx_http_parse_status_line, ngx_http_proxy_process_header). Reused:
 * `reset` before each response, also after an informational one (100, 103), `feed` with whatever arrives. Strings are
 * byte strings.
 */
export class ResponseHead {
  readonly headers = new HeaderList();

  /** Index into the bytes last fed: where the body begins. */
  end = 0;
  /** Bytes of the head. */
  length = 0;
  /** nginx's sentence after INVALID and NO_HEAD, without "while reading response header from upstream". */
  error = "";
  /** Log messages about repeated fields that were left out (level warn); undefined if there are none. */
  ignored: string[] | undefined;
  prefix: Buffer | undefined;

  /** Set when its line was read; 0 before. */
  status = 0;
  /** The code and its text, as sent: `200 OK`; undefined where a Status field has the code alone. */
  statusLine: HeadText | undefined = NO_TEXT;
  /** 9, 1000, 1001 … */
  version = 0;
  /** -1 without Content-Length. */
  contentLength = -1;
  chunked = false;
  /** The connection ends with this response: HTTP/1.0 or `Connection: close`. */
  connectionClose = false;

  // First values of the fields a proxy acts upon, as sent.
  transferEncoding: HeadText | undefined;
  xAccelRedirect: string | undefined;
  xAccelLimitRate: string | undefined;
  xAccelBuffering: string | undefined;
  xAccelCharset: HeadText | undefined;
  /** Where in `headers` the first Set-Cookie is, -1 without. */
  setCookieAt = -1;

  private readonly form: HeadForm;
  private bufferSize = 4096;
  private readonly line = new line.StatusLine();
  private readonly fields = new FieldScanner(true);
  private inFields = false;
  private readonly store = new HeadStore();
  /** Fields seen, a bit for each id: below 32, and from 32 on. */
  private seen = 0;
  private seenHigh = 0;

  constructor(form: HeadForm = "http") {
    this.form = form;
  }

  /** Prepares for the next response, whose head may have `bufferSize` bytes (proxy_buffer_size). */
  reset(bufferSize: number): void {
    this.bufferSize = bufferSize;
    this.headers.clear();
    this.error = "";
    this.ignored = undefined;
    this.prefix = undefined;
    this.status = 0;
    this.statusLine = NO_TEXT;
    this.version = 0;
    this.contentLength = -1;
    this.chunked = false;
    this.connectionClose = false;
    if ((this.seen | this.seenHigh) !== 0) this.forgetFields();
    this.line.reset();
    this.fields.reset();
    this.inFields = this.form === "cgi";
    this.store.reset();
  }

  /** Releases the memory of the last response: for a connection that becomes idle. */
  release(): void {
    this.reset(this.bufferSize);
    this.headers.release();
  }

  /** Reads `bytes[start..end)`; nothing behind the head is touched. */
  feed(bytes: Buffer, start: number, end: number): number {
    const { store, bufferSize } = this;
    if (store.bytes === undefined) {
      const code = this.parse(bytes, start, start, end);
      if (code === NEED_MORE && end > start) {
        store.keep(bytes, start, end, bufferSize);
        this.line.shift(start);
        this.fields.shift(start);
      }
      return code;
    }
    const before = store.length;
    const taken = Math.min(end, start + Math.max(0, bufferSize - before));
    const all = store.add(bytes, start, taken, bufferSize);
    const code = this.parse(all, before, 0, store.length);
    if (code === NEED_MORE) return code;
    if (code === NO_HEAD) {
      this.prefix = all.subarray(0, before);
      this.end = start;
    } else this.end = start + (this.end - before);
    store.bytes = undefined;
    return code;
  }

  private parse(bytes: Buffer, from: number, base: number, end: number): number {
    let p = from;
    if (!this.inFields) {
      const code = this.line.next(bytes, p, end);
      if (code === line.AGAIN) return end - base >= this.bufferSize ? this.tooBig() : NEED_MORE;
      this.inFields = true;
      if (code === line.LINE) {
        p = this.line.pos;
        this.status = this.line.status;
      } else if (this.form === "http") {
        return this.noHead(base);
      } else {
        p = base;
        this.line.reset();
      }
    }
    const { fields, store } = this;
    let { spans } = store;
    let at = store.count * SPAN;
    for (;;) {
      at = fields.usual(bytes, p, end, spans, at, base);
      const code = fields.next(bytes, fields.pos, end);
      if (code === FIELD) {
        p = fields.pos;
        if (at === spans.length) spans = store.more(spans);
        fields.write(bytes, spans, at, base);
        at += SPAN;
        continue;
      }
      store.count = at / SPAN;
      if (code === END) {
        this.end = fields.pos;
        this.length = fields.pos - base;
        return this.length > this.bufferSize ? this.tooBig() : this.finish(bytes, base);
      }
      if (code === INVALID_FIELD) {
        const bad = fields.pos;
        if (bad - base >= this.bufferSize) return this.tooBig();
        const text = shown(bytes, fields.nameStart, bad);
        return this.refuse(`upstream sent invalid header: "${text}${shownByte(bytes[bad])}..."`);
      }
      return end - base >= this.bufferSize ? this.tooBig() : NEED_MORE;
    }
  }

  private noHead(base: number): number {
    this.error = "upstream sent no valid HTTP/1.0 header";
    this.version = 9;
    this.status = 200;
    this.connectionClose = true;
    this.end = base;
    return NO_HEAD;
  }

  private tooBig(): number {
    return this.refuse("upstream sent too big header");
  }

  private refuse(error: string): number {
    this.error = error;
    return INVALID;
  }

  private finish(bytes: Buffer, base: number): number {
    const text = byteString(bytes, base, this.end);
    const status = this.line;
    const { spans, count } = this.store;
    const last = count * SPAN;
    if (status.version === 0) return this.takeFields(text, spans, 0, last) === DONE ? this.takeCgiStatus() : INVALID;
    this.version = status.version;
    this.statusLine = this.textOfStatus(text, status.statusStart - base, status.end - base);
    if (this.status < 100) return this.refuse(`upstream sent invalid status "${this.statusLine}"`);
    if (this.version < 1001) {
      if (this.status === 103) return this.refuse("upstream sent HTTP/1.0 response with early hints");
      this.connectionClose = true;
    }
    return this.takeFields(text, spans, 0, last);
  }

  /**
   * Takes the head of another version, whose fields were decoded: `spans` from `first` to `last` as FieldScanner writes them,
   * positions in `text`. DONE or INVALID.
   */
  takeDecoded(status: number, text: string, spans: Int32Array, first: number, last: number): number {
    this.version = 2000;
    this.status = status;
    this.statusLine = status === 200 ? OK : undefined;
    this.length = text.length;
    return this.takeFields(text, spans, first, last);
  }

  private textOfStatus(text: string, start: number, end: number): HeadText {
    // The usual one takes no string of its own.
    if (end - start === OK.length && text.startsWith(OK, start)) return OK;
    const sent = text.substring(start, end);
    return this.line.plain ? scanned(sent) : headText(sent);
  }

  /** The Status field; without it 302 if there is a Location, else 200 (ngx_http_fastcgi_process_header). */
  private takeCgiStatus(): number {
    this.version = 1001;
    const { headers } = this;
    const at = headers.find(known.STATUS);
    if (at >= 0) {
      const sent = headers.value(at);
      if (!/^\d{3}/.test(sent)) return this.refuse(`upstream sent invalid status "${sent}"`);
      this.status = Number(sent.slice(0, 3));
      this.statusLine = sent.length === 3 ? undefined : sent;
    } else if (headers.find(known.LOCATION) >= 0) {
      this.status = 302;
      this.statusLine = FOUND;
    } else {
      this.status = 200;
      this.statusLine = OK;
    }
    return DONE;
  }

  private takeFields(text: string, spans: Int32Array, first: number, last: number): number {
    const early = this.status === 103;
    const { headers } = this;
    headers.readFrom(text);
    for (let at = first; at < last; at += SPAN) {
      const number = spans[at + 4];
      headers.read(number, spans, at);
      if (number === known.UNKNOWN || number > LAST_NOTED) continue;
      const place = headers.count - 1;
      if (early) {
        if (number === known.CONNECTION) headers.noteConnection(headers.value(place));
        continue;
      }
      const code = this.note(number, place);
      if (code === DROP) headers.dropLast();
      else if (code === REFUSE) return INVALID;
    }
    return DONE;
  }

  /** Processes a field as nginx's ngx_http_upstream_headers_in table does. */
  private note(number: number, at: number): number {
    const { headers } = this;
    const bit = 1 << (number & 31);
    const high = number >= 32;
    const seen = ((high ? this.seenHigh : this.seen) & bit) !== 0;
    if (seen) {
      if (number === known.CONNECTION) this.noteConnection(headers.value(at));
      return ((high ? ONCE_HIGH : ONCE) & bit) !== 0 ? this.repeated(number, at) : KEEP;
    }
    if (high) this.seenHigh |= bit;
    else this.seen |= bit;
    switch (number) {
      case known.CONTENT_LENGTH:
        if (this.transferEncoding !== undefined) return this.bothFramings();
        this.contentLength = parseLength(headers.value(at));
        if (this.contentLength >= 0) return KEEP;
        this.error = `upstream sent invalid "Content-Length" header: "${headers.shown(at)}"`;
        return REFUSE;
      case known.TRANSFER_ENCODING: {
        if (this.contentLength >= 0) return this.bothFramings();
        const value = headers.value(at);
        this.transferEncoding = value;
        this.chunked = value.length === 7 && value.toLowerCase() === "chunked";
        if (this.chunked) return KEEP;
        this.error = `upstream sent unknown "Transfer-Encoding": "${value}"`;
        return REFUSE;
      }
      case known.CONNECTION:
        this.noteConnection(headers.value(at));
        return KEEP;
      case known.SET_COOKIE:
        this.setCookieAt = at;
        return KEEP;
      case known.X_ACCEL_REDIRECT:
        this.xAccelRedirect = headers.value(at);
        return KEEP;
      case known.X_ACCEL_LIMIT_RATE:
        this.xAccelLimitRate = headers.value(at);
        return KEEP;
      case known.X_ACCEL_BUFFERING:
        this.xAccelBuffering = headers.value(at);
        return KEEP;
      case known.X_ACCEL_CHARSET:
        this.xAccelCharset = headers.value(at);
        return KEEP;
      default:
        return KEEP;
    }
  }

  private noteConnection(value: string): void {
    if (value === "keep-alive" || value === "Keep-Alive") return;
    const lower = value.toLowerCase();
    if (lower.includes("close")) this.connectionClose = true;
    if (lower !== "close") this.headers.noteConnection(lower);
  }

  private bothFramings(): number {
    this.error = 'upstream sent "Content-Length" and "Transfer-Encoding" headers at the same time';
    return REFUSE;
  }

  private repeated(number: number, at: number): number {
    const { headers } = this;
    const previous = headers.shown(headers.indexOf(known.keyOf(number)));
    const sentence = `upstream sent duplicate header line: "${headers.shown(at)}", previous value: "${previous}"`;
    if (number === known.CONTENT_LENGTH || number === known.TRANSFER_ENCODING) {
      this.error = sentence;
      return REFUSE;
    }
    if (this.ignored === undefined) this.ignored = [];
    this.ignored.push(`${sentence}, ignored`);
    return DROP;
  }

  private forgetFields(): void {
    this.seen = 0;
    this.seenHigh = 0;
    this.transferEncoding = undefined;
    this.xAccelRedirect = undefined;
    this.xAccelLimitRate = undefined;
    this.xAccelBuffering = undefined;
    this.xAccelCharset = undefined;
    this.setCookieAt = -1;
  }
}

/** Fields with higher numbers are only stored. */
const LAST_NOTED = known.X_ACCEL_CHARSET;

const KEEP = 0;
const DROP = 1;
const REFUSE = 2;

function bits(ids: readonly number[]): number {
  let mask = 0;
  for (const id of ids) mask |= 1 << (id & 31);
  return mask;
}

/** Fields of which nginx takes the first only. */
const ONCE = bits([
  known.CONTENT_LENGTH,
  known.TRANSFER_ENCODING,
  known.CONTENT_TYPE,
  known.DATE,
  known.SERVER,
  known.LAST_MODIFIED,
  known.ETAG,
  known.LOCATION,
  known.REFRESH,
]);
const ONCE_HIGH = bits([
  known.EXPIRES,
  known.STATUS,
  known.X_ACCEL_EXPIRES,
  known.X_ACCEL_REDIRECT,
  known.X_ACCEL_LIMIT_RATE,
]);
