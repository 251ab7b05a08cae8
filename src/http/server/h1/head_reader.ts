import { now } from "../../../sys/clock.ts";
import { DONE, NEED_MORE, type RequestHead } from "../../../wire/http1/request_head.ts";
import { finalizeRequest } from "../../core/engine.ts";
import type { Server } from "../../core/location.ts";
import { logError } from "../../core/log_context.ts";
import type { Request } from "../../core/request.ts";
import type { TlsRefusal } from "../client_certificate.ts";
import { logIgnored, MISDIRECTED, startRequest, tlsRefusal } from "../start_request.ts";
import type { ConnectionHost } from "../types.ts";
import type { H1Exchange } from "./exchange.ts";
import type { H1Input } from "./input.ts";
import { giveRequestMemoryBack, type RequestMemory, takeRequestMemory } from "./request_memory.ts";

/** The connection whose heads are read. */
export interface HeadReaderOwner {
  readonly host: ConnectionHost;
  readonly pipelined: boolean;
  readonly defaultServer: Server;
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
  /** Of the request that is being read or processed; undefined while the connection is idle. */
  private memory: RequestMemory | undefined = undefined;
  /** When the first byte of a head came, if it did not come in one piece; else 0. */
  private since = 0;

  constructor(connection: HeadReaderOwner, exchange: H1Exchange, input: H1Input) {
    this.connection = connection;
    this.exchange = exchange;
    this.input = input;
  }

  private take(): RequestMemory {
    this.memory ??= takeRequestMemory(this.connection.defaultServer.limits, this.connection.host.config);
    return this.memory;
  }

  /** The request was freed, or will not come. `used`: its subrequests go on and share its fields. */
  free(used: boolean): void {
    const { memory } = this;
    this.memory = undefined;
    if (memory !== undefined && !used) giveRequestMemoryBack(memory);
  }

  /** Takes the bytes that belong to a head, and begins the request when it is complete; returns where it stopped. */
  read(bytes: Buffer, at: number, end: number): number {
    const { exchange, input } = this;
    const { head } = this.take();
    const code = head.feed(bytes, at, end);
    if (code === NEED_MORE) {
      if (this.since === 0 && head.started) {
        this.since = Math.floor(now());
        this.connection.headBegins();
      }
      return end;
    }
    const request = this.begin();
    const refused = request.badUri ? 400 : request.refused;
    if (code !== DONE || refused !== 0) {
      this.refuse(request, head, code, refused);
      return end;
    }
    const refusal = tlsRefusal(request);
    if (refusal !== undefined) {
      this.refuseSecure(request, head, refusal);
      return end;
    }
    const next = head.end;
    if (head.fields.ignored !== undefined) logIgnored(request, head.fields.ignored);
    // A handler may discard body bytes that came with the head, which moves `input.position`.
    input.position = next;
    const hasBody = exchange.beginBody(request);
    startRequest(request);
    return hasBody ? input.position : next;
  }

  /** `code`: the head's result; `refused`: the status its request is refused with even so, or 0. */
  private refuse(request: Request, head: RequestHead, code: number, refused: number): void {
    giveUpBody(request);
    if (code === DONE) this.input.position = head.end;
    else request.lingering = true;
    // As in nginx the method counts even if the rest of the line is invalid.
    if (request.version !== 9 && request.requestLine.startsWith("HEAD ")) request.headerOnly = true;
    // An invalid path counts before errors in the fields.
    const early = code === DONE || (request.badUri && head.inHeaders);
    const error = early ? (refused === 421 ? MISDIRECTED : "client sent invalid request") : head.error;
    if (refused !== 500)
      logError(request, "info", error + this.whileReading(head, early && (refused !== 421 || head.scheme !== "")));
    finalizeRequest(request, early ? refused : code);
  }

  private refuseSecure(request: Request, head: RequestHead, { status, sentence }: TlsRefusal): void {
    giveUpBody(request);
    this.input.position = head.end;
    logError(request, "info", sentence + this.whileReading(head, false));
    finalizeRequest(request, status);
  }

  /** The head will not be completed: what was read of it is logged as a request, and not answered. */
  breakOff(status: number, sentence: string): void {
    const { connection } = this;
    const { head } = this.take();
    const action = this.whileReading(head, false);
    head.giveUp();
    const request = this.begin();
    giveUpBody(request);
    request.timedOut = status === 408;
    logError(request, "info", sentence + action);
    connection.setError();
    finalizeRequest(request, status);
  }

  /** The request of the head, complete or broken off. */
  begin(): Request {
    const { connection, exchange, since } = this;
    connection.requestBegins();
    const request = exchange.begin(connection.host.config, this.take());
    if (since !== 0) {
      request.startedAt = since;
      this.since = 0;
    }
    return request;
  }

  private whileReading(head: RequestHead, inLine: boolean): string {
    if (head.inHeaders && !inLine) return " while reading client request headers";
    return ` while reading client ${this.connection.pipelined ? "pipelined " : ""}request line`;
  }
}

/** Nobody reads the body of a request that is refused: its error page is asked for without one. */
function giveUpBody(request: Request): void {
  request.keepalive = false;
  request.bodyEnded = true;
  request.discardBody = true;
}
