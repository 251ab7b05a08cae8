import { headText } from "../../../wire/head_text.ts";
import { inTypeList, type TypeList } from "../../conf/type_list.ts";
import { OK } from "../../core/codes.ts";
import { addBodyFilter } from "../../core/filters.ts";
import { ModuleContext } from "../../core/module_context.ts";
import type { Request } from "../../core/request.ts";
import { bodyChanges } from "../../core/response.ts";
import type { BodyFilter, HeaderFilter } from "../../core/types.ts";
import { typeAndCharset } from "../../files/content_type.ts";
import { markTag, markTagOf304 } from "./coded_tags.ts";

/** A filter that compresses a body. */
export interface CompressFilter extends BodyFilter {
  /** Bytes so far, as they came and as they were passed on. */
  readonly taken: number;
  readonly passed: number;
  /** All was compressed. */
  readonly complete: boolean;
}

/** A content coding that is on in a location. */
export interface ContentCoding {
  /** As Accept-Encoding and Content-Encoding name it. */
  readonly name: "gzip" | "br" | "zstd";
  readonly types: TypeList;
  readonly minLength: number;
  /** How much the client wants it: 0, not at all, to 1000. */
  readonly quality: (request: Request) => number;
  /** What compresses a body of that length; -1 where it is not known. */
  readonly filter: (request: Request, length: number) => CompressFilter;
}

const CONTENT_ENCODING = headText("Content-Encoding");

/** The filter that compresses a request's response. */
const filters = new ModuleContext<{ readonly coding: ContentCoding; readonly filter: CompressFilter }>();

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
  if (status === 304) markTagOf304(request, codings);
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
  markTag(response, chosen.name);
  if (request.headerOnly) return OK;
  const filter = chosen.filter(request, contentLength);
  filters.set(request, { coding: chosen, filter });
  addBodyFilter(request, filter);
  return OK;
}

/**
 * How many times shorter the response has become in that coding; undefined where it was not compressed in it. `digits`: of the
 * fraction, as each module has it.
 */
export function ratio(request: Request, coding: ContentCoding["name"], digits: 2 | 3): string | undefined {
  const found = filters.get(request);
  if (found === undefined || found.coding.name !== coding) return undefined;
  const { complete, taken, passed } = found.filter;
  if (!complete) return undefined;
  const thousandths = Math.floor((taken * 1000) / passed);
  return digits === 3 ? (thousandths / 1000).toFixed(3) : (Math.round(thousandths / 10) / 100).toFixed(2);
}
