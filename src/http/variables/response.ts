import { parseSize } from "../../config/values.ts";
import { httpDateOf } from "../../sys/clock.ts";
import { logError } from "../core/log_context.ts";
import type { Request } from "../core/request.ts";
import { once, type VariableSpec } from "../core/script.ts";
import { fieldText } from "./field_text.ts";

/** $body_bytes_sent: what was sent of the response after its head. */
export function bodyBytesSent(request: Request): number {
  return Math.max(0, request.connection.sent - request.sentAtStart - request.headSize);
}

/** Variables of the response. */
export const RESPONSE_VARIABLES: Readonly<Record<string, VariableSpec>> = {
  bytes_sent: { get: (r) => String(r.connection.sent - r.sentAtStart) },
  body_bytes_sent: { get: (r) => String(bodyBytesSent(r)) },
  request_completion: once(completion),
  status: { get: status },
  sent_http_content_type: once(contentType),
  sent_http_content_length: once((r) => (r.response.contentLength < 0 ? undefined : String(r.response.contentLength))),
  sent_http_location: once((r) => r.response.location ?? fieldText(r.response.headers, "location")),
  sent_http_last_modified: once(lastModified),
  sent_http_connection: once((r) => (r.response.status === 101 ? "upgrade" : r.keepalive ? "keep-alive" : "close")),
  sent_http_keep_alive: once(keepAlive),
  sent_http_transfer_encoding: once((r) => (r.chunkedResponse ? "chunked" : undefined)),
  // Not in the header list here; in nginx they are, if a module or an upstream set them.
  sent_http_etag: once((r) => r.response.etag),
  sent_http_server: once((r) => r.response.server || undefined),
  sent_http_date: once((r) => r.response.date || undefined),
  limit_rate: {
    get: (r) => String(Math.max(0, r.limitRate)),
    set: setLimitRate,
    changeable: true,
  },
};

function completion(request: Request): string {
  if (request.postAction) return request.incomplete ? "" : "OK";
  const whole = request.finalized && (request.responseEnded || (request.headerSent && request.headerOnly));
  return whole && !request.aborted && !request.timedOut ? "OK" : "";
}

function status(request: Request): string {
  const code = request.errorStatus || request.response.status || (request.version === 9 || request.postAction ? 9 : 0);
  return String(code).padStart(3, "0");
}

function contentType({ response }: Request): string | undefined {
  const { contentType: type, charset } = response;
  if (type === undefined || type === "") return undefined;
  return charset === undefined ? type : `${type}; charset=${charset}`;
}

function lastModified({ response }: Request): string | undefined {
  if (response.lastModifiedText !== undefined) return response.lastModifiedText;
  return response.lastModified < 0 ? undefined : httpDateOf(response.lastModified * 1000);
}

function keepAlive(request: Request): string | undefined {
  const { keepaliveHeader } = request.location.core;
  return request.keepalive && keepaliveHeader > 0 ? `timeout=${keepaliveHeader}` : undefined;
}

function setLimitRate(request: Request, value: string): void {
  const rate = parseSize(value);
  if (rate === undefined) logError(request, "error", `invalid $limit_rate "${value}"`);
  else request.limitRate = rate;
}

/** `$sent_http_NAME` */
export function sentVariable(name: string): VariableSpec {
  return once((request) => fieldText(request.response.headers, name));
}

/** `$sent_trailer_NAME` */
export function trailerVariable(name: string): VariableSpec {
  return once(({ response: { trailers } }) => (trailers === undefined ? undefined : fieldText(trailers, name)));
}
