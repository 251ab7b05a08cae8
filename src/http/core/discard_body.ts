import { OK } from "./codes.ts";
import type { Request } from "./request.ts";

/**
 * Drops a body that the handler does not need (ngx_http_discard_request_body), with 100 Continue if the client waits
 * for it. OK, or the status to answer instead.
 */
export function discardBody(request: Request): number {
  if (request.expectContinue) request.exchange.sendContinue(request);
  if (request.bodyEnded || request.discardBody || request.body !== undefined) return OK;
  return request.exchange.discardBody(request);
}

/** The same before an error is answered, without 100 Continue: the client need not send the body at all. */
export function discardBodyForError(request: Request): void {
  request.expectContinue = false;
  if (discardBody(request) !== OK) request.keepalive = false;
}
