import { headText } from "../../../wire/head_text.ts";
import { inTypeList, type TypeList } from "../../conf/type_list.ts";
import { OK } from "../../core/codes.ts";
import { addBodyFilter, BODY_FILTER } from "../../core/filters.ts";
import { ModuleContext } from "../../core/module_context.ts";
import type { Request } from "../../core/request.ts";
import { bodyChanges } from "../../core/response.ts";
import type { HeaderFilter } from "../../core/types.ts";
import { typeAndCharset } from "../../files/content_type.ts";
import { type CoderSource, CodingFilter } from "./coding_filter.ts";

/** A content coding that is on in a location. */
export interface ContentCoding {
  /** As Accept-Encoding and Content-Encoding name it. */
  readonly name: string;
  readonly types: TypeList;
  readonly minLength: number;
  /** How much the client wants it: 0, not at all, to 1000. */
  readonly quality: (request: Request) => number;
  /** What compresses a body of that length; -1 where it is not known. */
  readonly coders: (length: number) => CoderSource;
}

const CONTENT_ENCODING = headText("Content-Encoding");

/** The filter that compresses a request's response. */
const filters = new ModuleContext<{ readonly coding: string; readonly filter: CodingFilter }>();

/**
 * Compresses a response in the coding that the client wants most; of several that it wants alike, in the first one. Undefined
 * where no coding is on.
 */
export function compressing(codings: readonly ContentCoding[]): HeaderFilter | undefined {
  return codings.length === 0 ? undefined : (request) => compress(request, codings);
}

function compress(request: Request, codings: readonly ContentCoding[]): number {
  const { response } = request;
  const { status, contentLength } = response;
  if (status !== 200 && status !== 403 && status !== 404) return OK;
  const encoded = response.headers.get("content-encoding");
  if (encoded !== undefined && encoded !== "") return OK;
  const { type } = typeAndCharset(response);
  let chosen: ContentCoding | undefined;
  let most = 0;
  for (const coding of codings) {
    if (contentLength !== -1 && contentLength < coding.minLength) continue;
    if (!inTypeList(coding.types, type)) continue;
    request.gzipVary = true;
    const quality = coding.quality(request);
    if (quality <= most) continue;
    most = quality;
    chosen = coding;
  }
  if (chosen === undefined) return OK;
  response.headers.add(CONTENT_ENCODING, "content-encoding", headText(chosen.name));
  bodyChanges(response);
  if (request.headerOnly) return OK;
  const filter = new CodingFilter(request, BODY_FILTER.gzip, chosen.coders(contentLength));
  filters.set(request, { coding: chosen.name, filter });
  addBodyFilter(request, filter);
  return OK;
}

/** How many times shorter the response has become in that coding, with two decimals; undefined where it was not compressed. */
export function ratio(request: Request, coding: string): string | undefined {
  const found = filters.get(request);
  if (found === undefined || found.coding !== coding) return undefined;
  const { complete, taken, passed } = found.filter;
  return complete ? (Math.round((taken * 100) / passed) / 100).toFixed(2) : undefined;
}
