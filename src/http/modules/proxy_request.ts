import type { SettingsOf } from "../../config/schema.ts";
import { ESCAPE_URI, escapeUri } from "../escape.ts";
import { fieldValue, lineWord } from "../field_text.ts";
import type { Request } from "../request.ts";
import type { Template } from "../template.ts";
import type { FixedPass, ProxySettings } from "./proxy.ts";
import type { proxyDirectives } from "./proxy_directives.ts";

/** What of the request's head to a server is known when the configuration is built. */
export interface RequestHeadPlan {
  readonly version: string;
  /** `proxy_set_header Host`. */
  readonly host: Template | undefined;
  /** The other fields set, in order. */
  readonly set: readonly { readonly name: string; readonly value: Template }[];
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
  readonly uri: string;
  readonly method: string;
}

/** The head of the request to a server, written anew (ngx_http_proxy_create_request). */
export function buildHead(
  request: Request,
  settings: ProxySettings,
  pass: FixedPass,
  plan: RequestHeadPlan,
): BuiltHead {
  const { raw } = settings;
  const method = raw.proxy_method === undefined ? request.method : lineWord(raw.proxy_method.render(request));
  const uri = requestUri(request, settings, pass);
  const written = plan.host === undefined ? undefined : (plan.host.constant ?? fieldValue(plan.host.render(request)));
  const host = written === undefined || (written === "" && plan.version === "1.1") ? pass.hostHeader : written;
  let head = `${method} ${uri} HTTP/${plan.version}\r\n`;
  if (host !== "") head += `Host: ${host}\r\n`;
  for (const { name, value } of plan.set) {
    const text = value.constant ?? fieldValue(value.render(request));
    if (text !== "") head += `${name}: ${text}\r\n`;
  }
  if (!plan.lengthSet || !plan.codingSet) head += framing(request, settings, plan);
  if (raw.proxy_pass_request_headers) {
    const { count, keys, names, values } = request.headers;
    const { replaced } = plan;
    for (let i = 0; i < count; i++) {
      if (!replaced.has(keys[i])) head += `${names[i]}: ${values[i]}\r\n`;
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

function requestUri(request: Request, settings: ProxySettings, pass: FixedPass): string {
  const { uri } = pass;
  if (uri === "" && request.unparsedValid) return request.unparsedUri;
  if (settings.fixed === undefined && uri !== "") return lineWord(uri);
  const skip = uri !== "" && request.validLocation ? Math.min(settings.prefix.length, request.uri.length) : 0;
  const rest = skip === 0 ? request.uri : request.uri.slice(skip);
  const path = request.quotedUri || request.internal ? escapeUri(rest, ESCAPE_URI) : rest;
  const full = request.validLocation ? uri + path : path;
  return lineWord(request.args === "" ? full : `${full}?${request.args}`);
}
