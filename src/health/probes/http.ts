import { DATA, HEAD, INFORMATIONAL, INVALID, LAST, MORE, ResponseReader } from "../../wire/http1/response_reader.ts";
import { PASS, type Probe, type Verdict } from "../probe.ts";
import { type CheckResponse, judge, MAX_BODY, type ResponseTests, reasonOf } from "../response.ts";

export interface HttpSettings {
  /** check_http_send: the whole request, a byte string. */
  readonly send: string;
  readonly expect: ResponseTests;
  /** The connection may serve several checks, so the end of each response matters. */
  readonly keep: boolean;
}

/** Bounds of a response: a hostile server may never end its head. */
const MAX_HEAD = 64 * 1024;
const MAX_INTERIM = 8;

/**
 * `type=http`: sends a request and judges status, headers and body as far as the check asks for them. What is no response
 * to nginx's proxy (framing that contradicts itself, a broken chunk) is none here.
 */
export function http(settings: HttpSettings): Probe {
  return new HttpProbe(settings);
}

class HttpProbe implements Probe {
  readonly send: Buffer;
  private readonly expect: ResponseTests;
  private readonly keep: boolean;
  private readonly headRequest: boolean;
  private readonly reader = new ResponseReader();
  private received = false;
  private inBody = false;
  private interim = 0;
  private body = "";
  private verdict: Verdict | undefined = undefined;

  constructor(settings: HttpSettings) {
    this.send = Buffer.from(settings.send, "latin1");
    this.headRequest = /^HEAD /i.test(settings.send);
    this.expect = settings.expect;
    this.keep = settings.keep;
  }

  begin(): void {
    this.reader.begin(MAX_HEAD);
    this.received = false;
    this.inBody = false;
    this.interim = 0;
    this.body = "";
    this.verdict = undefined;
  }

  connected(): undefined {}

  get reusable(): boolean {
    return this.keep && this.verdict === PASS && this.reader.reusable;
  }

  get unfinished(): boolean {
    const { reader } = this;
    if (!this.keep || this.verdict !== PASS || !this.inBody) return false;
    return !reader.whole && !reader.head.connectionClose && !reader.endsWithConnection();
  }

  data(bytes: Buffer): Verdict | undefined {
    this.received = true;
    let from = 0;
    if (!this.inBody) {
      const verdict = this.readHead(bytes);
      if (verdict !== undefined) return this.settle(verdict);
      if (!this.inBody) return undefined;
      from = this.reader.pos;
    }
    const broken = this.readBody(bytes, from);
    if (broken !== undefined) return this.settle(broken);
    return this.verdict === undefined ? this.judgeBody() : undefined;
  }

  /** The verdict, where the head decides; else undefined, with `inBody` set once the head is whole. */
  private readHead(bytes: Buffer): Verdict | undefined {
    const { reader, expect } = this;
    for (let at = 0; ; at = reader.pos) {
      const code = reader.readHead(bytes, at);
      const { head } = reader;
      // nginx would take it for HTTP/0.9.
      if (head.version === 9) return "not an HTTP response";
      const { status } = head;
      // An interim response (RFC 9110 section 15.2) comes before the one that counts.
      if (status >= 200 || status === 101) {
        if (!expect.status(status)) return `status ${status}`;
        if (!this.keep && expect.headers.length === 0 && expect.body.length === 0) return PASS;
      }
      if (code === INVALID) return reasonOf(reader.error);
      if (code === MORE) return undefined;
      if (code === HEAD) break;
      if (code === INFORMATIONAL && ++this.interim > MAX_INTERIM) return "too many interim responses";
      reader.begin(MAX_HEAD);
    }
    const verdict = judge(expect.headers, this.response());
    if (verdict !== PASS) return verdict;
    reader.frame(this.headRequest, reader.pos < bytes.length);
    this.inBody = true;
    return undefined;
  }

  /** Reads to the end of the bytes or of the body; what is wrong with it. */
  private readBody(bytes: Buffer, from: number): Verdict | undefined {
    const { reader } = this;
    for (let at = from; at < bytes.length && !reader.whole; at = reader.pos) {
      const code = reader.readBody(bytes, at);
      if (code === INVALID) return reasonOf(reader.error);
      if (code === DATA || code === LAST) this.keepBody(bytes);
      if (code !== DATA) break;
    }
    return undefined;
  }

  private keepBody(bytes: Buffer): void {
    if (this.verdict !== undefined || this.expect.body.length === 0) return;
    const { dataStart, dataEnd } = this.reader;
    const room = MAX_BODY - this.body.length;
    if (room > 0) this.body += bytes.latin1Slice(dataStart, Math.min(dataEnd, dataStart + room));
  }

  private judgeBody(): Verdict | undefined {
    const { body } = this.expect;
    if (body.length > 0 && !this.reader.whole && this.body.length < MAX_BODY) return undefined;
    return this.settle(judge(body, this.response()));
  }

  end(): Verdict {
    if (!this.inBody) {
      return this.received
        ? "closed by the server within the response head"
        : "closed by the server without a response";
    }
    if (!this.reader.endsWithConnection()) return "closed by the server before the end of the body";
    return this.settle(judge(this.expect.body, this.response()));
  }

  private response(): CheckResponse {
    const { status, headers } = this.reader.head;
    return { status, headers, body: this.body };
  }

  /** The one verdict of a check; what follows it is only read, not judged. */
  private settle(verdict: Verdict): Verdict {
    this.verdict = verdict;
    return verdict;
  }
}
