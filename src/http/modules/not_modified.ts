import { parseHttpTime } from "../../wire/http_time.ts";
import * as known from "../../wire/http1/known_fields.ts";
import { defineModule } from "../conf/module.ts";
import { OK } from "../core/codes.ts";
import type { Request } from "../core/request.ts";
import { resetResponse } from "../core/response.ts";
import type { Response } from "../core/types.ts";

/** ngx_http_not_modified_filter_module: conditional requests. `if_modified_since` is the core's. */
export const notModified = defineModule({
  name: "http_not_modified_filter",
  directives: {},
  headerFilters: { not_modified: () => filterNotModified },
});

/** The conditions of the request at hand; one pass over its header list finds them all. */
const found: (string | undefined)[] = [undefined, undefined, undefined, undefined];

/** RFC 9110 section 13.2.2 in nginx's order. 412 if a precondition fails. */
function filterNotModified(request: Request): number {
  const { response } = request;
  if (response.status !== 200 || request !== request.main || request.disableNotModified || !readConditions(request))
    return OK;
  const [unmodifiedSince, match, modifiedSince, noneMatch] = found;
  if (unmodifiedSince !== undefined) {
    if (response.lastModified === -1 || parseHttpTime(unmodifiedSince) < response.lastModified) return failed(response);
  }
  if (match !== undefined && !matches(match, response.etag, false)) return failed(response);
  if (modifiedSince === undefined && noneMatch === undefined) return OK;
  if (modifiedSince !== undefined && isModified(request, modifiedSince)) return OK;
  if (noneMatch !== undefined && !matches(noneMatch, response.etag, true)) return OK;

  response.status = 304;
  response.statusLine = undefined;
  response.contentType = undefined;
  response.contentLength = -1;
  response.allowRanges = false;
  response.headers.remove("accept-ranges");
  response.headers.remove("content-encoding");
  return OK;
}

/** A 412 has none of the response's fields (ngx_http_filter_finalize_request). */
function failed(response: Response): number {
  resetResponse(response);
  return 412;
}

function readConditions(request: Request): boolean {
  const { headers } = request;
  let any = false;
  found[0] = found[1] = found[2] = found[3] = undefined;
  for (let i = 0; i < headers.count; i++) {
    const at = placeOf(headers.number(i));
    if (at < 0) continue;
    found[at] ??= headers.value(i);
    any = true;
  }
  return any;
}

/** The index in `found` of a condition's field; -1 for any other field. */
function placeOf(number: number): number {
  switch (number) {
    case known.IF_UNMODIFIED_SINCE:
      return 0;
    case known.IF_MATCH:
      return 1;
    case known.IF_MODIFIED_SINCE:
      return 2;
    case known.IF_NONE_MATCH:
      return 3;
    default:
      return -1;
  }
}

function isModified(request: Request, since: string): boolean {
  const { lastModified } = request.response;
  const { ifModifiedSince: mode } = request.location.core;
  if (lastModified === -1 || mode === "off") return true;
  const time = parseHttpTime(since);
  if (time === lastModified) return false;
  return mode === "exact" || time < lastModified;
}

/** Whether the response's entity tag is in the list; `weak`: by weak comparison. */
function matches(list: string, etag: string | undefined, weak: boolean): boolean {
  if (list === "*") return true;
  if (etag === undefined) return false;
  const tag = weak && etag.length > 2 && etag.startsWith("W/") ? etag.slice(2) : etag;
  let at = 0;
  while (at < list.length) {
    if (weak && list.length - at > 2 && list.startsWith("W/", at)) at += 2;
    if (list.startsWith(tag, at)) {
      const after = skip(list, at + tag.length, false);
      if (after === list.length || list[after] === ",") return true;
      at = after;
    }
    const comma = list.indexOf(",", at);
    if (comma < 0) return false;
    at = skip(list, comma, true);
  }
  return false;
}

function skip(list: string, from: number, commas: boolean): number {
  let at = from;
  while (at < list.length) {
    const c = list[at];
    if (c !== " " && c !== "\t" && !(commas && c === ",")) break;
    at++;
  }
  return at;
}
