import { fail, type Scope, type SettingsOf, valueIn } from "../../../config/schema.ts";
import { parseUrl } from "../../../net/parse_url.ts";
import type { HostWanted } from "../../../runtime/application.ts";
import { headText, headWord } from "../../../wire/head_text.ts";
import { defineModule, type Place, placeText } from "../../conf/module.ts";
import type { UpstreamEntry, Upstreams } from "../../conf/upstreams.ts";
import { DONE } from "../../core/codes.ts";
import { finalizeRequest } from "../../core/engine.ts";
import { logError } from "../../core/log_context.ts";
import type { Request } from "../../core/request.ts";
import { readBody, readUnbuffered } from "../../core/request_body.ts";
import type { Location, PassedTo } from "../../core/types.ts";
import type { ResponseRules } from "../../upstream/headers.ts";
import { HTTP1 } from "../../upstream/http1.ts";
import { type UpstreamSettings, upstreamSettings } from "../../upstream/settings.ts";
import { passToUpstream } from "../../upstream/upstream_request.ts";
import { rewriteCookie } from "./cookie.ts";
import { type PassUrl, proxyDirectives } from "./directives.ts";
import { redirectRules, rewriteRefresh } from "./redirect.ts";
import { type RequestHeadPlan, requestHead, requestHeadPlan, requestUri } from "./request.ts";
import { applyRules } from "./rewrite_rules.ts";
import { checkScheme, isHttps, refuseHttps } from "./scheme.ts";
import { evaluatePass, resolvePass } from "./target.ts";
import { proxyVariables } from "./variables.ts";

type Raw = SettingsOf<typeof proxyDirectives>;

/** Where a constant proxy_pass leads. */
export interface FixedPass extends PassedTo {
  readonly scheme: string;
  /** The address part as written. */
  readonly host: string;
  /** From the first slash on; "" without. */
  readonly uri: string;
  readonly upstream: UpstreamEntry;
  /** What follows the target in a request's head, Host included, where that is the same for all (request.ts). */
  opening: string | undefined;
}

/** proxy_pass's settings of one location, ready for requests. */
export interface ProxySettings {
  readonly pass: PassUrl | undefined;
  /** undefined where proxy_pass has variables; filled once the upstreams are known. */
  fixed: FixedPass | undefined;
  /** The location's prefix that the URI of proxy_pass replaces; "" for a regex location. */
  readonly prefix: string;
  readonly upstream: UpstreamSettings;
  rules: ResponseRules;
  readonly head: RequestHeadPlan;
  readonly raw: Raw;
  readonly location: Location;
  /** The location's `placeText`. */
  readonly place: string;
  /** Where a URL with variables finds its upstream. */
  readonly upstreams: Upstreams;
}

export const proxy = defineModule({
  name: "http_proxy",
  directives: proxyDirectives,
  variables: proxyVariables,
  hosts: passHosts,
  build: buildProxy,
  content: (settings) => (settings.pass === undefined ? undefined : proxyHandler(settings)),
});

const HTTP = "http://";

/** Hosts that proxy_pass names outright are looked up when the configuration is loaded. */
function passHosts(http: Scope): HostWanted[] {
  const groups = new Set(
    http.children
      .filter(({ context }) => context === "upstream")
      .map(({ directive }) => directive.args[0].toLowerCase()),
  );
  const wanted: HostWanted[] = [];
  const visit = (scope: Scope): void => {
    const pass = valueIn(scope, proxyDirectives.proxy_pass);
    const host = pass === undefined ? undefined : constantHost(pass);
    if (pass !== undefined && host !== undefined && !groups.has(host.toLowerCase())) {
      const target = parseUrl(host, 80);
      const { file, line, args } = pass.at;
      const error = `host not found in upstream "${args[0].slice(HTTP.length)}"`;
      if (typeof target !== "string" && !("family" in target)) {
        wanted.push({ host: target.host, file, line, error, stage: "complete" });
      }
    }
    scope.children.forEach(visit);
  };
  visit(http);
  return wanted;
}

function constantHost({ url: { constant } }: PassUrl): string | undefined {
  if (constant === undefined || constant.slice(0, HTTP.length).toLowerCase() !== HTTP) return undefined;
  return splitUrl(constant.slice(HTTP.length)).host;
}

function buildProxy(raw: Raw, place: Place): ProxySettings {
  const { location, parent, http } = place;
  const inherited = location.kind === "block" && parent !== undefined ? proxy.of(parent) : undefined;
  const pass = raw.proxy_pass ?? inherited?.pass;
  const upstream = upstreamSettings(raw, "proxy", place, raw.proxy_pass_trailers);
  const settings: ProxySettings = {
    pass,
    fixed: undefined,
    prefix: raw.proxy_pass === undefined && inherited !== undefined ? inherited.prefix : prefixOf(location),
    upstream,
    rules: { location: undefined, refresh: undefined, cookie: undefined },
    upstreams: http.upstreams,
    head: requestHeadPlan(raw),
    raw,
    location,
    place: pass === undefined ? "" : placeText(place),
  };
  if (pass === undefined) return settings;
  const { url, at } = pass;
  if (location.name.endsWith("/") && location.kind === "prefix" && raw.proxy_pass !== undefined)
    location.autoRedirect = true;
  if (url.constant === undefined) {
    settings.rules = rulesOf(raw, undefined, "", settings.prefix);
    if (raw.proxy_pass !== undefined) http.later(() => checkScheme(pass, place));
    return settings;
  }
  const text = url.constant;
  if (isHttps(text)) refuseHttps(at);
  if (text.slice(0, HTTP.length).toLowerCase() !== HTTP) fail(at, "invalid URL prefix");
  const rest = text.slice(HTTP.length);
  const { host, uri } = splitUrl(rest);
  if (uri !== "" && uri !== undefined && raw.proxy_pass !== undefined) checkUri(place, pass);
  const entry = http.upstreams.find(host, 80, at);
  settings.fixed = { scheme: HTTP, host, ...passedTo(host), uri, upstream: entry, opening: undefined };
  settings.rules = rulesOf(raw, text, uri, location.kind === "regex" ? "" : settings.prefix);
  return settings;
}

/** nginx's refusal of a URI where there is no prefix it could replace. */
function checkUri({ location, scope }: Place, { at }: PassUrl): void {
  if (location.kind === "named" || location.kind === "regex" || scope.context !== "location") {
    fail(
      at,
      '"proxy_pass" cannot have URI part in location given by regular expression, or inside named location, or inside "if" statement, or inside "limit_except" block',
    );
  }
}

function prefixOf(location: Location): string {
  return location.kind === "prefix" || location.kind === "exact" || location.kind === "block" ? location.name : "";
}

/** Splits `host:port/uri`; a unix socket's path ends at the second colon. */
export function splitUrl(text: string): { host: string; uri: string } {
  if (/^unix:/i.test(text)) {
    const colon = text.indexOf(":", 5);
    return colon < 0 ? { host: text, uri: "" } : { host: text.slice(0, colon), uri: text.slice(colon + 1) };
  }
  const slash = text.search(/[/?]/);
  if (slash < 0) return { host: text, uri: "" };
  const uri = text.slice(slash);
  return { host: text.slice(0, slash), uri: uri.startsWith("?") ? `/${uri}` : uri };
}

/** $proxy_host and $proxy_port: the scheme's own port is left out of the one and stands in the other. */
export function passedTo(host: string): PassedTo {
  if (/^unix:/i.test(host)) return { hostHeader: headText("localhost"), port: "" };
  const match = /^(.*):(\d+)$/.exec(host);
  if (match === null) return { hostHeader: headText(host), port: "80" };
  const port = String(Number(match[2]));
  return { hostHeader: headText(port === "80" ? match[1] : host), port };
}

function rulesOf(raw: Raw, url: string | undefined, uri: string, prefix: string): ResponseRules {
  const redirects = redirectRules(raw.proxy_redirect, url, uri, prefix);
  const cookies = {
    domains: raw.proxy_cookie_domain === "off" ? [] : raw.proxy_cookie_domain,
    paths: raw.proxy_cookie_path === "off" ? [] : raw.proxy_cookie_path,
    flags: raw.proxy_cookie_flags === "off" ? [] : raw.proxy_cookie_flags,
  };
  const noCookies = cookies.domains.length + cookies.paths.length + cookies.flags.length === 0;
  return {
    location: redirects.length === 0 ? undefined : (request, value) => applyRules(request, redirects, value),
    refresh: redirects.length === 0 ? undefined : (request, value) => rewriteRefresh(request, redirects, value),
    cookie: noCookies ? undefined : (request, value) => rewriteCookie(request, cookies, value),
  };
}

/** The content handler: reads the body where it is to be buffered, then lets the upstream have the request. */
function proxyHandler(settings: ProxySettings): (request: Request) => number {
  const { raw, upstream } = settings;
  const begin = (request: Request): void => start(request, settings);
  const wantsBody = raw.proxy_set_body === undefined && upstream.passRequestBody;
  const unbuffered = !upstream.requestBuffering && wantsBody;
  const chunksAllowed = raw.proxy_http_version === "1.1";
  return (request) => {
    if (request.discardBody && wantsBody && isMaimed(request)) {
      logError(request, "error", "the request body is gone, so the request cannot be passed on");
      return request.failure === 0 ? 502 : request.failure;
    }
    if (request.bodyEnded && request.body === undefined && !request.expectContinue) {
      begin(request);
      return DONE;
    }
    if (unbuffered && request.body === undefined && !request.discardBody && (chunksAllowed || !request.chunked)) {
      request.bodyStarted = true;
      readUnbuffered(request, begin);
      return DONE;
    }
    readBody(request, begin);
    return DONE;
  };
}

/**
 * The body was passed on as it came, or refused (413), before an error_page or X-Accel-Redirect led here: without it this
 * would be another request, unless all that is asked for is a page.
 */
function isMaimed({ body, contentLength, chunked, method }: Request): boolean {
  return body === undefined && (contentLength > 0 || chunked) && method !== "GET" && method !== "HEAD";
}

function start(request: Request, settings: ProxySettings): void {
  const pass = settings.fixed ?? evaluatePass(request, settings);
  if (pass === undefined) {
    finalizeRequest(request, 500);
    return;
  }
  if ("upstream" in pass) send(request, settings, pass);
  else resolvePass(request, settings, pass, (ready) => send(request, settings, ready));
}

function send(request: Request, settings: ProxySettings, pass: FixedPass): void {
  const { raw } = settings;
  request.passedTo = pass;
  const method = raw.proxy_method === undefined ? request.method : headWord(raw.proxy_method.render(request));
  const uri = requestUri(request, settings, pass);
  const body = raw.proxy_set_body?.render(request);
  const head = requestHead(request, settings, pass, method, uri, body);
  const { group, pool } = pass.upstream;
  passToUpstream(request, {
    protocol: HTTP1,
    group,
    pool,
    settings: settings.upstream,
    rules: settings.rules,
    place: settings.place,
    head,
    body,
    headRequest: method === "HEAD",
    lengthKnown: !request.chunked || request.body !== undefined || request.discardBody,
    input: {
      client: request.remote,
      key: pass.upstream.key === undefined ? "" : pass.upstream.key.render(request),
    },
    scheme: pass.scheme,
    uri,
  });
}
