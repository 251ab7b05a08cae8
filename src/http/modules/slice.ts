import { size } from "../../config/directives.ts";
import { parseNumber } from "../../config/values.ts";
import { HTTP_LOCATION } from "../conf/contexts.ts";
import { defineModule, type HttpModule } from "../conf/module.ts";
import { ERROR, OK } from "../core/codes.ts";
import { finalizeRequest } from "../core/engine.ts";
import { addBodyFilter, BODY_FILTER, LAST, PART_END, passBody } from "../core/filters.ts";
import { logError } from "../core/log_context.ts";
import { ModuleContext } from "../core/module_context.ts";
import type { Request } from "../core/request.ts";
import { subrequest } from "../core/subrequest.ts";
import type { BodyFilter, SubrequestOptions } from "../core/types.ts";
import { OnePart } from "../files/one_part.ts";

/** Bytes `start` up to but not including `end` of something that has `length` bytes. */
interface ContentRange {
  readonly start: number;
  readonly end: number;
  readonly length: number;
}

/** A response that is put together of slices; of its main request and of each slice's subrequest. */
interface Slices {
  /** Where the slice that is asked for next begins. */
  start: number;
  /** How long all of it is, as the first slice says. */
  length: number;
  /** $slice_range */
  range: string;
  etag: string | undefined;
  /** The last slice that was asked for has been answered. */
  active: boolean;
  /** The response is another: nothing is put together. */
  over: boolean;
}

const SLICES = new ModuleContext<Slices>();

interface SliceSettings {
  readonly slice: number;
}

/** ngx_http_slice_filter_module: asks a server for large files in slices of the same size, which can be cached. */
export const slice: HttpModule<SliceSettings> = defineModule({
  name: "http_slice_filter",
  configure: "--with-http_slice_module",
  directives: {
    slice: size({
      in: HTTP_LOCATION,
      default: 0,
      doc: "Gets a response from its server in slices of that size, by a subrequest each; 0 for no slices. Needs `proxy_set_header Range $slice_range` (or a parameter of that value), and servers that answer ranges.",
    }),
  },
  variables: { slice_range: { get: sliceRange } },
  headerFilters: { slice: (settings) => (settings.slice === 0 ? undefined : putTogether) },
});

function rangeText(start: number, bytes: number): string {
  return `bytes=${start}-${start + bytes - 1}`;
}

/** $slice_range: asking for it is what makes a request one for slices. */
function sliceRange(request: Request): string | undefined {
  const known = SLICES.get(request);
  if (known !== undefined) return known.over ? undefined : known.range;
  const bytes = slice.of(request.location).slice;
  if (request !== request.main || request.response.status !== 0 || bytes === 0) return undefined;
  const start = bytes * Math.floor(wantedStart(request) / bytes);
  const range = rangeText(start, bytes);
  SLICES.set(request, { start, length: 0, range, etag: undefined, active: false, over: false });
  return range;
}

/** Where the range begins that the client asks for. */
function wantedStart({ headers }: Request): number {
  if (headers.has("if-range")) return 0;
  const digits = /^bytes= *(\d+)[^,]*$/i.exec(headers.get("range") ?? "")?.[1];
  return digits === undefined ? 0 : (parseNumber(digits) ?? 0);
}

/** The header filter. */
function putTogether(request: Request): number {
  const slices = SLICES.get(request);
  if (slices === undefined || slices.over) return OK;
  const { response, main } = request;
  if (response.status !== 206) {
    if (request === main) {
      slices.over = true;
      return OK;
    }
    return refused(request, `unexpected status code ${response.status} in slice response`);
  }
  if (slices.etag !== undefined && response.etag !== slices.etag) {
    return refused(request, "etag mismatch in slice response");
  }
  slices.etag = response.etag;
  const range = contentRange(response.headers.get("content-range"));
  if (range === undefined) return refused(request, "invalid range in slice response");
  const { start, end, length } = range;
  if (length === -1) return refused(request, "no complete length in slice response");
  const expected = Math.min(start + slice.of(request.location).slice, length);
  if (start !== slices.start || end !== expected) {
    const wanted = `${slices.start}-${expected}`;
    return refused(request, `unexpected range in slice response: ${start}-${end}, expected: ${wanted}`);
  }
  slices.start = end;
  slices.active = true;
  if (request === main) {
    slices.length = length;
    response.status = 200;
    response.statusLine = undefined;
    response.contentLength = length;
    response.contentOffset = start;
    response.headers.remove("content-range");
    response.headers.remove("accept-ranges");
    response.allowRanges = true;
    // Out of a cache, the first slice is a file, but not all of the body.
    request.seekable = false;
    addBodyFilter(request, new FollowingSlices(slices, end - start));
    return OK;
  }
  // Also what a server sends beyond its range or the length first said: behind the end, a client takes it for a response.
  const part = partOf(main) ?? { start: 0, end: slices.length };
  addBodyFilter(request, new OnePart(part.start, Math.min(part.end, end), start));
  return OK;
}

function refused(request: Request, why: string): number {
  const doing = request.upstream === undefined ? "" : " while reading response header from upstream";
  logError(request, "error", why + doing);
  return ERROR;
}

const CONTENT_RANGE = /^bytes +(\d+) *- *(\d+) *\/ *(\d+|\*) *$/;

/** ngx_http_slice_parse_content_range; `length` is -1 where it is not known. */
function contentRange(field: string | undefined): ContentRange | undefined {
  const found = CONTENT_RANGE.exec(field ?? "");
  if (found === null) return undefined;
  const [start, last, length] = found.slice(1).map((digits) => (digits === "*" ? -1 : parseNumber(digits)));
  if (start === undefined || last === undefined || length === undefined) return undefined;
  return { start, end: last + 1, length };
}

/** What the client gets where that is not all; the range filter has decided it by now. */
function partOf({ response }: Request): ContentRange | undefined {
  return response.status === 206 ? contentRange(response.headers.get("content-range")) : undefined;
}

/** In `Request.buffered`: this filter's bit, and those of all others. */
const BIT = 1 << BODY_FILTER.slice;
const OTHERS = ~BIT;

const CLONE: SubrequestOptions = { clone: true };

/** Lets the slices that follow the first come behind it. */
class FollowingSlices implements BodyFilter {
  readonly place = BODY_FILTER.slice;
  private readonly slices: Slices;
  /** How many bytes of the first slice have not been passed on. More than its range has are left out. */
  private left: number;
  /** Where the client's part ends; -1 before the first bytes. */
  private end = -1;
  private firstEnded = false;
  private asked: Request | undefined = undefined;

  constructor(slices: Slices, left: number) {
    this.slices = slices;
    this.left = left;
  }

  push(request: Request, bytes: Uint8Array | string, flags: number, next: number): boolean {
    if (this.end === -1) this.begin(request);
    const fitting = bytes.length <= this.left ? bytes : firstBytes(bytes, this.left);
    this.left -= fitting.length;
    if ((flags & LAST) === 0) return passBody(request, next, fitting, flags);
    this.firstEnded = true;
    request.buffered |= BIT;
    passBody(request, next, fitting, (flags & ~LAST) | PART_END);
    return this.drain(request, next);
  }

  /** Goes on where the last slice is over and the client has taken it. True when nothing follows. */
  drain(request: Request, next: number): boolean {
    const { slices } = this;
    if (!this.firstEnded || slices.over) return true;
    if (this.asked?.finalized === false || (request.buffered & OTHERS) !== 0) return false;
    if (!slices.active) {
      logError(request, "error", "missing slice response");
      finalizeRequest(request, ERROR);
      return false;
    }
    if (slices.start >= this.end) {
      slices.over = true;
      request.buffered &= ~BIT;
      return passBody(request, next, "", LAST);
    }
    this.ask(request);
    return false;
  }

  private begin(request: Request): void {
    const { slices } = this;
    const part = partOf(request);
    this.end = part?.end ?? slices.length;
    const bytes = slice.of(request.location).slice;
    if (part !== undefined && slices.start + bytes <= part.start) slices.start = bytes * Math.floor(part.start / bytes);
  }

  private ask(request: Request): void {
    const { slices } = this;
    const asked = subrequest(request, request.uri, request.args, CLONE);
    if (asked === undefined) {
      finalizeRequest(request, ERROR);
      return;
    }
    this.asked = asked;
    SLICES.set(asked, slices);
    slices.range = rangeText(slices.start, slice.of(request.location).slice);
    slices.active = false;
  }
}

function firstBytes(bytes: Uint8Array | string, count: number): Uint8Array | string {
  return typeof bytes === "string" ? bytes.slice(0, count) : bytes.subarray(0, count);
}
