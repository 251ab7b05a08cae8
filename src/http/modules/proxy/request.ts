import type { SettingsOf } from "../../../config/schema.ts";
import { ESCAPE_URI, escapeUri } from "../../../wire/escape.ts";
import { fieldLine, type HeadText, type HeadWord, headText, headWord, requestLine } from "../../../wire/head_text.ts";
import { FieldSet } from "../../../wire/http1/field_set.ts";
import { HOP_BY_HOP, namesFraming } from "../../../wire/http1/hop_by_hop.ts";
import type { Request } from "../../core/request.ts";
import type { Template } from "../../core/script.ts";
import type { proxyDirectives, SetHeader } from "./directives.ts";
import type { FixedPass, ProxySettings } from "./proxy.ts";

const HOST = headText("Host");

/** What of the request's head to a server is known when the configuration is built. */
export interface RequestHeadPlan {
  readonly version: "1.0" | "1.1";
  /** `proxy_set_header Host`. */
  readonly host: Template<HeadText> | undefined;
  /** The other fields set, in order. */
  readonly set: readonly SetHeader[];
  /** Client fields that are not passed on: those set, and those of the connection. */
  readonly replaced: FieldSet;
  /** Content-Length is set to nothing: a request without a body has none. */
  readonly noLength: boolean;
}

/** Fields of the client's that are not passed on (nginx's defaults of proxy_set_header). */
const OWN = [...HOP_BY_HOP, "host", "expect"];

export function requestHeadPlan(raw: SettingsOf<typeof proxyDirectives>): RequestHeadPlan {
  const named = raw.proxy_set_header.map(({ name, value }) => ({ name, key: name.toLowerCase(), value }));
  return {
    version: raw.proxy_http_version,
    host: named.findLast(({ key }) => key === "host")?.value,
    set: named.filter(({ name, key, value }) => key !== "host" && value.constant !== "" && !namesFraming(name)),
    replaced: new FieldSet([...OWN, ...named.map(({ key }) => key)]),
    noLength: named.some(({ key, value }) => key === "content-length" && value.constant === ""),
  };
}

export interface BuiltHead {
  readonly head: string;
  readonly uri: HeadWord;
  readonly method: HeadWord;
  /** proxy_set_body's text. */
  readonly body: string | undefined;
}

/** The head of the request to a server, written anew (ngx_http_proxy_create_request). */
export function buildHead(
  request: Request,
  settings: ProxySettings,
  pass: FixedPass,
  plan: RequestHeadPlan,
): BuiltHead {
  const { raw } = settings;
  const method = raw.proxy_method === undefined ? request.method : headWord(raw.proxy_method.render(request));
  const uri = requestUri(request, settings, pass);
  const written = plan.host === undefined ? undefined : (plan.host.constant ?? plan.host.render(request));
  const host = written === undefined || (written === "" && plan.version === "1.1") ? pass.hostHeader : written;
  let head = requestLine(method, uri, plan.version);
  if (host !== "") head += fieldLine(HOST, host);
  for (const { name, value } of plan.set) {
    const text = value.constant ?? value.render(request);
    if (text !== "") head += fieldLine(name, text);
  }
  const body = raw.proxy_set_body?.render(request);
  head += framing(request, plan, settings, body);
  if (settings.upstream.passRequestHeaders) head += request.headers.lines(plan.replaced);
  return { head: `${head}\r\n`, uri, method, body };
}

/** The framing of the body that follows, whatever was set: its length, or chunks. */
function framing(request: Request, plan: RequestHeadPlan, settings: ProxySettings, body: string | undefined): string {
  const { contentLength, chunked } = request;
  let length = contentLength;
  if (body !== undefined) length = body.length;
  else if (contentLength < 0 && !chunked) return "";
  else if (!settings.upstream.passRequestBody) length = 0;
  else if (request.body !== undefined) length = request.body.length;
  // A body that was dropped (413 with an error_page) is none.
  else if (request.discardBody) length = 0;
  else if (chunked) return "Transfer-Encoding: chunked\r\n";
  return length === 0 && plan.noLength ? "" : `Content-Length: ${length}\r\n`;
}

function requestUri(request: Request, settings: ProxySettings, pass: FixedPass): HeadWord {
  const { uri } = pass;
  if (uri === "" && request.unparsedValid) return request.unparsedUri;
  if (settings.fixed === undefined && uri !== "") return headWord(uri);
  const skip = uri !== "" && request.validLocation ? Math.min(settings.prefix.length, request.uri.length) : 0;
  const rest = skip === 0 ? request.uri : request.uri.slice(skip);
  const path = request.quotedUri || request.internal ? escapeUri(rest, ESCAPE_URI) : rest;
  const full = request.validLocation ? uri + path : path;
  return headWord(request.args === "" ? full : `${full}?${request.args}`);
}
