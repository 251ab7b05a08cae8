import { afterEvent } from "../../sys/guard.ts";
import { RequestBody } from "./body.ts";
import { finalizeRequest } from "./engine.ts";
import type { Request } from "./request.ts";
import type { BodySink } from "./types.ts";

/**
 * Starts a request whose body is passed on as it comes (proxy_request_buffering off). What is at hand at once is taken
 * first: a body that came whole with its head is sent like a buffered one, and may be sent again to the next server.
 * `then` finds it in `request.body`, or else its beginning in `request.preread`.
 */
export function readUnbuffered(request: Request, then: (request: Request) => void): void {
  const reader = new UnbufferedReader(request, then);
  request.bodySink = reader;
  request.exchange.startBody(request);
  // The rest of what was received with the head is delivered once the handler has returned.
  afterEvent(settle, reader);
}

function settle(reader: UnbufferedReader): void {
  reader.settled();
}

class UnbufferedReader implements BodySink {
  private readonly request: Request;
  private readonly begin: (request: Request) => void;
  private readonly body = new RequestBody();
  private over = false;

  constructor(request: Request, begin: (request: Request) => void) {
    this.request = request;
    this.begin = begin;
  }

  onBody(bytes: Buffer): void {
    const { body } = this;
    body.data.push(bytes);
    body.length += bytes.length;
    if (body.length > this.request.location.core.clientBodyBufferSize) this.settled();
  }

  onBodyEnd(): void {
    this.over = true;
    const { request } = this;
    request.body = this.body;
    this.begin(request);
  }

  onBodyError(status: number): void {
    this.over = true;
    this.body.release();
    finalizeRequest(this.request, status);
  }

  onFault(error: unknown): void {
    this.request.onFault(error);
  }

  /** Nothing more is at hand: the rest waits until a server takes it. */
  settled(): void {
    const { request } = this;
    if (this.over || request.finalized) return;
    this.over = true;
    request.bodySink = undefined;
    request.preread = this.body;
    this.begin(request);
  }
}
