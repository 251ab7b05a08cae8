import { type HeadText, headText } from "../../../wire/head_text.ts";
import { DECLINED } from "../../core/codes.ts";
import type { Request } from "../../core/request.ts";
import type { Handler, Response } from "../../core/types.ts";
import type { ContentCoding } from "./compress.ts";

/**
 * Each coding of a response has an entity tag of its own: `W/"x"` for gzip, as nginx has it, `W/"x-br"` and `W/"x-zstd"` for
 * the others. A client that asks by such a tag means a response that has `"x"` here and at the server it comes from: both look
 * for the tags that If-None-Match lists, so that one is added to the list.
 */

type Name = ContentCoding["name"];

function marked(etag: string, name: Name): HeadText | undefined {
  if (name === "gzip" || !etag.endsWith('"')) return undefined;
  return headText(`${etag.startsWith("W/") ? "" : "W/"}${etag.slice(0, -1)}-${name}"`);
}

/** Gives a response that is compressed in that coding its tag. */
export function markTag(response: Response, name: Name): void {
  if (response.etag !== undefined) response.etag = marked(response.etag, name) ?? response.etag;
}

/** A 304 has the tag by which the client has asked. */
export function markTagOf304({ headers, response }: Request, codings: readonly ContentCoding[]): void {
  const { etag } = response;
  if (etag === undefined) return;
  const wanted = headers.get("if-none-match");
  if (wanted === undefined) return;
  for (const { name } of codings) {
    const tag = marked(etag, name);
    if (tag === undefined || !wanted.includes(tag.slice(2))) continue;
    response.etag = tag;
    return;
  }
}

/** Adds the tags of what is to be compressed to those that a request lists. */
export function unmarkTags(names: readonly Name[]): Handler | undefined {
  const marks = names.filter((name) => name !== "gzip");
  if (marks.length === 0) return undefined;
  const tags = new RegExp(`(?:W/)?("[^"]*)-(?:${marks.join("|")})"`, "g");
  return (request) => {
    if (request !== request.main) return DECLINED;
    const wanted = request.headers.join("if-none-match");
    if (wanted === undefined) return DECLINED;
    let all = wanted;
    for (const [, tag] of wanted.matchAll(tags)) {
      if (!all.includes(`${tag}"`)) all += `, W/${tag}"`;
    }
    if (all !== wanted) request.headers.set("If-None-Match", all);
    return DECLINED;
  };
}
