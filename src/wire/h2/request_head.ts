import { randomBytes } from "../../sys/random.ts";
import { type HeadWord, headWord, scanned, scannedWord } from "../head_text.ts";
import { SPAN } from "../http1/field_scan.ts";
import * as known from "../http1/known_fields.ts";
import { parseRequestLine } from "../http1/parse_request_line.ts";
import { FIELDS_OK, RequestFields, type RequestLimits } from "../http1/request_fields.ts";
import { LINE, METHOD_CHAR, RequestLine } from "../http1/request_line.ts";
import { byteString } from "../latin1.ts";
import { BAD_NAME, BAD_VALUE, PSEUDO } from "./field_table.ts";
import type { HpackDecoder } from "./hpack_decoder.ts";

const NONE = headWord("");
const SCHEME = /^[A-Za-z][A-Za-z0-9+.-]*$/;
/** Paths are read as the target of a request line. */
const line = new RequestLine();
const BEFORE = "GET ";
const BEHIND = " HTTP/1.1\r\n";
let scratch: Buffer = Buffer.alloc(4096);

/**
 * A request's head as HTTP/2 has it (RFC 9113 section 8.3): decoded fields become what the parser of HTTP/1 makes of a head's
 * text, with nginx's refusals (ngx_http_v2.c).
 */
export class H2RequestHead {
  readonly fields: RequestFields;
  method: HeadWord = NONE;
  requestLine = "";
  rawUri: HeadWord = NONE;
  complex = 0;
  argsAt = -1;
  extAt = -1;
  plus = false;
  readonly version = 2000;
  length = 0;
  scheme = "";
  /** Of an extended CONNECT (RFC 8441), which is then a GET that asks for an upgrade; else "". */
  protocol = "";
  /** The client may send such. */
  allowsProtocol = false;
  /** The :authority came before the :path. */
  hostFirst = false;
  /** No field came behind the pseudo-header fields. */
  bare = false;
  /** For the log (level info), where the head is refused. */
  error = "";
  private authority: string | undefined = undefined;

  constructor(limits: RequestLimits) {
    this.fields = new RequestFields(limits, true);
  }

  /** Prepares for a request that has these limits, or once its host is known those of `limitsOf`. */
  begin(limits: RequestLimits, limitsOf?: (host: string) => RequestLimits): void {
    this.fields.limits = limits;
    this.fields.limitsOf = limitsOf;
  }

  /** Forgets the last request, whose strings would keep its whole head. */
  clear(): void {
    this.fields.clear();
    this.method = NONE;
    this.requestLine = "";
    this.rawUri = NONE;
    this.complex = 0;
    this.argsAt = -1;
    this.extAt = -1;
    this.plus = false;
    this.length = 0;
    this.scheme = "";
    this.protocol = "";
    this.hostFirst = false;
    this.bare = false;
    this.error = "";
    this.authority = undefined;
  }

  release(): void {
    this.clear();
    this.fields.release();
  }

  /**
   * Takes the fields that were decoded. `length`: bytes of the header block; `part`: it is wrong further on. FIELDS_OK, or the
   * status to refuse it with.
   */
  take(decoder: HpackDecoder, length: number, part = false): number {
    this.length = length;
    const pseudo = this.takePseudo(decoder);
    if (pseudo < 0) return 400;
    const { fields } = this;
    if (!this.validate(decoder, pseudo)) return 400;
    // As in nginx there is a request line as soon as a field has come behind the pseudo-header fields, or the head is complete.
    this.bare = pseudo === decoder.count;
    joinCookies(decoder, pseudo);
    const { count, lines } = decoder;
    const { spans } = decoder;
    spans.copyWithin(0, pseudo * SPAN, count * SPAN);
    const text = byteString(lines, 0, decoder.length);
    const status = fields.take(lines, 0, text, { spans, count: count - pseudo });
    if (status !== FIELDS_OK) {
      this.error = fields.error;
      return status;
    }
    if (!part) return this.check();
    if (this.bare) this.requestLine = "";
    return FIELDS_OK;
  }

  /** The pseudo-header fields, which come first. Returns how many there are; -1: `error` says what is wrong with them. */
  private takePseudo(decoder: HpackDecoder): number {
    const { spans, lines, count } = decoder;
    let seen = 0;
    for (; seen < count; seen++) {
      const at = seen * SPAN;
      const flags = spans[at + 5];
      if ((flags & PSEUDO) === 0) break;
      const value = decoder.pseudoValue(seen);
      const name = pseudoName(lines, spans[at], spans[at + 1]);
      if ((flags & (BAD_NAME | BAD_VALUE)) !== 0) this.badField(flags, name, value);
      else this.error = this.takeOne(name, value);
      if (this.error !== "") return -1;
    }
    if (this.method === NONE) this.error = "client sent no :method header";
    else if (this.scheme === "") this.error = "client sent no :scheme header";
    else if (this.rawUri === NONE) this.error = "client sent no :path header";
    else if (this.protocol !== "" && this.method !== "CONNECT")
      this.error = 'client sent ":protocol" header without CONNECT';
    if (this.error !== "") return -1;
    if (this.protocol !== "") this.method = GET;
    this.requestLine = `${this.method} ${this.rawUri} HTTP/2.0`;
    return seen;
  }

  private takeOne(name: string, value: string): string {
    switch (name) {
      case ":method":
        if (this.method !== NONE) return "client sent duplicate :method header";
        if (value === "") return "client sent empty :method header";
        for (let i = 0; i < value.length; i++) {
          if (METHOD_CHAR[value.charCodeAt(i)] === 0) return `client sent invalid method: "${value}"`;
        }
        this.method = METHODS.get(value) ?? scannedWord(value);
        return "";
      case ":scheme":
        if (this.scheme !== "") return "client sent duplicate :scheme header";
        if (value === "") return "client sent empty :scheme header";
        if (!SCHEME.test(value)) return `client sent invalid :scheme header: "${value}"`;
        this.scheme = value;
        return "";
      case ":authority":
        if (this.authority !== undefined) return 'client sent duplicate ":authority" header';
        if (!this.fields.takeHost(value)) return 'client sent invalid ":authority" header';
        this.authority = value;
        return "";
      case ":path":
        if (this.rawUri !== NONE) return "client sent duplicate :path header";
        if (value === "") return "client sent empty :path header";
        this.hostFirst = this.authority !== undefined;
        return this.takePath(value) ? "" : `client sent invalid :path header: "${value}"`;
      case ":protocol":
        if (!this.allowsProtocol) break;
        if (this.protocol !== "") return "client sent duplicate :protocol header";
        if (value === "") return "client sent empty :protocol header";
        this.protocol = value;
        return "";
    }
    return `client sent unknown pseudo-header "${name}"`;
  }

  private takePath(path: string): boolean {
    if (!path.startsWith("/")) return false;
    const end = BEFORE.length + path.length;
    if (scratch.length < end + BEHIND.length) scratch = Buffer.alloc(2 * (end + BEHIND.length));
    scratch.latin1Write(BEFORE, 0, BEFORE.length);
    scratch.latin1Write(path, BEFORE.length, path.length);
    scratch.latin1Write(BEHIND, end, BEHIND.length);
    line.reset();
    if (parseRequestLine(line, scratch, 0, end + BEHIND.length) !== LINE || line.uriEnd - line.uriStart !== path.length)
      return false;
    this.rawUri = scannedWord(path);
    this.complex = line.complex;
    this.plus = line.plus;
    this.argsAt = line.argsStart < 0 ? -1 : line.argsStart - line.uriStart;
    this.extAt = line.extStart < 0 ? -1 : line.extStart - line.uriStart;
    return true;
  }

  private validate({ spans, lines, count }: HpackDecoder, from: number): boolean {
    for (let at = from * SPAN; at < count * SPAN; at += SPAN) {
      const flags = spans[at + 5];
      if ((flags & (BAD_NAME | BAD_VALUE | PSEUDO)) === 0) continue;
      // As in nginx there is no request line before the first of these.
      if (at === from * SPAN) this.requestLine = "";
      const name = byteString(lines, spans[at], spans[at + 1]);
      if ((flags & (BAD_NAME | BAD_VALUE)) !== 0)
        this.badField(flags, name, byteString(lines, spans[at + 2], spans[at + 3]));
      else this.error = "client sent out of order pseudo-headers";
      return false;
    }
    return true;
  }

  private badField(flags: number, name: string, value: string): void {
    this.error =
      (flags & BAD_NAME) !== 0
        ? `client sent invalid header name: "${name}"`
        : `client sent header "${name}" with invalid value: "${value}"`;
  }

  /** ngx_http_v2_run_request */
  private check(): number {
    const { fields, authority } = this;
    const { headers } = fields;
    for (const [number, name] of CONNECTION_FIELDS) {
      if (headers.find(number) >= 0) return this.refuse(`client sent "${name}" header`);
    }
    const te = headers.getAll("te");
    if (te.length > 1 || (te.length === 1 && te[0].toLowerCase() !== "trailers"))
      return this.refuse('client sent invalid "TE" header');
    if (headers.find(known.HOST) < 0) {
      if (authority === undefined) return this.refuse('client sent neither ":authority" nor "Host" header');
      fields.addHost(scanned(authority));
    } else if (authority !== undefined && headers.get("host") !== authority) {
      return this.refuse('client sent ":authority" and "Host" headers with different values');
    }
    const status = fields.check(this.version, this.method);
    this.error = fields.error;
    return status === FIELDS_OK && this.protocol !== "" ? this.takeProtocol() : status;
  }

  /** Adds the fields that make of the request what it would be over HTTP/1.1 (RFC 6455 section 4.1). */
  private takeProtocol(): number {
    const { headers, contentLength } = this.fields;
    if (contentLength >= 0) return this.refuse('client sent "Content-Length" header with CONNECT');
    if (this.protocol !== "websocket") {
      this.error = `client sent unknown :protocol header: "${this.protocol}"`;
      return 501;
    }
    headers.remove("sec-websocket-key");
    headers.append("Connection", "Upgrade");
    headers.append("Upgrade", "websocket");
    headers.append("Sec-WebSocket-Key", randomBytes(16).toString("base64"));
    return FIELDS_OK;
  }

  private refuse(error: string): number {
    this.error = error;
    return 400;
  }
}

const GET = headWord("GET");
const METHODS = new Map<string, HeadWord>(
  "GET HEAD POST PUT DELETE OPTIONS PATCH TRACE CONNECT".split(" ").map((method) => [method, headWord(method)]),
);

/** The name of a pseudo-header field: usually one of those that there are, whose first letters differ. */
function pseudoName(lines: Buffer, start: number, end: number): string {
  const known = PSEUDO_NAMES[lines[start + 1]];
  if (known === undefined || known.length !== end - start) return byteString(lines, start, end);
  for (let i = 2; i < known.length; i++) {
    if (lines[start + i] !== known.charCodeAt(i)) return byteString(lines, start, end);
  }
  return known;
}

/** By the byte behind the colon. */
const PSEUDO_NAMES: (string | undefined)[] = new Array(256).fill(undefined);
for (const name of [":method", ":scheme", ":path", ":authority"]) PSEUDO_NAMES[name.charCodeAt(1)] = name;

/** Fields about a connection, which HTTP/2 does not have. */
const CONNECTION_FIELDS: readonly (readonly [number: number, name: string])[] = [
  [known.CONNECTION, "Connection"],
  [known.numberOf("keep-alive"), "Keep-Alive"],
  [known.numberOf("proxy-connection"), "Proxy-Connection"],
  [known.TRANSFER_ENCODING, "Transfer-Encoding"],
  [known.UPGRADE, "Upgrade"],
];
const COOKIE = known.numberOf("cookie");

/** One Cookie field of several (RFC 9113 section 8.2.3). */
function joinCookies(decoder: HpackDecoder, from: number): void {
  const { spans, lines } = decoder;
  let cookies = 0;
  for (let at = from * SPAN; at < decoder.count * SPAN; at += SPAN) {
    if (spans[at + 4] === COOKIE) cookies++;
  }
  if (cookies < 2) return;
  let joined = "";
  let kept = from;
  for (let field = from; field < decoder.count; field++) {
    const at = field * SPAN;
    if (spans[at + 4] === COOKIE)
      joined += `${joined === "" ? "" : "; "}${byteString(lines, spans[at + 2], spans[at + 3])}`;
    else {
      if (kept !== field) spans.copyWithin(kept * SPAN, at, at + SPAN);
      kept++;
    }
  }
  decoder.count = kept;
  decoder.add("cookie", joined);
}
