import { encodeField } from "./hpack_encoder.ts";

/** Lines that came before, and what they are encoded: most messages have most of theirs. */
let encoded = new Map<string, string>();
const MOST_LINES = 2000;
/** Lines longer than this are not likely to come again. */
const LONG_LINE = 256;

/** A field as HTTP/1 writes it, without its CR LF, for a header block. */
export function encodeLine(line: string): string {
  const known = encoded.get(line);
  if (known !== undefined) return known;
  const colon = line.indexOf(":", 1);
  // A value of nothing may come without the space.
  const value = line.charCodeAt(colon + 1) === 0x20 ? colon + 2 : colon + 1;
  const block = encodeField(line.slice(0, colon).toLowerCase(), line.slice(value));
  if (line.length <= LONG_LINE) {
    if (encoded.size >= MOST_LINES) encoded = new Map();
    encoded.set(line, block);
  }
  return block;
}

/** Lines, each with its CR LF, as a header block. */
export function encodeLines(lines: string): string {
  let block = "";
  for (let at = 0; at < lines.length; ) {
    const end = lines.indexOf("\r\n", at);
    if (end <= at) break;
    block += encodeLine(lines.substring(at, end));
    at = end + 2;
  }
  return block;
}
