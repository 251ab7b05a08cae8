import type { SettingsOf } from "../../../config/schema.ts";
import { ESCAPE_URI, escapeUri } from "../../../wire/escape.ts";
import { fieldLine, type HeadText, type HeadWord, headText, headWord, requestLine } from "../../../wire/head_text.ts";
import { FieldSet } from "../../../wire/http1/field_set.ts";
import { HOP_BY_HOP, namesFraming } from "../../../wire/http1/hop_by_hop.ts";
import type { Request } from "../../core/request.ts";
import type { Template } from "../../core/script.ts";
import { announcedLength, type BlockPlan, blockPlan, requestBlock } from "../../upstream/h2/request_block.ts";
import type { SetField } from "../../upstream/set_header.ts";
import type { UpstreamSettings } from "../../upstream/settings.ts";
import type { proxyDirectives } from "./directives.ts";
import type { FixedPass } from "./pass_url.ts";

const HOST = headText("Host");

/** What is known of request heads when the configuration is built. */
export interface RequestHeadPlan {
  /** As request lines have it: "1.1" stands for HTTP/2 as well. */
  readonly version: "1.0" | "1.1";
  /** Of HTTP/2. */
  readonly block: BlockPlan | undefined;
  /** `proxy_set_header Host`. */
  readonly host: Template<HeadText> | undefined;
  /** The other fields to set, in order; adjacent constant ones are joined into lines. */
  readonly set: readonly (string | SetField)[];
  /** Fields of the client that are not passed on: those set, and hop-by-hop fields. */
  readonly replaced: FieldSet;
  /** The same where the answer may be kept: without the client's conditions and ranges. */
  readonly replacedForCache: FieldSet;
  /** An expired response is asked for again by these, unless proxy_set_header has them. */
  readonly revalidatesBy: { readonly date: boolean; readonly etag: boolean };
  /** Content-Length is set to nothing: it is left out if there is no body. */
  readonly noLength: boolean;
}

/** A location's settings for the requests to its servers. */
export interface RequestSettings {
  /** Undefined if proxy_pass has variables. */
  readonly fixed: FixedPass | undefined;
  /** The location's prefix that the URI of proxy_pass replaces; "" for a regex location. */
  readonly prefix: string;
  readonly upstream: UpstreamSettings;
  readonly head: RequestHeadPlan;
}

/** Fields of the client that are never passed on (nginx's defaults of proxy_set_header). */
const OWN = [...HOP_BY_HOP, "host", "expect"];
/** Fields by which a client asks for less than the whole response (ngx_http_proxy_cache_headers). */
const CONDITIONS = ["if-modified-since", "if-unmodified-since", "if-none-match", "if-match", "range", "if-range"];
const IF_MODIFIED_SINCE = headText("If-Modified-Since");
const IF_NONE_MATCH = headText("If-None-Match");

export function requestHeadPlan(raw: SettingsOf<typeof proxyDirectives>): RequestHeadPlan {
  const named = raw.proxy_set_header.map(({ name, value }) => ({ name, key: name.toLowerCase(), value }));
  return {
    version: raw.proxy_http_version === "1.0" ? "1.0" : "1.1",
    block: raw.proxy_http_version === "2" ? blockPlan(raw.proxy_set_header, false) : undefined,
    host: named.findLast(({ key }) => key === "host")?.value,
    set: linesOf(
      named.filter(({ name, key, value }) => key !== "host" && value.constant !== "" && !namesFraming(name)),
    ),
    replaced: new FieldSet([...OWN, ...named.map(({ key }) => key)]),
    replacedForCache: new FieldSet([...OWN, ...CONDITIONS, ...named.map(({ key }) => key)]),
    revalidatesBy: {
      date: !named.some(({ key }) => key === "if-modified-since"),
      etag: !named.some(({ key }) => key === "if-none-match"),
    },
    noLength: named.some(({ key, value }) => key === "content-length" && value.constant === ""),
  };
}

function linesOf(set: readonly SetField[]): (string | SetField)[] {
  const lines: (string | SetField)[] = [];
  for (const field of set) {
    const { constant } = field.value;
    const last = lines.at(-1);
    if (constant === undefined) lines.push(field);
    else if (typeof last === "string") lines[lines.length - 1] = last + fieldLine(field.name, constant);
    else lines.push(fieldLine(field.name, constant));
  }
  return lines;
}

/** Writes the head of the request to the server (ngx_http_proxy_create_request). `body` is proxy_set_body's. */
export function requestHead(
  request: Request,
  settings: RequestSettings,
  pass: FixedPass,
  method: HeadWord,
  uri: HeadWord,
  body: string | undefined,
): string {
  const plan = settings.head;
  if (plan.block !== undefined) return blockOf(request, settings, plan.block, pass, method, uri, body);
  let head = requestLine(method, uri, pass.opening ?? openingOf(request, plan, pass));
  for (const line of plan.set) {
    if (typeof line === "string") {
      head += line;
      continue;
    }
    const text = line.value.render(request);
    if (text !== "") head += fieldLine(line.name, text);
  }
  head += framing(request, plan, settings, body);
  const cacheable = request.cache?.cacheable === true;
  if (cacheable) head += validators(request, plan);
  if (settings.upstream.passRequestHeaders) {
    head += request.headers.lines(cacheable ? plan.replacedForCache : plan.replaced);
  }
  return `${head}\r\n`;
}

/** The same for HTTP/2: a header block. */
function blockOf(
  request: Request,
  settings: RequestSettings,
  block: BlockPlan,
  pass: FixedPass,
  method: HeadWord,
  path: HeadWord,
  body: string | undefined,
): string {
  const { head: plan, upstream } = settings;
  const cacheable = request.cache?.cacheable === true;
  const target = {
    method,
    secure: pass.secure,
    path,
    authority: pass.hostHeader,
    length: body === undefined ? announcedLength(request, upstream.passRequestBody) : body.length,
    more: cacheable ? validators(request, plan) : "",
  };
  const except = cacheable ? plan.replacedForCache : plan.replaced;
  return requestBlock(request, block, target, upstream.passRequestHeaders ? except : undefined);
}

/** By which the server is asked whether an expired response is still the right one. */
function validators({ cache }: Request, { revalidatesBy }: RequestHeadPlan): string {
  const date = revalidatesBy.date ? cache?.lastModified : undefined;
  const etag = revalidatesBy.etag ? cache?.etag : undefined;
  let lines = date === undefined ? "" : fieldLine(IF_MODIFIED_SINCE, headText(date));
  if (etag !== undefined) lines += fieldLine(IF_NONE_MATCH, headText(etag));
  return lines;
}

/** The rest of the request line, and Host; kept with the target if it is the same for all requests. */
function openingOf(request: Request, { version, host: set }: RequestHeadPlan, pass: FixedPass): string {
  const written = set === undefined ? undefined : (set.constant ?? set.render(request));
  const host = written === undefined || (written === "" && version === "1.1") ? pass.hostHeader : written;
  const opening = ` HTTP/${version}\r\n${host === "" ? "" : fieldLine(HOST, host)}`;
  if (set === undefined || set.constant !== undefined) pass.opening = opening;
  return opening;
}

/** The framing fields of the body that follows, whatever proxy_set_header says: its length, or chunked. */
function framing(request: Request, plan: RequestHeadPlan, settings: RequestSettings, body: string | undefined): string {
  const { contentLength, chunked } = request;
  let length = contentLength;
  if (body !== undefined) length = body.length;
  else if (contentLength < 0 && !chunked) return "";
  else if (!settings.upstream.passRequestBody) length = 0;
  else if (request.body !== undefined) length = request.body.length;
  // A dropped body (413 with an error_page) is not sent.
  else if (request.discardBody) length = 0;
  else if (chunked) return "Transfer-Encoding: chunked\r\n";
  return length === 0 && plan.noLength ? "" : `Content-Length: ${length}\r\n`;
}

export function requestUri(request: Request, settings: RequestSettings, { uri }: Pick<FixedPass, "uri">): HeadWord {
  if (uri === "" && request.unparsedValid) return request.unparsedUri;
  if (settings.fixed === undefined && uri !== "") return headWord(uri);
  const skip = uri !== "" && request.validLocation ? Math.min(settings.prefix.length, request.uri.length) : 0;
  const rest = skip === 0 ? request.uri : request.uri.slice(skip);
  const path = request.quotedUri || request.internal ? escapeUri(rest, ESCAPE_URI) : rest;
  const full = request.validLocation ? uri + path : path;
  return headWord(request.args === "" ? full : `${full}?${request.args}`);
}
