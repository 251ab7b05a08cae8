import { trim } from "../../wire/trim.ts";
import { PASS, type Protocol, type Verdict } from "../probe.ts";
import { type CheckResponse, judge, MAX_BODY, type ResponseTests } from "../response.ts";

export interface HttpSettings {
  /** check_http_send: the whole request, a byte string. */
  readonly send: string;
  readonly expect: ResponseTests;
  /** The connection may serve several checks, so the end of each answer matters. */
  readonly keep: boolean;
}

/** Bounds of an answer: hostile servers send lines without end. */
const MAX_HEAD = 64 * 1024;
const MAX_INTERIM = 8;

const STATUS_LINE = /^HTTP\/[1-9]\d*\.(\d+) +(\d{3})(?:[ .].*)?$/s;
const START = "HTTP/";

/** Where the parser is. */
const HEAD = 0;
const BODY_LENGTH = 1;
const BODY_CHUNKED = 2;
const BODY_TO_END = 3;
const OVER = 4;

/** `type=http`: sends a request and judges status, headers and body as far as the check asks for them. */
export function http(settings: HttpSettings): Protocol {
  return new HttpProtocol(settings);
}

class HttpProtocol implements Protocol {
  readonly send: Buffer;
  private readonly expect: ResponseTests;
  private readonly keep: boolean;
  /** The request was HEAD: no body follows. */
  private readonly headless: boolean;
  private state = HEAD;
  private judged = false;
  private line = "";
  private headBytes = 0;
  private interim = 0;
  private status = 0;
  private minor = 0;
  private headers = new Map<string, string[]>();
  private body = "";
  private remaining = 0;
  private chunk = new ChunkSizes();
  private persistent = false;

  constructor(settings: HttpSettings) {
    this.send = Buffer.from(settings.send, "latin1");
    this.headless = /^HEAD /i.test(settings.send);
    this.expect = settings.expect;
    this.keep = settings.keep;
  }

  begin(): void {
    this.state = HEAD;
    this.judged = false;
    this.line = "";
    this.headBytes = 0;
    this.interim = 0;
    this.status = 0;
    if (this.headers.size > 0) this.headers = new Map();
    this.body = "";
    this.persistent = false;
  }

  connected(): undefined {}

  get drained(): boolean {
    return this.state === OVER && this.persistent;
  }

  get draining(): boolean {
    return this.persistent && this.state !== OVER;
  }

  data(bytes: Buffer): Verdict | undefined {
    let at = 0;
    while (at < bytes.length && this.state === HEAD) {
      const end = bytes.indexOf(10, at);
      const stop = end === -1 ? bytes.length : end;
      this.headBytes += stop - at + 1;
      if (this.headBytes > MAX_HEAD) return this.settle("response head too large");
      this.line += bytes.latin1Slice(at, stop);
      at = stop + 1;
      if (end === -1) {
        if (this.status === 0 && !couldBeStatus(this.line)) return this.settle("not an HTTP response");
        return undefined;
      }
      const verdict = this.takeLine(this.line.endsWith("\r") ? this.line.slice(0, -1) : this.line);
      this.line = "";
      if (verdict !== undefined) return verdict;
    }
    if (at < bytes.length) this.takeBody(bytes.subarray(at));
    return this.bodyVerdict();
  }

  private takeLine(line: string): Verdict | undefined {
    if (this.status === 0) {
      const match = STATUS_LINE.exec(line);
      if (match === null) return this.settle("not an HTTP response");
      this.minor = Number(match[1]);
      this.status = Number(match[2]);
      // An interim answer (RFC 9110 section 15.2) comes before the one that counts.
      if (this.status >= 100 && this.status < 200 && this.status !== 101) {
        return ++this.interim > MAX_INTERIM ? this.settle("too many interim responses") : undefined;
      }
      if (!this.expect.status(this.status)) return this.settle(`status ${this.status}`);
      const more = this.keep || this.expect.headers.length > 0 || this.expect.body.length > 0;
      return more ? undefined : this.settle(PASS);
    }
    if (line !== "") {
      const colon = line.indexOf(":");
      if (colon < 1) return this.settle("invalid response header");
      const name = line.slice(0, colon).toLowerCase();
      const value = trim(line.slice(colon + 1), " \t");
      const values = this.headers.get(name);
      if (values === undefined) this.headers.set(name, [value]);
      else values.push(value);
      return undefined;
    }
    if (this.status < 200 && this.status !== 101) {
      this.status = 0;
      this.headers.clear();
      return undefined;
    }
    const reason = judge(this.expect.headers, this.response());
    if (reason !== PASS) return this.settle(reason);
    this.frame();
    return undefined;
  }

  /** RFC 9112 section 6.3. What is ambiguous is read to the end of the connection, which is then not kept. */
  private frame(): void {
    const { headers } = this;
    const connection = (headers.get("connection") ?? []).join(",").toLowerCase();
    const length = headers.get("content-length");
    const coding = headers.get("transfer-encoding");
    let persistent = /\bclose\b/.test(connection) ? false : this.minor > 0 || /\bkeep-alive\b/.test(connection);
    this.remaining = 0;
    if (this.headless || this.status === 204 || this.status === 304) {
      this.state = OVER;
    } else if (coding !== undefined) {
      if (coding.length === 1 && coding[0].toLowerCase() === "chunked" && length === undefined) {
        this.state = BODY_CHUNKED;
        this.chunk = new ChunkSizes();
      } else this.state = BODY_TO_END;
    } else if (length !== undefined) {
      if (length.length === 1 && /^\d{1,15}$/.test(length[0])) {
        this.remaining = Number(length[0]);
        this.state = this.remaining === 0 ? OVER : BODY_LENGTH;
      } else this.state = BODY_TO_END;
    } else this.state = BODY_TO_END;
    if (this.state === BODY_TO_END || this.status === 101) persistent = false;
    this.persistent = persistent && this.keep;
  }

  private takeBody(bytes: Buffer): void {
    switch (this.state) {
      case BODY_LENGTH: {
        this.keepBody(bytes, 0, Math.min(bytes.length, this.remaining));
        // More than was declared: whatever it is, the connection cannot be trusted with another check.
        if (bytes.length > this.remaining) this.persistent = false;
        this.remaining -= Math.min(bytes.length, this.remaining);
        if (this.remaining === 0) this.state = OVER;
        return;
      }
      case BODY_CHUNKED: {
        const used = this.chunk.take(bytes, (from, to) => this.keepBody(bytes, from, to));
        if (used === -1) {
          this.state = BODY_TO_END;
          this.persistent = false;
        } else if (this.chunk.over) {
          this.state = OVER;
          if (used < bytes.length) this.persistent = false;
        }
        return;
      }
      case BODY_TO_END:
        this.keepBody(bytes, 0, bytes.length);
        return;
      default:
        this.persistent = false;
    }
  }

  private keepBody(bytes: Buffer, from: number, to: number): void {
    if (this.judged || this.expect.body.length === 0) return;
    const room = MAX_BODY - this.body.length;
    if (room > 0) this.body += bytes.latin1Slice(from, Math.min(to, from + room));
  }

  private bodyVerdict(): Verdict | undefined {
    if (this.judged || this.state === HEAD) return undefined;
    if (this.expect.body.length === 0) return this.settle(PASS);
    if (this.state !== OVER && this.body.length < MAX_BODY) return undefined;
    return this.settle(judge(this.expect.body, this.response()));
  }

  end(): Verdict {
    if (this.state === BODY_TO_END) return this.settle(judge(this.expect.body, this.response()));
    if (this.state !== HEAD) return "closed by the server before the end of the body";
    return this.headBytes === 0
      ? "closed by the server without a response"
      : "closed by the server within the response head";
  }

  private response(): CheckResponse {
    return { status: this.status, headers: this.headers, body: this.body };
  }

  /** The one verdict of a check; what follows it is only read, not judged. */
  private settle(verdict: Verdict): Verdict {
    this.judged = true;
    if (verdict !== PASS) this.persistent = false;
    return verdict;
  }
}

function couldBeStatus(line: string): boolean {
  return line.length < START.length ? START.startsWith(line) : line.startsWith(START);
}

/** Chunk sizes of a chunked body (RFC 9112 section 7.1), across any split of the bytes. */
class ChunkSizes {
  over = false;
  private size = 0;
  private line = "";
  /** 0 in a size line, 1 in data, 2 in the line end after data, 3 in trailers. */
  private state = 0;

  /** Reports data ranges; returns the bytes used, or -1 when it is no chunked body. */
  take(bytes: Buffer, data: (from: number, to: number) => void): number {
    let at = 0;
    while (at < bytes.length && !this.over) {
      if (this.state === 1) {
        const to = Math.min(bytes.length, at + this.size);
        data(at, to);
        this.size -= to - at;
        at = to;
        if (this.size === 0) this.state = 2;
        continue;
      }
      const end = bytes.indexOf(10, at);
      this.line += bytes.latin1Slice(at, end === -1 ? bytes.length : end);
      if (this.line.length > 4096) return -1;
      if (end === -1) return bytes.length;
      at = end + 1;
      const line = this.line.endsWith("\r") ? this.line.slice(0, -1) : this.line;
      this.line = "";
      if (this.state === 0) {
        const match = /^([0-9A-Fa-f]{1,12})[ \t]*(?:;.*)?$/s.exec(line);
        if (match === null) return -1;
        this.size = Number.parseInt(match[1], 16);
        this.state = this.size === 0 ? 3 : 1;
      } else if (this.state === 2) {
        if (line !== "") return -1;
        this.state = 0;
      } else if (line === "") this.over = true;
    }
    return at;
  }
}
