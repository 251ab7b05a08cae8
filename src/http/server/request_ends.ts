import { logFault } from "../../sys/guard.ts";
import { CLIENT_CLOSED_REQUEST } from "../core/codes.ts";
import { finalizeRequest } from "../core/engine.ts";
import { logException } from "../core/log_context.ts";
import type { Request } from "../core/request.ts";

/** What ends a request before its response is complete, whatever protocol its client speaks. */

/** Breaks a response off. */
interface Terminator {
  terminate(request: Request): void;
}

/** Code running for the request threw: it is answered with 500 if nothing has been sent, else broken off. */
export function failRequest(request: Request, error: unknown, exchange: Terminator): void {
  if (request.refused === 0) logException(request, error);
  request.bodySink = undefined;
  request.discardBody = true;
  const { upstream } = request;
  if (request.finalized) {
    exchange.terminate(request);
  } else if (upstream !== undefined && !upstream.ended) {
    // The server's connection may be in any state: it is not reused.
    upstream.keepalive = false;
    upstream.finalize(500);
  } else {
    finalizeRequest(request, 500);
  }
}

/** Answering with 500 threw as well (its error page, a filter): terminates the request. */
export function giveUpRequest(request: Request, exchange: Terminator): void {
  try {
    const { upstream } = request;
    if (upstream !== undefined && !upstream.ended) upstream.abandon();
    if (!request.headerSent) request.response.status = 500;
    exchange.terminate(request);
  } catch (error) {
    logFault(error);
  }
}

/** A request's body, whose client is gone. */
interface AbandonedBody {
  /** Ends it for who reads it. */
  fail(request: Request, status: number): void;
  /** The same for who is yet to read it: unless all of it is there, it will not come. */
  lose(request: Request, status: number): void;
}

/** The client is gone, and the request is not over: that ends it, unless its handler or post_action goes on without a client. `status`: where its body was being read. */
export function abandonRequest(request: Request, body: AbandonedBody | undefined, status: number): void {
  if (request.bodySink !== undefined) {
    body?.fail(request, status);
    return;
  }
  body?.lose(request, status);
  if (request.postAction) return;
  if (request.onAbort !== undefined) request.onAbort(request);
  else finalizeRequest(request, CLIENT_CLOSED_REQUEST);
}
