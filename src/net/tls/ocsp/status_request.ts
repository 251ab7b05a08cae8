import { logFault } from "../../../sys/guard.ts";
import { SslError } from "../../../sys/openssl/context.ts";
import { type CertificateStatus, type OcspQuestion, ocspRequest, readOcspResponse } from "../../../sys/openssl/ocsp.ts";
import { clearDeadline, Deadline, setDeadline } from "../../../sys/timers.ts";
import * as http from "../../../wire/http1/response_reader.ts";
import { type Address, addressText } from "../../address.ts";
import { engine } from "../../engines.ts";
import { type ConnectHandler, failureText, type Stream, type StreamError } from "../../stream.ts";
import { type Responder, ResponderLookup, type ResponderNames } from "./responder.ts";

/** Whoever wants to know the status of a certificate. */
export interface StatusAsker {
  /**
   * The last call. `status` is undefined if it could not be found out, which was logged; else `response` are the bytes that
   * say it, the callee's.
   */
  statusKnown(status: CertificateStatus | undefined, response: Buffer): void;
  logStatusRequest(level: "error" | "crit", sentence: string): void;
}

/** The most bytes that a responder may send, with the head (nginx's buffer). */
const MOST_RESPONSE = 16_384;
/** For each address that the responder has, ms. */
const TIMEOUT = 60_000;

const TYPE = "application/ocsp-response";

/** Asks a responder for the status of a certificate, over HTTP (ngx_ssl_ocsp_request). Whatever it sends is bounded. */
export class StatusRequest implements ConnectHandler {
  private readonly question: OcspQuestion;
  private readonly responder: Responder;
  private readonly asker: StatusAsker;
  private readonly lookup = new ResponderLookup();
  private readonly timeout: number;
  private readonly deadline: Deadline<StatusRequest>;
  private request = "";
  private addresses: readonly Address[] = [];
  /** The number of the address that is asked. */
  private address = 0;
  private stream: Stream | undefined = undefined;
  private connected = false;
  private over = false;
  private reader = new http.ResponseReader();
  private headRead = false;
  private received = 0;
  private parts: Buffer[] = [];

  /** `timeout`: shorter in tests. */
  constructor(question: OcspQuestion, responder: Responder, asker: StatusAsker, timeout = TIMEOUT) {
    this.question = question;
    this.responder = responder;
    this.asker = asker;
    this.timeout = timeout;
    this.deadline = new Deadline<StatusRequest>(this, timedOut);
  }

  /** `statusKnown` may be called before it returns. */
  start(names: ResponderNames): void {
    const { question, responder } = this;
    try {
      this.request = requestText(responder, ocspRequest(question));
    } catch (error) {
      if (!(error instanceof SslError)) throw error;
      this.fail(error.message, "crit");
      return;
    }
    this.lookup.start(responder, names, (found) => {
      if (typeof found === "string") {
        this.fail(found);
        return;
      }
      this.addresses = found;
      this.connect();
    });
  }

  /** Gives it up. The asker is not called any more. */
  cancel(): void {
    this.over = true;
    this.lookup.cancel();
    this.close();
  }

  private connect(): void {
    this.connected = false;
    this.headRead = false;
    this.received = 0;
    this.parts = [];
    this.reader = new http.ResponseReader();
    this.reader.begin(MOST_RESPONSE);
    setDeadline(this.deadline, this.timeout);
    this.stream = engine().connect({ address: this.addresses[this.address] }, this);
  }

  onConnect(stream: Stream): void {
    if (stream !== this.stream) return;
    this.connected = true;
    stream.write(this.request);
  }

  onData(stream: Stream, bytes: Buffer): void {
    if (stream !== this.stream) return;
    this.received += bytes.length;
    const failure = this.received > MOST_RESPONSE ? "OCSP responder sent too large response" : this.read(bytes);
    if (failure !== undefined) this.next(failure);
    else if (this.headRead && this.reader.whole) this.complete();
  }

  /** What is wrong with it. */
  private read(bytes: Buffer): string | undefined {
    const { reader } = this;
    let at = 0;
    if (!this.headRead) {
      let code = reader.readHead(bytes, at);
      while (code === http.INFORMATIONAL) {
        at = reader.pos;
        reader.begin(MOST_RESPONSE);
        code = reader.readHead(bytes, at);
      }
      if (code === http.MORE) return undefined;
      // An error with a head is that of HTTP/0.9.
      if (code === http.INVALID || reader.error !== "") return "OCSP responder sent invalid response";
      const type = reader.head.headers.get("content-type");
      if (type !== undefined && type.toLowerCase() !== TYPE) {
        return `OCSP responder sent invalid "Content-Type" header: "${type}"`;
      }
      this.headRead = true;
      at = reader.pos;
      reader.frame(false, at < bytes.length);
    }
    while (at < bytes.length && !reader.whole) {
      const code = reader.readBody(bytes, at);
      if (code === http.INVALID) return "OCSP responder sent invalid response";
      if (code === http.DATA || code === http.LAST) {
        this.parts.push(Buffer.from(bytes.subarray(reader.dataStart, reader.dataEnd)));
      }
      if (code !== http.DATA) break;
      at = reader.pos;
    }
    return undefined;
  }

  onDrain(): void {}

  onEnd(stream: Stream): void {
    if (stream === this.stream) this.ended();
  }

  onClose(stream: Stream, error: StreamError | undefined): void {
    if (stream !== this.stream) return;
    this.stream = undefined;
    if (error === undefined) this.ended();
    else this.next(failureText(this.connected ? "recv" : "connect", error));
  }

  onFault(error: unknown): void {
    logFault(error, " while requesting certificate status");
    this.close();
    this.end();
  }

  private ended(): void {
    if (this.headRead && this.reader.endsWithConnection()) this.complete();
    else this.next("OCSP responder prematurely closed connection");
  }

  expire(): void {
    this.next("OCSP responder timed out (110: Connection timed out)");
  }

  private complete(): void {
    const { status } = this.reader.head;
    this.close();
    if (status !== 200) {
      this.fail(`OCSP responder sent status ${status}`);
      return;
    }
    const response = Buffer.concat(this.parts);
    let found: CertificateStatus;
    try {
      found = readOcspResponse(response, this.question);
    } catch (error) {
      if (!(error instanceof SslError)) throw error;
      this.fail(error.message);
      return;
    }
    this.over = true;
    this.asker.statusKnown(found, response);
  }

  /** Logs what is wrong with this address, and asks the next one. */
  private next(failure: string): void {
    this.close();
    this.log("error", failure);
    if (++this.address < this.addresses.length) this.connect();
    else this.end();
  }

  private fail(sentence: string, level: "error" | "crit" = "error"): void {
    this.log(level, sentence);
    this.end();
  }

  private end(): void {
    if (this.over) return;
    this.over = true;
    this.asker.statusKnown(undefined, NOTHING);
  }

  private close(): void {
    clearDeadline(this.deadline);
    const { stream } = this;
    this.stream = undefined;
    stream?.destroy();
  }

  /** Tells the asker of what is wrong with the answer, and whose it is. */
  log(level: "error" | "crit", sentence: string): void {
    const address = this.addresses.at(this.address);
    const peer = address === undefined ? "" : `, peer: ${addressText(address)}`;
    this.asker.logStatusRequest(
      level,
      `${sentence} while requesting certificate status, responder: ${this.responder.host}${peer}`,
    );
  }
}

const NOTHING = Buffer.alloc(0);

function timedOut(request: StatusRequest): void {
  request.expire();
}

/** ngx_ssl_ocsp_create_request */
function requestText({ host, uri }: Responder, request: Buffer): string {
  const path = `${uri.endsWith("/") ? uri : `${uri}/`}${encodeURIComponent(request.toString("base64"))}`;
  return `GET ${path} HTTP/1.0\r\nHost: ${host}\r\n\r\n`;
}
