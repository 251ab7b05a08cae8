import { headText } from "../../wire/head_text.ts";
import { parseHttpTime } from "../../wire/http_time.ts";
import { defineModule } from "../conf/module.ts";
import { OK } from "../core/codes.ts";
import { addBodyFilter } from "../core/filters.ts";
import type { Request } from "../core/request.ts";
import { OnePart } from "../files/one_part.ts";
import { multipartPlan, parseRanges } from "../files/ranges.ts";

const ACCEPT_RANGES = headText("Accept-Ranges");
const BYTES = headText("bytes");

/** ngx_http_range_filter_module: answers `Range` with 206 or 416. `max_ranges` is the core's. */
export const range = defineModule({
  name: "http_range_filter",
  directives: {},
  headerFilters: {
    range_header: (_settings, { core }) => (core.maxRanges === 0 ? undefined : filterRanges),
  },
});

function filterRanges(request: Request): number {
  const { response } = request;
  if (request !== request.main) return OK;
  if (!response.allowRanges || response.status !== 200 || response.contentLength < 0 || request.version < 1000)
    return OK;
  const wanted = request.headers.get("range");
  if (wanted !== undefined && wanted.length >= 7 && isBytes(wanted) && ifRange(request)) {
    const code = answerRange(request, wanted.slice("bytes=".length));
    if (code !== undefined) return code;
  }
  response.headers.add(ACCEPT_RANGES, "accept-ranges", BYTES);
  return OK;
}

function isBytes(text: string): boolean {
  return text.startsWith("bytes=") || text.slice(0, 6).toLowerCase() === "bytes=";
}

/** `If-Range`: the response's entity tag, or exactly its date. */
function ifRange(request: Request): boolean {
  const condition = request.headers.get("if-range");
  if (condition === undefined) return true;
  const { response } = request;
  if (condition.length >= 2 && condition.endsWith('"')) return condition === response.etag;
  return response.lastModified !== -1 && parseHttpTime(condition) === response.lastModified;
}

/** Undefined if the whole body is sent. */
function answerRange(request: Request, text: string): number | undefined {
  const { response } = request;
  const length = response.contentLength;
  const most = request.location.core.maxRanges;
  // A body that is not seekable is sent in one part only: nginx's single_range.
  const max = request.seekable ? most : 1;
  const ranges = parseRanges(text, length, max, max !== Number.MAX_SAFE_INTEGER);
  if (ranges === "whole") return undefined;
  response.headers.remove("content-range");
  if (ranges === "unsatisfiable") {
    response.headers.append("Content-Range", `bytes */${length}`);
    return 416;
  }
  response.status = 206;
  response.statusLine = undefined;
  if (ranges.length === 1) {
    const [{ start, end }] = ranges;
    response.headers.append("Content-Range", `bytes ${start}-${end - 1}/${length}`);
    response.contentLength = end - start;
    if (request.seekable) request.ranges = { parts: [{ head: "", start, end }], tail: "" };
    else addBodyFilter(request, new OnePart(start, end, response.contentOffset));
    return OK;
  }
  const { contentType, charset } = response;
  const type = contentType !== undefined && charset !== undefined ? `${contentType}; charset=${charset}` : contentType;
  const made = multipartPlan(ranges, length, type);
  response.contentType = headText(`multipart/byteranges; boundary=${made.boundary}`);
  response.charset = undefined;
  response.contentLength = made.length;
  request.ranges = made.plan;
  return OK;
}
