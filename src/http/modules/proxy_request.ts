import type { SettingsOf } from "../../config/schema.ts";
import { ESCAPE_URI, escapeUri } from "../escape.ts";
import { fieldLine, requestLine } from "../h1/request_writer.ts";
import { type HeadText, type HeadWord, headText, headWord } from "../head_text.ts";
import type { Request } from "../request.ts";
import type { Template } from "../template.ts";
import type { FixedPass, ProxySettings } from "./proxy.ts";
import type { proxyDirectives, SetHeader } from "./proxy_directives.ts";

const HOST = headText("Host");

/** What of the request's head to a server is known when the configuration is built. */
export interface RequestHeadPlan {
  readonly version: "1.0" | "1.1";
  /** `proxy_set_header Host`. */
  readonly host: Template<HeadText> | undefined;
  /** The other fields set, in order. */
  readonly set: readonly SetHeader[];
  /** Lower-case names of client fields that are not passed on: those set, and those of the connection. */
  readonly replaced: ReadonlySet<string>;
  readonly lengthSet: boolean;
  readonly codingSet: boolean;
}

/** Fields that belong to the connection with the client (nginx's defaults of proxy_set_header). */
const OWN = [
  "host",
  "connection",
  "proxy-connection",
  "content-length",
  "transfer-encoding",
  "te",
  "keep-alive",
  "expect",
  "upgrade",
];

export function requestHeadPlan(raw: SettingsOf<typeof proxyDirectives>): RequestHeadPlan {
  const named = raw.proxy_set_header.map(({ name, value }) => ({ name, key: name.toLowerCase(), value }));
  const keys = new Set(named.map(({ key }) => key));
  return {
    version: raw.proxy_http_version,
    host: named.find(({ key }) => key === "host")?.value,
    set: named.filter(({ key, value }) => key !== "host" && value.constant !== ""),
    replaced: new Set([...OWN, ...keys]),
    lengthSet: keys.has("content-length"),
    codingSet: keys.has("transfer-encoding"),
  };
}

export interface BuiltHead {
  readonly head: string;
  readonly uri: HeadWord;
  readonly method: HeadWord;
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
  if (!plan.lengthSet || !plan.codingSet) head += framing(request, settings, plan);
  if (raw.proxy_pass_request_headers) {
    const { count, keys, names, values } = request.headers;
    const { replaced } = plan;
    for (let i = 0; i < count; i++) {
      if (!replaced.has(keys[i])) head += fieldLine(names[i], values[i]);
    }
  }
  return { head: `${head}\r\n`, uri, method };
}

/** One framing: Content-Length of what is sent, or chunked. */
function framing(request: Request, settings: ProxySettings, plan: RequestHeadPlan): string {
  const { raw } = settings;
  if (request.contentLength < 0 && !request.chunked && raw.proxy_set_body === undefined) return "";
  const set = raw.proxy_set_body?.render(request);
  if (set !== undefined) return plan.lengthSet ? "" : `Content-Length: ${set.length}\r\n`;
  // A body that was dropped (413 with an error_page) is none.
  if (request.discardBody && request.body === undefined) return plan.lengthSet ? "" : "Content-Length: 0\r\n";
  if (request.chunked && request.body === undefined) return plan.codingSet ? "" : "Transfer-Encoding: chunked\r\n";
  if (plan.lengthSet) return "";
  if (request.chunked) return `Content-Length: ${request.body?.length ?? 0}\r\n`;
  return `Content-Length: ${request.contentLength}\r\n`;
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
