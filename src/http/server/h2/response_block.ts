import { encodeLine, encodeLines } from "../../../wire/h2/field_lines.ts";
import type { HeaderList } from "../../../wire/http1/header_list.ts";
import type { Request } from "../../core/request.ts";
import { responseFieldLines } from "../response_head.ts";

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
