import * as fcgi from "../../wire/fastcgi.ts";
import { DONE, INVALID, ResponseHead } from "../../wire/http1/response_head.ts";
import { PASS, type Probe, type Verdict } from "../probe.ts";
import { type ResponseTests, reasonOf } from "../response.ts";

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
 * `type=fastcgi`: sends a request and judges the status of the answer, read as nginx's fastcgi_pass reads it. Anything on the error stream before the headers end fails the check, as in the check module.
 */
export function fastcgi(settings: FastcgiSettings): Probe {
  return new Fastcgi(settings);
}

class Fastcgi implements Probe {
  readonly send: Buffer;
  readonly reusable = false;
  readonly unfinished = false;
  private readonly expect: ResponseTests;
  private readonly records = new fcgi.RecordReader();
  private readonly head = new ResponseHead("cgi");
  private errors = "";
  private any = false;

  constructor({ params, expect }: FastcgiSettings) {
    const pairs = params.map(({ key, value }) => fcgi.param(key, value)).join("");
    this.send = Buffer.from(fcgi.beginRequest(false) + fcgi.params(pairs) + fcgi.STDIN_STREAM.end, "latin1");
    this.expect = expect;
  }

  begin(): void {
    this.records.reset();
    this.head.reset(MAX_HEAD);
    this.errors = "";
    this.any = false;
  }

  connected(): undefined {}

  data(bytes: Buffer): Verdict | undefined {
    this.any = true;
    const { records, head } = this;
    for (let at = 0; ; at = records.pos) {
      switch (records.next(bytes, at, bytes.length)) {
        case fcgi.MORE:
          return undefined;
        case fcgi.OUT: {
          const code = head.feed(bytes, records.dataStart, records.dataEnd);
          if (code === DONE) return this.expect.status(head.status) ? PASS : `status ${head.status}`;
          if (code === INVALID) return reasonOf(head.error);
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
