import { DONE } from "../core/codes.ts";
import { logError } from "../core/log_context.ts";
import type { Request } from "../core/request.ts";
import { readBody, readUnbuffered } from "../core/request_body.ts";
import type { Handler } from "../core/types.ts";

/** What of a client's body goes to the server. */
export interface BodyWanted {
  /** It is sent: …_pass_request_body, and no body in its place. */
  readonly sent: boolean;
  /** …_request_buffering */
  readonly buffered: boolean;
  /** A body whose length is not known can be passed on as it comes. */
  readonly chunksAllowed: boolean;
}

/** The content handler of modules that pass requests on: reads the body if it is to be buffered, then begins. */
export function passHandler({ sent, buffered, chunksAllowed }: BodyWanted, begin: (request: Request) => void): Handler {
  const unbuffered = !buffered && sent;
  return (request) => {
    request.cache = undefined;
    if (request.discardBody && sent && lostItsBody(request)) {
      logError(request, "error", "the request body is gone, so the request cannot be passed on");
      return request.failure === 0 ? 502 : request.failure;
    }
    if (request.bodyEnded && request.body === undefined && !request.expectContinue) {
      begin(request);
      return DONE;
    }
    if (unbuffered && request.body === undefined && !request.discardBody && (chunksAllowed || !request.chunked)) {
      request.bodyStarted = true;
      readUnbuffered(request, begin);
      return DONE;
    }
    readBody(request, begin);
    return DONE;
  };
}

/**
 * Whether the request has lost its body: it was passed on unbuffered, or refused (413), before an error_page or
 * X-Accel-Redirect led here, or it is a slice's and the body went with the first one. Without the body it would be another
 * request, unless it is a GET for an error page.
 */
function lostItsBody({ body, contentLength, chunked, method, subrequest, errorPage }: Request): boolean {
  if (body !== undefined || (contentLength <= 0 && !chunked)) return false;
  return (method !== "GET" && method !== "HEAD") || (subrequest?.options.clone === true && !errorPage);
}
