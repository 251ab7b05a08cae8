import { type HeadText, scanned } from "../head_text.ts";
import { type HostPort, validateHost } from "../host.ts";
import { shown } from "../latin1.ts";
import { parseLength } from "./content_length.ts";
import { INVALID_NAME, SPAN, UNDERSCORE } from "./field_scan.ts";
import type { HeadStore } from "./head_store.ts";
import { HeaderList } from "./header_list.ts";
import * as known from "./known_fields.ts";

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

/** No error. */
export const FIELDS_OK = 0;

/** What the last Connection field asked for (ngx_http_process_connection). */
const CONNECTION_NONE = 0;
export const CONNECTION_CLOSE = 1;
export const CONNECTION_KEEP_ALIVE = 2;

const hostPort: HostPort = { host: "", port: 0 };

/**
 * A request's fields and their meaning, as in nginx's ngx_http_headers_in table and ngx_http_process_request_header.
 */
export class RequestFields {
  readonly headers = new HeaderList();
  /** The sentence for the error log after an error (level info). */
  error = "";
  /** Log messages about fields that were left out (level info); undefined if there are none. */
  ignored: string[] | undefined = undefined;
  /** Validated, lower case, without port: of the target, else of Host. "" when there is none. */
  host = "";
  /** All fields were read: without a host there is none. */
  whole = false;
  port = 0;
  /** -1 without Content-Length. */
  contentLength = -1;
  chunked = false;
  connectionType = CONNECTION_NONE;
  /** Expect as sent. */
  expect: string | undefined = undefined;
  /** If set, returns the limits of a host's server, which apply to the fields (nginx's set_virtual_server). */
  limitsOf: ((host: string) => RequestLimits) | undefined = undefined;
  /** The limits in force: those of the host's server once the host is known. */
  limits: RequestLimits;

  private readonly namesOnly: boolean;
  private transferEncoding: string | undefined = undefined;
  private contentLengthField = "";
  /** Fields seen, a bit for each id. */
  private seen = 0;
  /** The last Host and its normalized form: on a kept-alive connection it is nearly always the same. */
  private lastHostField = "";
  private lastHost = "";
  private lastPort = 0;

  /** `namesOnly`: of a field that is left out the log says no more than its name (as nginx for HTTP/2). */
  constructor(limits: RequestLimits, namesOnly = false) {
    this.limits = limits;
    this.namesOnly = namesOnly;
  }

  clear(): void {
    this.limitsOf = undefined;
    this.headers.clear();
    this.error = "";
    this.ignored = undefined;
    this.host = "";
    this.port = 0;
    this.whole = false;
    this.contentLength = -1;
    this.chunked = false;
    this.connectionType = CONNECTION_NONE;
    if (this.seen === 0) return;
    this.seen = 0;
    this.expect = undefined;
    this.transferEncoding = undefined;
    this.contentLengthField = "";
  }

  /** Frees what the last request left. */
  release(): void {
    this.headers.release();
    this.lastHostField = "";
    this.lastHost = "";
  }

  /** The host of an absolute target; false when it is none. */
  takeHost(text: string): boolean {
    if (!validateHost(text, hostPort)) return false;
    this.host = hostPort.host;
    this.port = hostPort.port;
    return true;
  }

  /** What stands for a Host field that was not sent. */
  addHost(host: HeadText): void {
    this.headers.add(scanned("host"), "host", host);
    this.note(known.HOST, this.headers.count - 1);
  }

  /**
   * Reads the fields in `store` from `text`, the head, which begins at `base` in `bytes`. FIELDS_OK, or the status to
   * refuse the request with.
   */
  take(bytes: Buffer, base: number, text: string, store: Pick<HeadStore, "spans" | "count">): number {
    const { limitsOf } = this;
    if (limitsOf !== undefined && this.host !== "") this.limits = limitsOf(this.host);
    let { limits } = this;
    const { headers } = this;
    const { spans } = store;
    headers.readFrom(text);
    const last = store.count * SPAN;
    for (let at = 0; at < last; at += SPAN) {
      const flags = spans[at + 5];
      if ((flags & (INVALID_NAME | UNDERSCORE)) !== 0 && limits.ignoreInvalid) {
        if ((flags & INVALID_NAME) !== 0 || !limits.underscores) {
          const { namesOnly } = this;
          const text = shown(bytes, base + spans[at], base + spans[namesOnly ? at + 1 : at + 3]);
          const sentence = `client sent invalid header${namesOnly ? "" : " line"}: "${text}"`;
          if (this.ignored === undefined) this.ignored = [sentence];
          else if (this.ignored.length < limits.maxHeaders) this.ignored.push(sentence);
          // Each is a line in the log, and HTTP/2 says one in a byte.
          else return this.refuse(494, "client sent too many header lines");
          continue;
        }
      }
      if (headers.count >= limits.maxHeaders) return this.refuse(494, "client sent too many header lines");
      const number = spans[at + 4];
      headers.read(number, spans, at);
      if (number === known.UNKNOWN || number > LAST_NOTED) continue;
      if (!this.note(number, headers.count - 1)) return 400;
      if (number === known.HOST && limitsOf !== undefined) {
        limits = limitsOf(this.host);
        this.limits = limits;
      }
    }
    return FIELDS_OK;
  }

  /** Processes the field at index `at`; false refuses the request with 400. */
  private note(number: number, at: number): boolean {
    const { headers } = this;
    const bit = 1 << number;
    if ((this.seen & bit) !== 0) {
      if (number === known.CONNECTION) this.noteConnection(headers.value(at));
      else if (number === known.HOST || (UNIQUE & bit) !== 0) return this.duplicate(number, at);
      return true;
    }
    this.seen |= bit;
    switch (number) {
      case known.HOST:
        return this.noteHost(at);
      case known.CONNECTION:
        this.noteConnection(headers.value(at));
        break;
      case known.CONTENT_LENGTH:
        this.contentLengthField = headers.value(at);
        break;
      case known.TRANSFER_ENCODING:
        this.transferEncoding = headers.value(at);
        break;
      case known.EXPECT:
        this.expect = headers.value(at);
        break;
    }
    return true;
  }

  private noteHost(at: number): boolean {
    const { headers } = this;
    if (this.lastHostField === "" || !headers.hasValue(at, this.lastHostField)) {
      const value = headers.value(at);
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
    if (lower !== "close") this.headers.noteConnection(lower);
  }

  private duplicate(number: number, at: number): boolean {
    const { headers } = this;
    const what = number === known.HOST ? "host header" : "header line";
    const previous = headers.shown(headers.indexOf(known.keyOf(number)));
    this.error = `client sent duplicate ${what}: "${headers.shown(at)}", previous value: "${previous}"`;
    return false;
  }

  /** Checks that need the whole head (ngx_http_process_request_header). */
  check(version: number, method: string): number {
    this.whole = true;
    if ((this.seen & (1 << known.HOST)) === 0 && version > 1000) {
      return this.refuse(400, 'client sent HTTP/1.1 request without "Host" header');
    }
    const lengthGiven = (this.seen & (1 << known.CONTENT_LENGTH)) !== 0;
    if (lengthGiven) {
      this.contentLength = parseLength(this.contentLengthField);
      if (this.contentLength < 0) return this.refuse(400, 'client sent invalid "Content-Length" header');
    }
    const coding = this.transferEncoding;
    if (coding !== undefined) {
      if (version < 1001) {
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
    if (method === "CONNECT") {
      if (version !== 1001 || !this.limits.allowConnect) return this.refuse(405, "client sent CONNECT method");
      if (this.contentLength > 0 || this.chunked) return this.refuse(400, "client sent CONNECT request with body");
    }
    return method === "TRACE" ? this.refuse(405, "client sent TRACE method") : FIELDS_OK;
  }

  private refuse(status: number, error: string): number {
    this.error = error;
    return status;
  }
}

/** Fields with higher numbers are only stored. */
const LAST_NOTED = known.PROXY_AUTHORIZATION;

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
