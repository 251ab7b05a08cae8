import { CLOSE } from "./codes.ts";
import { internalRedirect, namedRedirect } from "./engine.ts";
import { NO_FILTERS, Request } from "./request.ts";

/**
 * `post_action` (ngx_http_post_action): when its response has been sent, or was broken off, a request is redirected to another
 * location, which answers nobody. In nginx it stays the same request; here another object goes on with all that it has, so
 * that what a handler of the first one still has under way comes to nothing, as after the end of any request.
 */

/**
 * The request that goes on with the post_action of one that is over; `broken`: its response was broken off. Undefined
 * where there is none. A location of a post_action may have one as well, as if it has inherited it: as in nginx that goes on
 * until it is a redirection cycle.
 */
export function postActionOf(request: Request, broken: boolean): Request | undefined {
  const { location, subrequests, upstream } = request;
  if (location.core.postAction === undefined || (request.postAction && request.uriChanges === 0)) return undefined;
  // As in nginx there is none after 444, nor, unlike nginx, where subrequests are broken off.
  if ((broken && request.response.status === CLOSE) || (subrequests !== undefined && subrequests.count > 0)) {
    return undefined;
  }
  if (upstream?.ended === false) upstream.abandon();
  upstream?.keepHead();
  const { connection, exchange, server, headers, response } = request;
  const next = Object.assign(new Request(connection, exchange, server, headers, response, 0), request);
  // The log line is written by the other one, which also releases what this one has.
  request.logged = true;
  next.main = next;
  next.subrequests = undefined;
  next.postAction = true;
  next.finalized = false;
  next.headerOnly = true;
  next.expectContinue = false;
  next.bodyFilters = NO_FILTERS;
  next.buffered = 0;
  next.bodySink = undefined;
  next.onWritable = undefined;
  next.onAbort = undefined;
  if (broken) {
    next.incomplete = true;
    next.keepalive = false;
    if (!next.headerSent) response.status = 0;
    // No more of the body will be read.
    next.discardBody = next.body === undefined;
    next.bodyEnded = true;
  }
  next.headerSent = true;
  return next;
}

/** Starts it, when the exchange carries it. */
export function runPostAction(request: Request): void {
  const to = request.location.core.postAction ?? "";
  if (to.startsWith("/")) internalRedirect(request, to, "");
  else namedRedirect(request, to);
}
