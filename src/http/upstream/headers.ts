import { headText } from "../../wire/head_text.ts";
import { parseHttpTime } from "../../wire/http_time.ts";
import type { FieldSet } from "../../wire/http1/field_set.ts";
import { HeaderList } from "../../wire/http1/header_list.ts";
import { CONNECTION_FIELDS } from "../../wire/http1/hop_by_hop.ts";
import * as known from "../../wire/http1/known_fields.ts";
import type { Request } from "../core/request.ts";
import type { Template } from "../core/script.ts";
import type { AnswerHead } from "../core/upstream.ts";
import type { ResponseRules, UpstreamSettings } from "./settings.ts";

/** Makes the response from a server's answer. Hop-by-hop fields are not passed on; the exchange writes its own. */
export function copyResponse(
  request: Request,
  head: AnswerHead,
  rules: ResponseRules,
  settings: UpstreamSettings,
): void {
  const { response } = request;
  const { hidden, ignored } = settings;
  // An HTTP/0.9 answer may be anything: as in nginx it has no status, and is no success for auth_request.
  response.status = head.version === 9 ? 0 : head.status;
  response.statusLine = head.statusLine;
  response.contentLength = head.contentLength;
  takeAccel(request, head, ignored);
  const out = response.headers;
  const { headers } = head;
  const { count, named } = headers;
  for (let i = 0; i < count; i++) {
    if (hidden.holds(headers, i) || (named !== undefined && headers.isNamed(i))) continue;
    switch (headers.number(i)) {
      case known.CONTENT_TYPE:
        response.contentType = headers.value(i);
        response.upstreamType = response.contentType;
        continue;
      case known.DATE:
        response.date = headers.value(i);
        continue;
      case known.SERVER:
        response.server = headers.value(i);
        continue;
      case known.LAST_MODIFIED:
        response.lastModifiedText = headers.value(i);
        response.lastModified = parseHttpTime(response.lastModifiedText);
        continue;
      case known.ETAG:
        response.etag = headers.value(i);
        continue;
      case known.LOCATION: {
        const rewritten = rules.location?.(request, headers.value(i));
        if (rewritten === undefined) out.copy(headers, i);
        else response.location = rewritten;
        continue;
      }
      case known.REFRESH:
        rewriteField(request, headers, i, rules.refresh);
        continue;
      case known.SET_COOKIE:
        rewriteField(request, headers, i, rules.cookie);
        continue;
      case known.ACCEPT_RANGES:
        if (settings.forceRanges) continue;
        if (request.cache?.cacheable === true || request.cache?.cached === true) response.allowRanges = true;
        else out.copy(headers, i);
        continue;
      case known.UPGRADE:
        // As in nginx Upgrade is passed to the client, except over HTTP/2, which has no such field.
        if (request.version < 2000) out.copy(headers, i);
        continue;
      default:
        out.copy(headers, i);
    }
  }
  if (settings.forceRanges) response.allowRanges = true;
  if (settings.passesServer) response.server ??= NONE;
  if (settings.passesDate) response.date ??= NONE;
  const status = request.cache?.statusField();
  if (status !== undefined) out.add(CACHE_STATUS, "cache-status", status);
}

/** The field is the server's, which has sent none: as in nginx the client gets none either. */
const NONE = headText("");

const CACHE_STATUS = headText("Cache-Status");

function rewriteField(request: Request, fields: HeaderList, at: number, rule: ResponseRules["cookie"]): void {
  const { headers } = request.response;
  if (rule === undefined) headers.copy(fields, at);
  else headers.add(fields.name(at), fields.key(at), headText(rule(request, fields.value(at))));
}

/** What is kept of an answer with X-Accel-Redirect for the response that replaces it. */
export function copyRedirectFields(request: Request, head: AnswerHead, settings: UpstreamSettings): void {
  const { response } = request;
  const { headers } = head;
  for (let i = 0; i < headers.count; i++) {
    switch (headers.number(i)) {
      case known.CONTENT_TYPE:
        response.contentType = headers.value(i);
        response.upstreamType = response.contentType;
        break;
      case known.SET_COOKIE:
      case known.CONTENT_DISPOSITION:
      case known.CACHE_CONTROL:
      case known.EXPIRES:
      case known.ACCEPT_RANGES:
        response.headers.copy(headers, i);
    }
  }
  takeAccel(request, head, settings.ignored);
}

/** X-Accel-Limit-Rate (bytes a second to the client, 0 for no limit) and X-Accel-Charset. */
function takeAccel(request: Request, head: AnswerHead, ignored: ReadonlySet<string>): void {
  const { xAccelLimitRate: rate, xAccelCharset } = head;
  if (rate !== undefined && !ignored.has("x-accel-limit-rate") && /^\d{1,15}$/.test(rate)) {
    request.limitRate = Number(rate);
  }
  if (xAccelCharset !== undefined && !ignored.has("x-accel-charset")) request.response.overrideCharset = xAccelCharset;
}

/** Whether the response is buffered: X-Accel-Buffering decides over proxy_buffering. */
export function bufferingOf(head: AnswerHead, settings: UpstreamSettings): boolean {
  const wanted = head.xAccelBuffering?.toLowerCase();
  if ((wanted !== "yes" && wanted !== "no") || settings.ignored.has("x-accel-buffering")) return settings.buffering;
  return wanted === "yes";
}

/** Passes on the fields of a 103 response (RFC 8297), except those in `hidden`, if `early_hints` says so. */
export function passEarlyHints(
  request: Request,
  fields: HeaderList,
  wanted: readonly Template[],
  hidden: FieldSet,
): void {
  if (request.headerSent || request.version < 1001 || !wanted.some((value) => holds(value.render(request)))) return;
  const passed = new HeaderList();
  for (let i = 0; i < fields.count; i++) {
    if (!hidden.holds(fields, i) && !CONNECTION_FIELDS.holds(fields, i) && !fields.isNamed(i)) passed.copy(fields, i);
  }
  if (passed.count > 0) request.exchange.sendInformational(request, 103, passed);
}

function holds(value: string): boolean {
  return value !== "" && value !== "0";
}
