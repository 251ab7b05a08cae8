import type { HeadText } from "../../wire/head_text.ts";
import { DONE, ERROR, OK } from "./codes.ts";
import { finalizeRequest } from "./engine.ts";
import { NO_FILTERS, type Request } from "./request.ts";

/**
 * Runs the header filters and gives the head to the codec. ERROR when it was sent before or a filter gave up; DONE when
 * a filter had something else answered (412, 416): the request is then out of the caller's hands.
 */
export function sendHeader(request: Request): number {
  if (request.headerSent) return ERROR;
  const { response } = request;
  if (request.errorStatus !== 0) {
    response.status = request.errorStatus;
    response.statusLine = undefined;
  }
  if (request.method === "HEAD") request.headerOnly = true;
  for (const filter of request.location.headerFilters) {
    const code = filter(request);
    if (code === OK) continue;
    if (code < 300) return code;
    answerInstead(request, code);
    return DONE;
  }
  request.headerSent = true;
  request.exchange.sendHead(request);
  return OK;
}

/** Answers a status a filter came up with. What the response has got of fields so far stays, as in nginx. */
function answerInstead(request: Request, status: number): void {
  request.bodyFilters = NO_FILTERS;
  request.seekable = false;
  request.ranges = undefined;
  request.response.trailers = undefined;
  finalizeRequest(request, status);
}

/** Passes body bytes (lent for the call) to the filter at `next`, or to the codec behind the last one. */
export function passBody(request: Request, next: number, bytes: Uint8Array | string, last: boolean): void {
  const filters = request.bodyFilters;
  if (next < filters.length) {
    filters[next].push(request, bytes, last, next + 1);
    return;
  }
  if (last) request.responseEnded = true;
  request.exchange.sendBody(request, bytes, last);
}

/** Ends a response whose last bytes came without the mark. */
export function endBody(request: Request): void {
  if (!request.responseEnded) passBody(request, 0, "", true);
}

/** A whole small answer: status, type and body (a byte string). What a content handler returns. */
export function sendText(request: Request, status: number, contentType: HeadText | undefined, body: string): number {
  const { response } = request;
  response.status = status;
  response.contentLength = body.length;
  if (contentType !== undefined) response.contentType = contentType;
  const code = sendHeader(request);
  if (code !== OK || request.headerOnly) return code;
  passBody(request, 0, body, true);
  return OK;
}
