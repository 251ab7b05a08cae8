import { directive, enumeration, flag, number, size } from "../../../config/directives.ts";
import type { Context, Directive } from "../../../config/types.ts";
import { Caches } from "../../cache/cache.ts";
import { cacheDirectives } from "../../cache/directives.ts";
import { HTTP_LOCATION } from "../../conf/contexts.ts";
import { oneTemplate, type Template, template } from "../../core/script.ts";
import { upstreamDirectives } from "../../upstream/directives.ts";
import { setHeader } from "../../upstream/set_header.ts";
import { upstreamSslDirectives } from "../../upstream/ssl_directives.ts";
import { type CookieFlags, type CookieRule, readCookieDomain, readCookieFlags, readCookiePath } from "./cookie.ts";
import { type RedirectRules, readRedirect } from "./redirect.ts";

const PASS: readonly Context[] = ["location", "if in location", "limit_except"];

/** The statuses that proxy_next_upstream may name. */
export const proxyCaches = new Caches("proxy");

const NEXT = ["http_500", "http_502", "http_503", "http_504", "http_403", "http_404", "http_429"];

/** The URL of `proxy_pass`, perhaps with variables. */
export interface PassUrl {
  readonly url: Template;
  readonly at: Directive;
}

export const proxyDirectives = {
  ...upstreamDirectives("proxy", [...NEXT, "updating"]),
  ...cacheDirectives("proxy", proxyCaches, NEXT),
  ...upstreamSslDirectives("proxy"),
  proxy_pass: directive<PassUrl | undefined>({
    in: PASS,
    args: [1, 1],
    syntax: "URL",
    doc: "Passes requests to a server or an upstream group over HTTP, with `https://` over TLS. With a URI after the address, the part of the request's URI that matches the location is replaced by it.",
    initial: () => undefined,
    inherit: false,
    read: (at, scope) => ({ url: template(scope, at, at.args[0]), at }),
  }),
  proxy_redirect: directive<RedirectRules>({
    in: HTTP_LOCATION,
    args: [1, 2],
    syntax: "default | off | redirect replacement",
    doc: "Rewrites the Location and Refresh fields of responses.",
    initial: () => ({ mode: "default", rules: [] }),
    defaultText: "default",
    repeat: true,
    read: readRedirect,
  }),
  proxy_cookie_domain: directive<readonly CookieRule[] | "off">({
    in: HTTP_LOCATION,
    args: [1, 2],
    syntax: "off | domain replacement",
    doc: "Rewrites the domain attribute of Set-Cookie fields.",
    initial: () => [],
    defaultText: "off",
    repeat: true,
    read: readCookieDomain,
  }),
  proxy_cookie_path: directive<readonly CookieRule[] | "off">({
    in: HTTP_LOCATION,
    args: [1, 2],
    syntax: "off | path replacement",
    doc: "Rewrites the path attribute of Set-Cookie fields.",
    initial: () => [],
    defaultText: "off",
    repeat: true,
    read: readCookiePath,
  }),
  proxy_cookie_flags: directive<readonly CookieFlags[] | "off">({
    in: HTTP_LOCATION,
    args: [1, 4],
    syntax: "off | cookie [flag ...]",
    doc: "Sets or removes the flags of cookies: secure, httponly, samesite=….",
    initial: () => [],
    defaultText: "off",
    repeat: true,
    read: readCookieFlags,
  }),
  proxy_send_lowat: size({ in: HTTP_LOCATION, default: 0, doc: "Ignored on Linux, as by nginx." }),
  proxy_set_header: setHeader({
    doc: "Sets or replaces a field of the request to the server; an empty value removes it. Inherited where a block sets none. Content-Length and Transfer-Encoding are always those of the body that is sent, whatever is set; with an empty Content-Length, a request without a body has none.",
    defaultText: 'Host $proxy_host; Connection ""',
  }),
  proxy_headers_hash_max_size: number({
    in: HTTP_LOCATION,
    doc: "Accepted for compatibility: the table grows by itself.",
    defaultText: "512",
  }),
  proxy_headers_hash_bucket_size: number({
    in: HTTP_LOCATION,
    doc: "Accepted for compatibility: the table grows by itself.",
    defaultText: "64",
  }),
  proxy_set_body: oneTemplate({
    in: HTTP_LOCATION,
    syntax: "value",
    doc: "The body of the request to the server in place of the client's.",
  }),
  proxy_method: oneTemplate({
    in: HTTP_LOCATION,
    syntax: "value",
    doc: "The method of the request to the server in place of the client's.",
  }),
  proxy_pass_trailers: flag({
    in: HTTP_LOCATION,
    default: false,
    doc: "Passes the trailer fields of a server's chunked response on, but for those that mean nothing behind a body, such as Set-Cookie, Content-Type or Content-Length.",
  }),
  proxy_cache_convert_head: flag({
    in: HTTP_LOCATION,
    default: true,
    doc: "Asks the server with GET in place of HEAD, so that its answer can be kept. If off, the key should have the method.",
  }),
  proxy_http_version: enumeration({
    in: HTTP_LOCATION,
    values: ["1.0", "1.1", "2"],
    default: "1.1",
    doc: "The HTTP version spoken to servers. With 2, one connection carries up to `keepalive_streams` requests at a time; over TLS it is asked for by ALPN, in clear the server has to expect it.",
  }),
};
