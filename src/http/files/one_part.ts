import { BODY_FILTER, LAST, passBody, takesMore } from "../core/filters.ts";
import type { Request } from "../core/request.ts";
import type { BodyFilter } from "../core/types.ts";

/** Passes one range of a body that is not seekable (ngx_http_range_singlepart_body). */
export class OnePart implements BodyFilter {
  readonly place = BODY_FILTER.range_body;
  private readonly start: number;
  private readonly end: number;
  private at: number;
  private done = false;

  /** `at`: where the body begins. */
  constructor(start: number, end: number, at: number) {
    this.start = start;
    this.end = end;
    this.at = at;
  }

  push(request: Request, bytes: Uint8Array | string, flags: number, next: number): boolean {
    if (this.done) return takesMore(request, this.place);
    const from = Math.max(0, this.start - this.at);
    const to = Math.min(bytes.length, this.end - this.at);
    this.at += bytes.length;
    this.done = (flags & LAST) !== 0 || this.at >= this.end;
    const marks = this.done ? flags | LAST : flags;
    if (from < to) {
      return passBody(
        request,
        next,
        typeof bytes === "string" ? bytes.slice(from, to) : bytes.subarray(from, to),
        marks,
      );
    }
    return marks === 0 ? takesMore(request, this.place) : passBody(request, next, "", marks);
  }
}
