import { headText } from "../../wire/head_text.ts";
import { parseHttpTime } from "../../wire/http_time.ts";
import type { Request } from "../core/request.ts";
import type { AnswerHead } from "./protocol.ts";
import type { UpstreamSettings } from "./settings.ts";

/** How a location rewrites fields of responses; undefined where it has no rule. */
export interface ResponseRules {
  readonly location: ((request: Request, value: string) => string | undefined) | undefined;
  readonly refresh: ((request: Request, value: string) => string) | undefined;
  readonly cookie: ((request: Request, value: string) => string) | undefined;
}

/** Fields nginx hides unless proxy_pass_header names them. */
export const HIDDEN = [
  "Date",
  "Server",
  "X-Pad",
  "X-Accel-Expires",
  "X-Accel-Redirect",
  "X-Accel-Limit-Rate",
  "X-Accel-Buffering",
  "X-Accel-Charset",
];

/** Makes the response of a server's answer: what is about the connection stays behind, the rest is written anew. */
export function copyResponse(
  request: Request,
  head: AnswerHead,
  rules: ResponseRules,
  settings: UpstreamSettings,
): void {
  const { response } = request;
  const { hidden, ignored } = settings;
  response.status = head.status;
  response.statusLine = head.statusLine;
  response.contentLength = head.contentLength;
  if (head.xAccelLimitRate !== undefined) limitRate(request, head.xAccelLimitRate, ignored);
  if (head.xAccelCharset !== undefined && !ignored.has("x-accel-charset"))
    response.overrideCharset = head.xAccelCharset;
  const out = response.headers;
  const { headers } = head;
  const { count, keys, names, values, named } = headers;
  for (let i = 0; i < count; i++) {
    const key = keys[i];
    if (hidden.has(key) || named?.has(key)) continue;
    const value = values[i];
    switch (key) {
      case "content-type":
        response.contentType = value;
        response.upstreamType = value;
        continue;
      case "date":
        response.date = value;
        continue;
      case "server":
        response.server = value;
        continue;
      case "last-modified":
        response.lastModifiedText = value;
        response.lastModified = parseHttpTime(value);
        continue;
      case "etag":
        response.etag = value;
        continue;
      case "location": {
        const rewritten = rules.location?.(request, value);
        if (rewritten === undefined) out.add(names[i], key, value);
        else response.location = rewritten;
        continue;
      }
      case "refresh":
        out.add(names[i], key, rules.refresh === undefined ? value : headText(rules.refresh(request, value)));
        continue;
      case "set-cookie":
        out.add(names[i], key, rules.cookie === undefined ? value : headText(rules.cookie(request, value)));
        continue;
      case "accept-ranges":
        if (!settings.forceRanges) out.add(names[i], key, value);
        continue;
      case "upgrade":
        // As nginx: what a server offers or demands is the client's business too, but HTTP/2 has no such field.
        if (request.version < 2000) out.add(names[i], key, value);
        continue;
      default:
        out.add(names[i], key, value);
    }
  }
  if (settings.forceRanges) response.allowRanges = true;
}

/** What of an answer with X-Accel-Redirect is kept for the response that replaces it. */
export function copyRedirectFields(request: Request, head: AnswerHead, settings: UpstreamSettings): void {
  const { response } = request;
  const { count, keys, names, values } = head.headers;
  for (let i = 0; i < count; i++) {
    switch (keys[i]) {
      case "content-type":
        response.contentType = values[i];
        response.upstreamType = values[i];
        break;
      case "set-cookie":
      case "content-disposition":
      case "cache-control":
      case "expires":
      case "accept-ranges":
        response.headers.add(names[i], keys[i], values[i]);
    }
  }
  if (head.xAccelLimitRate !== undefined) limitRate(request, head.xAccelLimitRate, settings.ignored);
  if (head.xAccelCharset !== undefined && !settings.ignored.has("x-accel-charset")) {
    response.overrideCharset = head.xAccelCharset;
  }
}

/** X-Accel-Limit-Rate: bytes a second to the client; 0 for no limit. */
function limitRate(request: Request, value: string, ignored: ReadonlySet<string>): void {
  if (!ignored.has("x-accel-limit-rate") && /^\d{1,15}$/.test(value)) request.limitRate = Number(value);
}

/** Whether the response is buffered: X-Accel-Buffering decides over proxy_buffering. */
export function bufferingOf(head: AnswerHead, settings: UpstreamSettings): boolean {
  const wanted = head.xAccelBuffering?.toLowerCase();
  if ((wanted !== "yes" && wanted !== "no") || settings.ignored.has("x-accel-buffering")) return settings.buffering;
  return wanted === "yes";
}
