import * as fcgi from "../../wire/fastcgi.ts";
import { PASS, type Protocol, type Verdict } from "../probe.ts";
import type { ResponseTests } from "../response.ts";

export interface FastcgiSettings {
  /** The request's parameters; byte strings. */
  readonly params: readonly { readonly key: string; readonly value: string }[];
  readonly expect: ResponseTests;
}

const MAX_HEAD = 64 * 1024;
const MAX_STDERR = 160;
/** Why an application refuses a request, by its protocol status. */
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
  private readonly records = new fcgi.RecordReader();
  private head = "";
  private errors = "";
  private any = false;

  constructor({ params, expect }: FastcgiSettings) {
    const pairs = params.map(({ key, value }) => fcgi.param(key, value)).join("");
    this.send = Buffer.from(fcgi.beginRequest(false) + fcgi.params(pairs) + fcgi.STDIN_STREAM.end, "latin1");
    this.expect = expect;
  }

  begin(): void {
    this.records.reset();
    this.head = "";
    this.errors = "";
    this.any = false;
  }

  connected(): undefined {}

  data(bytes: Buffer): Verdict | undefined {
    this.any = true;
    const { records } = this;
    for (let at = 0; ; at = records.pos) {
      switch (records.next(bytes, at, bytes.length)) {
        case fcgi.MORE:
          return undefined;
        case fcgi.OUT: {
          const text = bytes.latin1Slice(records.dataStart, records.dataEnd);
          this.head += text.slice(0, MAX_HEAD - this.head.length);
          const verdict = this.headers();
          if (verdict !== undefined) return verdict;
          break;
        }
        case fcgi.OUT_END:
          return "FastCGI response without headers";
        case fcgi.ERR: {
          const text = bytes.latin1Slice(records.dataStart, records.dataEnd);
          this.errors += text.slice(0, MAX_STDERR - this.errors.length);
          if (records.left === 0) return this.complain();
          break;
        }
        case fcgi.END:
          return refusal(records.protocolStatus);
        case fcgi.INVALID:
          return "not a FastCGI response";
      }
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

/** The application ended the request before there were headers. */
function refusal(protocolStatus: number): Verdict {
  if (protocolStatus < 0) return "not a FastCGI response";
  if (protocolStatus === 0) return "FastCGI response without headers";
  return `FastCGI server ${STATUSES[protocolStatus] ?? `status ${protocolStatus}`}`;
}
