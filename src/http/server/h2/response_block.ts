import { encodeField } from "../../../wire/h2/hpack_encoder.ts";
import type { HeaderList } from "../../../wire/http1/header_list.ts";
import type { Request } from "../../core/request.ts";
import { responseFieldLines } from "../response_head.ts";

/** Lines that came before, and what they are encoded: most responses have most of theirs. */
let encoded = new Map<string, string>();
const MOST_LINES = 2000;
/** Lines longer than this are not likely to come again. */
const LONG_LINE = 256;

function encodeLine(line: string): string {
  const known = encoded.get(line);
  if (known !== undefined) return known;
  const colon = line.indexOf(": ", 1);
  const block = encodeField(line.slice(0, colon).toLowerCase(), line.slice(colon + 2));
  if (line.length <= LONG_LINE) {
    if (encoded.size >= MOST_LINES) encoded = new Map();
    encoded.set(line, block);
  }
  return block;
}

/** Lines, each with its CR LF, as a header block. */
function encodeLines(lines: string): string {
  let block = "";
  for (let at = 0; at < lines.length; ) {
    const end = lines.indexOf("\r\n", at);
    if (end <= at) break;
    block += encodeLine(lines.substring(at, end));
    at = end + 2;
  }
  return block;
}

/** The head of a response as a header block (a byte string). */
export function responseBlock(request: Request): string {
  return encodeLine(`:status: ${request.response.status}`) + encodeLines(responseFieldLines(request));
}

/** That of a response before the final one. */
export function informationalBlock(status: number, fields: HeaderList): string {
  return encodeLine(`:status: ${status}`) + encodeLines(fields.lines());
}

export function trailersBlock(trailers: HeaderList): string {
  return encodeLines(trailers.lines());
}
