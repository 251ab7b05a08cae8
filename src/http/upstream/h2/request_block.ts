import { encodeLine, encodeLines } from "../../../wire/h2/field_lines.ts";
import { encodeField } from "../../../wire/h2/hpack_encoder.ts";
import type { HeadText } from "../../../wire/head_text.ts";
import { FieldSet } from "../../../wire/http1/field_set.ts";
import { HOP_BY_HOP } from "../../../wire/http1/hop_by_hop.ts";
import type { Request } from "../../core/request.ts";
import type { Template } from "../../core/script.ts";
import type { SetField } from "../set_header.ts";

/** What is known of header blocks of requests when the configuration is built. */
export interface BlockPlan {
  /** `…_set_header Host` */
  readonly host: Template<HeadText> | undefined;
  /** The other fields to set: those with variables, and the block of the constant ones. */
  readonly set: readonly SetField[];
  readonly constants: string;
  /** Fields of the client that are not passed on: those set, and hop-by-hop fields. */
  readonly replaced: FieldSet;
  /** The client's TE goes on as far as it says `trailers`. */
  readonly passesTe: boolean;
  /** Content-Length is set to nothing: frames say it all. */
  readonly noLength: boolean;
}

/** Fields of the client that are never passed on. */
const OWN = [...HOP_BY_HOP, "host", "expect"];
const TE = encodeField("te", "trailers");

export function blockPlan(fields: readonly SetField[], passesTe: boolean): BlockPlan {
  const named = fields.map((field) => ({ field, key: field.name.toLowerCase() }));
  const keys = named.map(({ key }) => key);
  // HTTP/2 has none of the fields about a connection, whoever sets them (RFC 9113 section 8.2.2), and its own Content-Length.
  const sent = named.filter(({ key }) => key !== "host" && (key === "te" || !HOP_BY_HOP.has(key)));
  return {
    host: named.findLast(({ key }) => key === "host")?.field.value,
    set: sent.filter(({ field }) => field.value.constant === undefined).map(({ field }) => field),
    constants: sent.map(({ field: { name, value } }) => constantBlock(name, value.constant)).join(""),
    replaced: new FieldSet([...OWN, ...keys]),
    passesTe: passesTe && !keys.includes("te"),
    noLength: named.some(({ key, field }) => key === "content-length" && field.value.constant === ""),
  };
}

function constantBlock(name: HeadText, value: string | undefined): string {
  return value === undefined || value === "" ? "" : encodeField(name.toLowerCase(), value);
}

/** The request line, as HTTP/2 has it. */
export interface BlockTarget {
  readonly method: string;
  readonly secure: boolean;
  readonly path: string;
  /** Where …_set_header has no Host, or one of nothing. */
  readonly authority: string;
  /** Of the body; -1: not announced. */
  readonly length: number;
  /** Further fields, as lines of HTTP/1. */
  readonly more: string;
}

const HTTP = encodeField(":scheme", "http");
const HTTPS = encodeField(":scheme", "https");

/**
 * Makes the header block of a request to a server (ngx_http_grpc_create_request, ngx_http_proxy_v2_create_request). `except`:
 * the client's fields that are not passed on; undefined: none are.
 */
export function requestBlock(
  request: Request,
  plan: BlockPlan,
  target: BlockTarget,
  except: FieldSet | undefined,
): string {
  const { method, secure, path, length, more } = target;
  const { host } = plan;
  let authority: string = host === undefined ? "" : (host.constant ?? host.render(request));
  if (authority === "") authority = target.authority;
  let block = encodeLine(`:method: ${method}`) + (secure ? HTTPS : HTTP) + encodeField(":path", path);
  block += encodeLine(`:authority: ${authority}`) + plan.constants;
  for (const { name, value } of plan.set) {
    const text = value.render(request);
    if (text !== "") block += encodeLine(`${name}: ${text}`);
  }
  if (length >= 0 && !plan.noLength) block += encodeField("content-length", String(length));
  if (plan.passesTe && wantsTrailers(request)) block += TE;
  if (more !== "") block += encodeLines(more);
  return except === undefined ? block : block + encodeLines(request.headers.lines(except));
}

/** $grpc_internal_trailers */
export function wantsTrailers({ headers }: Request): boolean {
  return headers.get("te")?.toLowerCase().includes("trailers") === true;
}

/** How long the body is that is sent; -1: none is announced. */
export function announcedLength(request: Request, passesBody: boolean): number {
  const { contentLength, chunked } = request;
  if (contentLength < 0 && !chunked) return -1;
  if (!passesBody) return 0;
  if (request.body !== undefined) return request.body.length;
  // A dropped body (413 with an error_page) is not sent.
  if (request.discardBody) return 0;
  return contentLength;
}
