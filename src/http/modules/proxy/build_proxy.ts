import { refusalsOf } from "../../../config/errors.ts";
import { fail, type Scope, type SettingsOf } from "../../../config/schema.ts";
import type { HostWanted } from "../../../runtime/application.ts";
import { type CacheSettings, cacheSettings } from "../../cache/settings.ts";
import { type Place, placeText } from "../../conf/module.ts";
import type { Upstreams } from "../../conf/upstreams.ts";
import type { Location } from "../../core/location.ts";
import { HTTP2 } from "../../upstream/h2/protocol.ts";
import { HTTP1 } from "../../upstream/http1.ts";
import { passedHosts } from "../../upstream/resolve_host.ts";
import { type ResponseRules, upstreamSettings } from "../../upstream/settings.ts";
import { constantTls, shareSessions } from "../../upstream/tls.ts";
import { type UpstreamTls, upstreamTls } from "../../upstream/tls_settings.ts";
import { rewriteCookie } from "./cookie.ts";
import { type PassUrl, proxyCaches, proxyDirectives } from "./directives.ts";
import { type FixedPass, passedTo, schemeOf, splitUrl } from "./pass_url.ts";
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
  /** Undefined without proxy_cache. */
  readonly cache: CacheSettings | undefined;
  readonly raw: Raw;
  /** Undefined if the URL never begins with https://. */
  readonly tls: UpstreamTls | undefined;
  /** Used to find the upstream of a URL with variables. */
  readonly upstreams: Upstreams;
}

/** Hosts in a proxy_pass without variables, to be looked up when the configuration is loaded. */
export function proxyHosts(http: Scope): HostWanted[] {
  return passedHosts(http, proxyDirectives.proxy_pass, (pass) => {
    const text = pass.url.constant;
    const scheme = text === undefined ? undefined : schemeOf(text);
    if (text === undefined || scheme === undefined) return undefined;
    return { host: splitUrl(text.slice(scheme.scheme.length)).host, defaultPort: scheme.defaultPort, at: pass.at };
  });
}

/** Settings of locations without proxy_pass, which nothing reads but this, by what was read for them. */
const unused = new WeakMap<Raw, ProxySettings>();

/** Makes the settings of a location. `inherited`: those of the enclosing location, for blocks such as `if`. */
export function buildProxy(raw: Raw, place: Place, inherited: ProxySettings | undefined): ProxySettings {
  const { location, http, scope } = place;
  const pass = raw.proxy_pass ?? inherited?.pass;
  const known = pass === undefined ? unused.get(raw) : undefined;
  if (known !== undefined) return known;
  const isTls = pass !== undefined && !isPlain(pass);
  const isHttp2 = raw.proxy_http_version === "2";
  const upstream = upstreamSettings(raw, "proxy", place, {
    protocol: isHttp2 ? HTTP2 : HTTP1,
    place: pass === undefined ? "" : placeText(place),
    passTrailers: raw.proxy_pass_trailers,
    hides: ["date", "server", "x-pad"],
  });
  const settings: ProxySettings = {
    pass,
    fixed: undefined,
    prefix: raw.proxy_pass === undefined && inherited !== undefined ? inherited.prefix : prefixOf(location),
    upstream,
    rules: { location: undefined, refresh: undefined, cookie: undefined },
    cache: pass === undefined ? undefined : cacheSettings(raw, "proxy", proxyCaches, scope),
    upstreams: http.upstreams,
    // As in ngx_http_proxy_merge_loc_conf: what is refused there comes after what is wrong with the lines themselves.
    tls: isTls
      ? refusalsOf(scope).attempt(
          () => upstreamTls(raw, "proxy", proxyDirectives, place, isHttp2 ? ["h2"] : undefined),
          "complete",
        )
      : undefined,
    head: requestHeadPlan(raw),
    raw,
  };
  if (pass === undefined) {
    unused.set(raw, settings);
    return settings;
  }
  const { url, at } = pass;
  if (location.name.endsWith("/") && location.kind === "prefix" && raw.proxy_pass !== undefined)
    location.autoRedirect = true;
  if (url.constant === undefined) {
    settings.rules = rulesOf(raw, undefined, "", settings.prefix);
    // It may lead to any of them.
    http.later(() => {
      for (const upstream of http.upstreams.byName.values()) shareSessions(upstream, http.cycle);
    });
    return settings;
  }
  const text = url.constant;
  const scheme = schemeOf(text) ?? fail(at, "invalid URL prefix");
  const { host, uri } = splitUrl(text.slice(scheme.scheme.length));
  if (uri !== "" && uri !== undefined && raw.proxy_pass !== undefined) checkUri(place, pass);
  const entry = http.upstreams.find(host, scheme.defaultPort, at);
  if (settings.tls !== undefined) shareSessions(entry, http.cycle);
  settings.fixed = {
    ...scheme,
    host,
    ...passedTo(host, scheme),
    uri,
    upstream: entry,
    opening: undefined,
    tls: settings.tls && constantTls(settings.tls, entry),
  };
  settings.rules = rulesOf(raw, text, uri, location.kind === "regex" ? "" : settings.prefix);
  return settings;
}

/** Its scheme is written, and is not https. */
function isPlain({ url: { text, constant } }: PassUrl): boolean {
  const scheme = schemeOf(text);
  return scheme === undefined ? constant !== undefined : !scheme.secure;
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
