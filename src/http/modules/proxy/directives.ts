import { bitmask, bufs, directive, enumeration, flag, list, msec, number, size } from "../../../config/directives.ts";
import { warn } from "../../../config/errors.ts";
import { fail } from "../../../config/schema.ts";
import type { Context, Directive } from "../../../config/types.ts";
import { parseAddrPort } from "../../../net/parse_url.ts";
import { type HeadText, headText } from "../../../wire/head_text.ts";
import { namesFraming } from "../../../wire/http1/hop_by_hop.ts";
import { HTTP_LOCATION } from "../../conf/contexts.ts";
import { readTempPath } from "../../conf/core_readers.ts";
import { headTemplate, type Template, template } from "../../core/script.ts";
import type { TempPath } from "../../core/temp_file.ts";
import { type CookieFlags, type CookieRule, readCookieDomain, readCookieFlags, readCookiePath } from "./cookie.ts";
import { type RedirectRules, readRedirect } from "./redirect.ts";

const PASS: readonly Context[] = ["location", "if in location", "limit_except"];

const NEXT = [
  "error",
  "timeout",
  "invalid_header",
  "non_idempotent",
  "http_500",
  "http_502",
  "http_503",
  "http_504",
  "http_403",
  "http_404",
  "http_429",
  "updating",
  "off",
] as const;

const IGNORED = [
  "X-Accel-Redirect",
  "X-Accel-Expires",
  "X-Accel-Limit-Rate",
  "X-Accel-Buffering",
  "X-Accel-Charset",
  "Expires",
  "Cache-Control",
  "Set-Cookie",
  "Vary",
] as const;

/** A field of the request to the server; its value is a template, nothing is sent where it renders empty. */
export interface SetHeader {
  readonly name: HeadText;
  readonly value: Template<HeadText>;
}

/** A URL after `proxy_pass`, still with its variables. */
export interface PassUrl {
  readonly url: Template;
  readonly at: Directive;
}

/** `predicate` directives and rates: a template that is truthy or a number when rendered. */
const rate = (doc: string) =>
  directive<Template | undefined>({
    in: HTTP_LOCATION,
    args: [1, 1],
    syntax: "rate",
    doc,
    initial: () => undefined,
    defaultText: "0",
    read: (at, scope) => template(scope, at, at.args[0]),
  });

const oneTemplate = (doc: string) =>
  directive<Template | undefined>({
    in: HTTP_LOCATION,
    args: [1, 1],
    syntax: "value",
    doc,
    initial: () => undefined,
    read: (at, scope) => template(scope, at, at.args[0]),
  });

const names = (doc: string) =>
  list<string>({ in: HTTP_LOCATION, args: [1, 1], syntax: "field", doc, item: (at) => at.args[0] });

export const proxyDirectives = {
  proxy_pass: directive<PassUrl | undefined>({
    in: PASS,
    args: [1, 1],
    syntax: "URL",
    doc: "Passes requests to a server or an upstream group over HTTP. With a URI after the address, the part of the request's URI that matches the location is replaced by it.",
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
  proxy_buffering: flag({
    in: HTTP_LOCATION,
    default: true,
    doc: "Takes a response from the server as fast as it comes, into memory and then a temporary file; off passes it on as the client takes it.",
  }),
  proxy_request_buffering: flag({
    in: HTTP_LOCATION,
    default: true,
    doc: "Reads the whole request body before a server is chosen; off passes it on as it comes, and such a request is not tried again once begun.",
  }),
  proxy_ignore_client_abort: flag({
    in: HTTP_LOCATION,
    default: false,
    doc: "Finishes the exchange with the server though the client has gone.",
  }),
  proxy_bind: directive<{ readonly address: Template; readonly transparent: boolean } | undefined>({
    in: HTTP_LOCATION,
    args: [1, 2],
    syntax: "address [transparent] | off",
    doc: "The local address of connections to servers.",
    initial: () => undefined,
    read(at, scope) {
      const [address, word] = at.args;
      if (at.args.length === 1 && address === "off") return undefined;
      if (word !== undefined && word !== "transparent") fail(at, `invalid parameter "${word}"`);
      const made = template(scope, at, address);
      if (made.constant !== undefined && parseAddrPort(made.constant) === undefined)
        fail(at, `invalid address "${address}"`);
      if (word !== undefined) warn(at, scope, "transparent proxying is not supported on this platform, ignored");
      return { address: made, transparent: word !== undefined };
    },
  }),
  proxy_socket_keepalive: flag({
    in: HTTP_LOCATION,
    default: false,
    doc: "Switches TCP keep-alive probes on for connections to servers.",
  }),
  proxy_connect_timeout: msec({ in: HTTP_LOCATION, default: 60_000, doc: "How long connecting to a server may take." }),
  proxy_send_timeout: msec({
    in: HTTP_LOCATION,
    default: 60_000,
    doc: "How long a server may take nothing of the request.",
  }),
  proxy_send_lowat: size({ in: HTTP_LOCATION, default: 0, doc: "Ignored on Linux, as by nginx." }),
  proxy_intercept_errors: flag({
    in: HTTP_LOCATION,
    default: false,
    doc: "Serves error_page for a server's responses of 300 and above.",
  }),
  proxy_set_header: list<SetHeader>({
    in: HTTP_LOCATION,
    args: [2, 2],
    syntax: "field value",
    doc: "Sets or replaces a field of the request to the server; an empty value removes it. Inherited where a block sets none. Content-Length and Transfer-Encoding are always those of the body that is sent, whatever is set; with an empty Content-Length, a request without a body has none.",
    defaultText: 'Host $proxy_host; Connection ""',
    item(at, scope) {
      const [name, value] = at.args;
      if (value !== "" && namesFraming(name))
        warn(at, scope, `"proxy_set_header ${name}" is ignored, the framing of a body is always its own`);
      return { name: headText(name), value: headTemplate(scope, at, value) };
    },
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
  proxy_set_body: oneTemplate("The body of the request to the server in place of the client's."),
  proxy_method: oneTemplate("The method of the request to the server in place of the client's."),
  proxy_pass_request_headers: flag({
    in: HTTP_LOCATION,
    default: true,
    doc: "Whether the client's fields are passed on.",
  }),
  proxy_pass_request_body: flag({ in: HTTP_LOCATION, default: true, doc: "Whether the client's body is passed on." }),
  proxy_pass_trailers: flag({
    in: HTTP_LOCATION,
    default: false,
    doc: "Passes the trailer fields of a server's chunked response on, but for those that mean nothing behind a body, such as Set-Cookie, Content-Type or Content-Length.",
  }),
  proxy_buffer_size: size({
    in: HTTP_LOCATION,
    default: 4096,
    defaultText: "4k|8k",
    doc: "The buffer for the first part of a response; its head must fit.",
  }),
  proxy_read_timeout: msec({
    in: HTTP_LOCATION,
    default: 60_000,
    doc: "How long a server may pause within its response.",
  }),
  proxy_buffers: bufs({
    in: HTTP_LOCATION,
    default: { count: 8, size: 4096 },
    defaultText: "8 4k|8k",
    doc: "How much of one response is held in memory when the client is slower than the server.",
  }),
  proxy_busy_buffers_size: size({
    in: HTTP_LOCATION,
    defaultText: "8k|16k",
    doc: "How much of that may be on its way to the client at a time.",
  }),
  proxy_force_ranges: flag({
    in: HTTP_LOCATION,
    default: false,
    doc: "Answers range requests from a response though the server does not say that it may be ranged.",
  }),
  proxy_limit_rate: rate("Bytes a second taken from the server; needs proxy_buffering."),
  proxy_temp_path: directive<TempPath>({
    in: HTTP_LOCATION,
    args: [1, 4],
    syntax: "path [level1 [level2 [level3]]]",
    doc: "Where responses that do not fit in memory are written.",
    initial: () => ({ path: "proxy_temp", levels: [] }),
    defaultText: "proxy_temp",
    read: readTempPath,
  }),
  proxy_max_temp_file_size: size({
    in: HTTP_LOCATION,
    default: 1024 * 1024 * 1024,
    defaultText: "1024m",
    doc: "The most of a response that waits in a temporary file, never exceeded; 0 for none. Where it is full too, no more is read from the server. What the client has taken makes room.",
  }),
  proxy_temp_file_write_size: size({
    in: HTTP_LOCATION,
    defaultText: "64k",
    doc: "How much is written to a temporary file at a time, beside the event loop.",
  }),
  proxy_next_upstream: bitmask({
    in: HTTP_LOCATION,
    values: NEXT,
    default: ["error", "timeout"],
    doc: "In which cases a request goes to the next server.",
  }),
  proxy_next_upstream_tries: number({
    in: HTTP_LOCATION,
    default: 0,
    doc: "How many servers a request may be passed to; 0 for no limit.",
  }),
  proxy_next_upstream_timeout: msec({
    in: HTTP_LOCATION,
    default: 0,
    doc: "For how long a request may be passed on to further servers; 0 for no limit.",
  }),
  proxy_pass_header: names(
    "A field of the response that is passed on though it is hidden by default (Date, Server, X-Accel-…).",
  ),
  proxy_hide_header: names("A field of the response that is not passed on."),
  proxy_ignore_headers: bitmask({
    in: HTTP_LOCATION,
    values: IGNORED.map((name) => name.toLowerCase()),
    doc: "Fields of the response that are not acted upon.",
    syntax: "field ...",
  }),
  proxy_http_version: enumeration({
    in: HTTP_LOCATION,
    values: ["1.0", "1.1"],
    default: "1.1",
    doc: "The HTTP version spoken to servers.",
  }),
};
