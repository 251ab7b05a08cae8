import type { Request } from "./request.ts";
import type { BodyFilter } from "./types.ts";

/**
 * The filters between the handler that makes a response and the exchange that sends it. The order is nginx's
 * (auto/modules, "the filter order is important"): nginx lists filters from the client's end, because each is put
 * before those registered so far; here they stand in the order in which a response passes them. Behind both tables
 * comes the exchange, in place of nginx's v3, v2, chunked, header and write filters. Filters that do not exist yet have
 * their places reserved.
 */

/** Header filters, by nginx's names without `ngx_http_` and `_filter_module`. */
export const HEADER_FILTERS = [
  "slice",
  "not_modified",
  "session_sticky",
  "headers",
  "userid",
  "gunzip",
  "addition",
  "sub",
  "image",
  "xslt",
  "charset",
  "ssi",
  "gzip",
  "range_header",
] as const;

/** Those that do the same with a response for all requests without conditions and Range. */
export const CONDITIONAL_FILTERS: ReadonlySet<HeaderFilterName> = new Set(["not_modified", "range_header"]);

export type HeaderFilterName = (typeof HEADER_FILTERS)[number];

/** Body filters, by the same names, and their places. Ranges come first: bytes outside of them need not be filtered. */
export const BODY_FILTER = {
  slice: 0,
  range_body: 1,
  /** Where nginx reads file buffers; here the handler reads files itself. */
  copy: 2,
  /** add_trailer */
  headers: 3,
  gunzip: 4,
  addition: 5,
  sub: 6,
  image: 7,
  xslt: 8,
  charset: 9,
  ssi: 10,
  postpone: 11,
  gzip: 12,
} as const;

/** Flag of body bytes: the response ends with them. */
export const LAST = 1;
/** Flag of body bytes: these and all before them are to be sent at once. */
export const FLUSH = 2;
/**
 * Flag of body bytes: what comes behind them is another's, and no filter may take it for their continuation (nginx's
 * last_in_chain).
 */
export const PART_END = 4;

/** Inserts a filter at its place for this response's body. Called by header filters. */
export function addBodyFilter(request: Request, filter: BodyFilter): void {
  const filters = request.bodyFilters;
  if (filters.length === 0) {
    request.bodyFilters = [filter];
    return;
  }
  let at = filters.length;
  while (at > 0 && filters[at - 1].place > filter.place) at--;
  filters.splice(at, 0, filter);
}

/**
 * Passes body bytes (lent for the call) to the filter at index `next`, or to the exchange behind the last one; a
 * response's source passes 0. The bytes are always taken. True: more may follow. False: the client takes no more for
 * now, or a filter holds bytes back until it does; the source waits for `request.onWritable`.
 */
export function passBody(request: Request, next: number, bytes: Uint8Array | string, flags: number): boolean {
  const filters = request.bodyFilters;
  if (next < filters.length) {
    // With proxy_ignore_client_abort bytes still arrive after the client has gone, but nobody calls `drain`: no filter
    // may hold them.
    if (request.connection.closed) return true;
    return filters[next].push(request, bytes, flags, next + 1);
  }
  if ((flags & LAST) !== 0) request.responseEnded = true;
  return request.exchange.sendBody(request, bytes, flags);
}

/** What `passBody` would return now to the response's source, or to the filter at a place. */
export function takesMore(request: Request, place = -1): boolean {
  return !request.exchange.blocked && (request.buffered >> (place + 1) === 0 || request.connection.closed);
}

/**
 * The exchange takes bytes again. Filters pass on what they hold, the one next to the exchange first; when none holds
 * any more, the source goes on.
 */
export function bodyWritable(request: Request): void {
  const filters = request.bodyFilters;
  for (let i = filters.length - 1; i >= 0; i--) {
    const filter = filters[i];
    if (filter.drain !== undefined && !filter.drain(request, i + 1)) return;
  }
  request.onWritable?.(request);
}

/** Ends a response whose last bytes were passed without LAST. */
export function endBody(request: Request): void {
  if (!request.responseEnded) passBody(request, 0, "", LAST);
}
