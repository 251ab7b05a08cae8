import { DONE, NEED_MORE, RequestHead } from "../../../wire/http1/request_head.ts";
import { finalizeRequest, startPhases } from "../../core/engine.ts";
import { logError } from "../../core/log_context.ts";
import type { Request } from "../../core/request.ts";
import { startWithBody } from "../../core/request_body.ts";
import type { AddressConfig, ConnectionHost } from "../types.ts";
import type { H1Exchange } from "./exchange.ts";
import type { H1Input } from "./input.ts";

/** Memory of a head larger than this is freed while the connection is idle. */
const LARGE_HEAD = 4096;

/** The connection whose heads are read. */
export interface HeadReaderOwner {
  readonly host: ConnectionHost;
  readonly pipelined: boolean;
  /** The first part of a head has come. */
  headBegins(): void;
  /** A head is complete, or will not be completed. */
  requestBegins(): void;
  /** The connection must not be used any more. */
  setError(): void;
}

/** Reads the heads of a connection's requests, one after another, and begins each request. */
export class H1HeadReader {
  private readonly connection: HeadReaderOwner;
  private readonly exchange: H1Exchange;
  private readonly input: H1Input;
  private readonly head: RequestHead;
  /** When the first byte of a head came, if it did not come in one piece; else 0. */
  private since = 0;

  constructor(connection: HeadReaderOwner, exchange: H1Exchange, input: H1Input, config: AddressConfig) {
    this.connection = connection;
    this.exchange = exchange;
    this.input = input;
    this.head = new RequestHead(config.limits);
    this.head.fields.limitsOf = config.limitsOf;
  }

  /** Prepares for the next head. */
  reset(config: AddressConfig): void {
    const { head } = this;
    if (head.length > LARGE_HEAD) head.release();
    head.reset(config.limits);
    head.fields.limitsOf = config.limitsOf;
  }

  /** Takes the bytes that belong to a head, and begins the request when it is complete; returns where it stopped. */
  read(bytes: Buffer, at: number, end: number): number {
    const { head, exchange, input } = this;
    const code = head.feed(bytes, at, end);
    if (code === NEED_MORE) {
      if (this.since === 0 && head.started) {
        this.since = performance.now();
        this.connection.headBegins();
      }
      return end;
    }
    const request = this.begin();
    const refused = request.badUri ? 400 : request.refused;
    if (code !== DONE || refused !== 0) {
      this.refuse(request, code, refused);
      return end;
    }
    const next = head.end;
    if (head.fields.ignored !== undefined) logIgnored(request, head.fields.ignored);
    // A handler may discard body bytes that came with the head, which moves `input.position`.
    input.position = next;
    if (!exchange.beginBody(request)) {
      startPhases(request);
      return next;
    }
    const early = request.server.earlyBody;
    if (early === undefined) startPhases(request);
    else startWithBody(request, early);
    return input.position;
  }

  /** `code`: the head's result; `refused`: the status its request is refused with even so, or 0. */
  private refuse(request: Request, code: number, refused: number): void {
    const { head, input } = this;
    request.keepalive = false;
    request.bodyEnded = true;
    if (code === DONE) input.position = head.end;
    else request.lingering = true;
    // As in nginx the method counts even if the rest of the line is invalid.
    if (request.version !== 9 && request.requestLine.startsWith("HEAD ")) request.headerOnly = true;
    // An invalid path counts before errors in the fields.
    const early = code === DONE || (request.badUri && head.inHeaders);
    const error = early ? "client sent invalid request" : head.error;
    if (refused !== 500) logError(request, "info", error + this.whileReading(early));
    finalizeRequest(request, early ? refused : code);
  }

  /** The head will not be completed: what was read of it is logged as a request, and not answered. */
  breakOff(status: number, sentence: string): void {
    const { head, connection } = this;
    const action = this.whileReading(false);
    head.giveUp();
    const request = this.begin();
    request.keepalive = false;
    request.bodyEnded = true;
    request.timedOut = status === 408;
    logError(request, "info", sentence + action);
    connection.setError();
    finalizeRequest(request, status);
  }

  /** The request of the head, complete or broken off. */
  begin(): Request {
    const { connection, exchange, since } = this;
    connection.requestBegins();
    const request = exchange.begin(connection.host.config, this.head);
    if (since !== 0) {
      request.startedAt = since;
      this.since = 0;
    }
    return request;
  }

  private whileReading(inLine: boolean): string {
    if (this.head.inHeaders && !inLine) return " while reading client request headers";
    return ` while reading client ${this.connection.pipelined ? "pipelined " : ""}request line`;
  }
}

function logIgnored(request: Request, sentences: readonly string[]): void {
  for (const sentence of sentences) logError(request, "info", `${sentence} while reading client request headers`);
}
