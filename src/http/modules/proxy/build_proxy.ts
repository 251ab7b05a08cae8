import { fail, type Scope, type SettingsOf, valueIn } from "../../../config/schema.ts";
import { parseUrl } from "../../../net/parse_url.ts";
import type { HostWanted } from "../../../runtime/application.ts";
import { type Place, placeText } from "../../conf/module.ts";
import type { Upstreams } from "../../conf/upstreams.ts";
import type { Location } from "../../core/location.ts";
import { HTTP1 } from "../../upstream/http1.ts";
import { type ResponseRules, upstreamSettings } from "../../upstream/settings.ts";
import { rewriteCookie } from "./cookie.ts";
import { type PassUrl, proxyDirectives } from "./directives.ts";
import {
  checkScheme,
  constantHost,
  type FixedPass,
  HTTP,
  isHttps,
  passedTo,
  refuseHttps,
  splitUrl,
} from "./pass_url.ts";
import { redirectRules, rewriteRefresh } from "./redirect.ts";
import { type RequestSettings, requestHeadPlan } from "./request_head.ts";
import { applyRules } from "./rewrite_rules.ts";

type Raw = SettingsOf<typeof proxyDirectives>;

/** A location's settings as requests use them. */
export interface ProxySettings extends RequestSettings {
  readonly pass: PassUrl | undefined;
  /** Undefined if proxy_pass has variables; set when the upstreams are known. */
  fixed: FixedPass | undefined;
  rules: ResponseRules;
  readonly raw: Raw;
  /** Used to find the upstream of a URL with variables. */
  readonly upstreams: Upstreams;
}

/** Hosts in a proxy_pass without variables, to be looked up when the configuration is loaded. */
export function passHosts(http: Scope): HostWanted[] {
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

/** Makes the settings of a location. `inherited`: those of the enclosing location, for blocks such as `if`. */
export function buildProxy(raw: Raw, place: Place, inherited: ProxySettings | undefined): ProxySettings {
  const { location, http } = place;
  const pass = raw.proxy_pass ?? inherited?.pass;
  const upstream = upstreamSettings(raw, "proxy", place, {
    protocol: HTTP1,
    place: pass === undefined ? "" : placeText(place),
    passTrailers: raw.proxy_pass_trailers,
  });
  const settings: ProxySettings = {
    pass,
    fixed: undefined,
    prefix: raw.proxy_pass === undefined && inherited !== undefined ? inherited.prefix : prefixOf(location),
    upstream,
    rules: { location: undefined, refresh: undefined, cookie: undefined },
    upstreams: http.upstreams,
    head: requestHeadPlan(raw),
    raw,
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

/** A URI in proxy_pass replaces the location's name, so there must be one. */
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
