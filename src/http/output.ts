import { ERROR, OK } from "./codes.ts";
import type { Request } from "./request.ts";
import { answerStatus } from "./special_response.ts";

/** Runs the header filters and gives the head to the codec. ERROR when it was sent before or a filter gave up. */
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
    // A filter answers something else (412, 416): without filters' body parts of the first answer.
    request.bodyFilters = [];
    response.headers.clear();
    response.location = undefined;
    request.errorPage = true;
    answerStatus(request, code);
    return ERROR;
  }
  request.headerSent = true;
  request.connection.sendHead(request);
  return OK;
}

/** Passes body bytes (lent for the call) to the filter at `next`, or to the codec behind the last one. */
export function passBody(request: Request, next: number, bytes: Uint8Array | string, last: boolean): void {
  const filters = request.bodyFilters;
  if (next < filters.length) {
    filters[next].push(request, bytes, last, next + 1);
    return;
  }
  if (last) request.responseEnded = true;
  request.connection.sendBody(request, bytes, last);
}

/** Ends a response whose last bytes came without the mark. */
export function endBody(request: Request): void {
  if (!request.responseEnded) passBody(request, 0, "", true);
}

/** A whole small answer: status, type and body (a byte string). What a content handler returns. */
export function sendText(request: Request, status: number, contentType: string | undefined, body: string): number {
  const { response } = request;
  response.status = status;
  response.contentLength = body.length;
  if (contentType !== undefined) response.contentType = contentType;
  const code = sendHeader(request);
  if (code !== OK || request.headerOnly) return code;
  passBody(request, 0, body, true);
  return OK;
}
