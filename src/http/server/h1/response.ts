import type { Request } from "../../core/request.ts";

/** The end of a chunked body with its trailers. */
export function lastChunk({ response: { trailers } }: Request): string {
  return trailers === undefined ? "0\r\n\r\n" : `0\r\n${trailers.lines()}\r\n`;
}
