import { PASS, type Protocol, type Verdict } from "../probe.ts";
import type { ResponseTests } from "../response.ts";

export interface FastcgiSettings {
  /** The request's parameters; byte strings. */
  readonly params: readonly { readonly key: string; readonly value: string }[];
  readonly expect: ResponseTests;
}

/** Record types of the FastCGI specification, section 8. */
const BEGIN_REQUEST = 1;
const END_REQUEST = 3;
const PARAMS = 4;
const STDIN = 5;
const STDOUT = 6;
const STDERR = 7;
const RESPONDER = 1;
const HEADER = 8;
const MAX_CONTENT = 65_535;

const MAX_HEAD = 64 * 1024;
const MAX_STDERR = 160;
const STATUSES: Readonly<Record<number, string>> = {
  1: "cannot multiplex connections",
  2: "overloaded",
  3: "unknown role",
};

/**
 * `type=fastcgi`: sends a request and judges the `Status` of the answer's headers (200 where there is none, as CGI has
 * it). Anything on the error stream before the headers end fails the check, as in the check module.
 */
export function fastcgi(settings: FastcgiSettings): Protocol {
  return new Fastcgi(settings);
}

class Fastcgi implements Protocol {
  readonly send: Buffer;
  readonly drained = false;
  readonly draining = false;
  private readonly expect: ResponseTests;
  private readonly header = Buffer.alloc(HEADER);
  private headerBytes = 0;
  private content = 0;
  private padding = 0;
  private head = "";
  private errors = "";
  private end8 = "";
  private any = false;

  constructor({ params, expect }: FastcgiSettings) {
    this.send = fastcgiRequest(params);
    this.expect = expect;
  }

  begin(): void {
    this.headerBytes = 0;
    this.content = 0;
    this.padding = 0;
    this.head = "";
    this.errors = "";
    this.end8 = "";
    this.any = false;
  }

  connected(): undefined {}

  data(bytes: Buffer): Verdict | undefined {
    this.any = true;
    for (let at = 0; at < bytes.length; ) {
      if (this.headerBytes < HEADER) {
        const count = bytes.copy(this.header, this.headerBytes, at, at + HEADER - this.headerBytes);
        this.headerBytes += count;
        at += count;
        const wrong = this.record();
        if (wrong !== undefined) return wrong;
        if (this.headerBytes < HEADER) return undefined;
      }
      const to = Math.min(bytes.length, at + this.content);
      const verdict = this.take(bytes.latin1Slice(at, to));
      this.content -= to - at;
      at = to;
      if (verdict !== undefined) return verdict;
      if (this.content > 0) return undefined;
      if (this.header[1] === STDERR && this.errors !== "") return this.complain();
      const skip = Math.min(this.padding, bytes.length - at);
      this.padding -= skip;
      at += skip;
      if (this.padding > 0) return undefined;
      this.headerBytes = 0;
    }
    return undefined;
  }

  /** Looks at the record header as far as it is there. */
  private record(): Verdict | undefined {
    const { header, headerBytes } = this;
    if (headerBytes >= 1 && header[0] !== 1) return "not a FastCGI response";
    if (headerBytes >= 2) {
      const type = header[1];
      if (type !== STDOUT && type !== STDERR && type !== END_REQUEST) return `unexpected FastCGI record type ${type}`;
    }
    if (headerBytes < HEADER) return undefined;
    if (header[2] !== 0 || header[3] !== 1) return "unexpected FastCGI request id";
    this.content = header.readUInt16BE(4);
    this.padding = header[6];
    if (header[1] === STDOUT && this.content === 0) return "FastCGI response without headers";
    if (header[1] === END_REQUEST && this.content < 5) return "not a FastCGI response";
    return undefined;
  }

  private take(text: string): Verdict | undefined {
    switch (this.header[1]) {
      case STDERR:
        this.errors += text.slice(0, MAX_STDERR - this.errors.length);
        return undefined;
      case END_REQUEST: {
        this.end8 += text;
        if (this.end8.length < 5) return undefined;
        const status = this.end8.charCodeAt(4);
        return status === 0
          ? "FastCGI response without headers"
          : `FastCGI server ${STATUSES[status] ?? `status ${status}`}`;
      }
      default:
        this.head += text.slice(0, MAX_HEAD - this.head.length);
        return this.headers();
    }
  }

  /** The verdict, once the head's empty line is there. */
  private headers(): Verdict | undefined {
    const end = /\r?\n\r?\n/.exec(this.head);
    if (end === null) return this.head.length >= MAX_HEAD ? "response head too large" : undefined;
    const lines = this.head.slice(0, end.index).split(/\r?\n/);
    if (!lines.every((line) => /^[^:\s]+[ \t]*:/.test(line))) return "invalid response header";
    const status = lines.find((line) => /^status[ \t]*:/i.test(line));
    const code = status === undefined ? "200" : /^[^:]*:[ \t]*(\d{3})(?!\d)/.exec(status)?.[1];
    if (code === undefined) return "invalid Status header";
    return this.expect.status(Number(code)) ? PASS : `status ${code}`;
  }

  private complain(): Verdict {
    return `FastCGI stderr: ${this.errors.replace(/[\r\n\0]+/g, " ").trim()}`;
  }

  end(): Verdict {
    if (this.errors !== "") return this.complain();
    return this.any ? "closed by the server within the response" : "closed by the server without a response";
  }
}

/** BEGIN_REQUEST (responder, connection not kept), the parameters, and both streams' ends. */
function fastcgiRequest(params: FastcgiSettings["params"]): Buffer {
  const pairs = Buffer.concat(
    params.flatMap(({ key, value }) => [
      length(key.length),
      length(value.length),
      Buffer.from(key, "latin1"),
      Buffer.from(value, "latin1"),
    ]),
  );
  const records = [recordOf(BEGIN_REQUEST, Buffer.from([0, RESPONDER, 0, 0, 0, 0, 0, 0]))];
  for (let at = 0; at < pairs.length; at += MAX_CONTENT) {
    records.push(recordOf(PARAMS, pairs.subarray(at, at + MAX_CONTENT)));
  }
  records.push(recordOf(PARAMS, Buffer.alloc(0)), recordOf(STDIN, Buffer.alloc(0)));
  return Buffer.concat(records);
}

function recordOf(type: number, content: Buffer): Buffer {
  const padding = (8 - (content.length % 8)) % 8;
  const header = Buffer.from([1, type, 0, 1, content.length >> 8, content.length & 0xff, padding, 0]);
  return Buffer.concat([header, content, Buffer.alloc(padding)]);
}

/** A name's or value's length: one byte up to 127, else four with the top bit set. */
function length(bytes: number): Buffer {
  if (bytes < 128) return Buffer.from([bytes]);
  const long = Buffer.alloc(4);
  long.writeUInt32BE((bytes | 0x80000000) >>> 0);
  return long;
}
