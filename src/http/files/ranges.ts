/** Byte ranges of RFC 9110 section 14, read as ngx_http_range_filter_module reads them. */

/** One part of the body: bytes `start` up to but not including `end`. */
export interface Range {
  readonly start: number;
  readonly end: number;
}

/** A part with what precedes it: nothing, or a multipart boundary and the part's fields. */
export interface RangePart extends Range {
  readonly head: string;
}

/** What the body of a 206 consists of. */
export interface RangePlan {
  readonly parts: readonly RangePart[];
  /** Sent after the last part. */
  readonly tail: string;
}

/** Longer numbers do not fit off_t. */
const MAX_DIGITS = /^0*[0-9]{1,18}$/;
const ONE = / *([0-9]*)( *)(-?) *([0-9]*) *(,|$)/y;

/**
 * The ranges of a `Range` field's value after `bytes=`. "whole": the field is ignored and the whole body sent;
 * "unsatisfiable": 416. There may be at most `max` ranges; unless `limited`, their total size with overhead is bounded
 * too.
 */
export function parseRanges(
  text: string,
  length: number,
  max: number,
  limited: boolean,
): readonly Range[] | "whole" | "unsatisfiable" {
  const ranges: Range[] = [];
  let size = 0;
  ONE.lastIndex = 0;
  for (;;) {
    const match = ONE.exec(text);
    if (match === null) return "unsatisfiable";
    const range = oneRange(match[1], match[3], match[4], length);
    if (range === undefined) return "unsatisfiable";
    if (range.start < range.end) {
      ranges.push(range);
      size += range.end - range.start;
      if (ranges.length > max) return "whole";
    } else if (range.start === 0) {
      return "whole";
    }
    if (match[5] === "") break;
  }
  if (ranges.length === 0) return "unsatisfiable";
  if (ranges.length === 1) return ranges;
  if (size > length) return "whole";
  // Many small ranges cost more than the whole body.
  if (!limited && size + ranges.length * 256 > length + 4096) return "whole";
  return ranges;
}

function oneRange(first: string, dash: string, last: string, length: number): Range | undefined {
  if (dash === "") return undefined;
  if (first === "") {
    const suffix = decimal(last);
    if (suffix === undefined) return undefined;
    return { start: suffix < length ? length - suffix : 0, end: length };
  }
  const start = decimal(first);
  if (start === undefined) return undefined;
  if (last === "") return { start, end: length };
  const end = decimal(last);
  if (end === undefined) return undefined;
  return { start, end: end >= length ? length : end + 1 };
}

function decimal(digits: string): number | undefined {
  return MAX_DIGITS.test(digits) ? Number(digits) : undefined;
}

let boundaries = Math.floor(Math.random() * 0x7fffffff);

/** Plans a multipart/byteranges body: its parts, boundary and length. */
export function multipartPlan(
  ranges: readonly Range[],
  length: number,
  contentType: string | undefined,
): { readonly plan: RangePlan; readonly boundary: string; readonly length: number } {
  const boundary = String(++boundaries).padStart(20, "0");
  const type = contentType === undefined || contentType === "" ? "" : `Content-Type: ${contentType}\r\n`;
  const tail = `\r\n--${boundary}--\r\n`;
  let total = tail.length;
  const parts = ranges.map(({ start, end }) => {
    const head = `\r\n--${boundary}\r\n${type}Content-Range: bytes ${start}-${end - 1}/${length}\r\n\r\n`;
    total += head.length + end - start;
    return { head, start, end };
  });
  return { plan: { parts, tail }, boundary, length: total };
}
