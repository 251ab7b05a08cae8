import { type HeadText, headText, scanned } from "../../wire/head_text.ts";
import { lowercase } from "../../wire/latin1.ts";
import type { Request } from "../core/request.ts";
import type { Response } from "../core/types.ts";

const NONE = headText("");

/**
 * Sets the response's content type by the URI's extension, or to `default_type` (ngx_http_set_content_type), unless it
 * has one.
 */
export function setContentType(request: Request): void {
  const { response, exten } = request;
  if (response.contentType !== undefined && response.contentType !== "") return;
  const { core } = request.location;
  response.contentType = (exten === "" ? undefined : core.types.get(lowercase(exten))) ?? core.defaultType;
}

/** A media type and its charset; "" for none. */
export interface TypeAndCharset {
  readonly type: HeadText;
  readonly charset: HeadText;
}

/** The response's type, to be compared with `*_types`, and its charset: an upstream may have sent both in one field. */
export function typeAndCharset({
  contentType,
  upstreamType,
  charset,
}: Pick<Response, "contentType" | "upstreamType" | "charset">): TypeAndCharset {
  const whole = contentType ?? NONE;
  if (charset === undefined && whole === upstreamType) return splitContentType(whole);
  return { type: whole, charset: charset ?? NONE };
}

/** Separates the charset as nginx does (ngx_http_upstream_copy_content_type); other parameters stay with the type. */
function splitContentType(text: HeadText): TypeAndCharset {
  for (let at = text.indexOf(";"); at >= 0; at = text.indexOf(";", at + 1)) {
    const end = at;
    do at++;
    while (text[at] === " ");
    if (text.slice(at, at + 8).toLowerCase() !== "charset=") continue;
    let from = at + 8;
    if (text[from] === '"') from++;
    const to = text.length > from && text.endsWith('"') ? text.length - 1 : text.length;
    return { type: scanned(text.slice(0, end)), charset: scanned(text.slice(from, to)) };
  }
  return { type: text, charset: NONE };
}
