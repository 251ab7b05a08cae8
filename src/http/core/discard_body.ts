import { OK } from "./codes.ts";
import type { Request } from "./request.ts";

/**
 * The handler has no use for the request's body (ngx_http_discard_request_body): it is dropped, with 100 Continue where
 * the client waits for it. OK, or the status to answer instead.
 */
export function discardBody(request: Request): number {
  if (request.expectContinue) request.exchange.sendContinue(request);
  if (request.bodyEnded || request.discardBody || request.body !== undefined) return OK;
  return request.exchange.discardBody(request);
}

/** An error is to be answered: the body is dropped without 100 Continue, so that the client need not send it at all. */
export function discardBodyForError(request: Request): void {
  request.expectContinue = false;
  if (discardBody(request) !== OK) request.keepalive = false;
}
