import {
  bitmask,
  block,
  bufs,
  directive,
  enumeration,
  flag,
  msec,
  number,
  offset,
  refuse,
  sec,
  size,
  text,
} from "../../config/directives.ts";
import { defineDirectives, fail } from "../../config/schema.ts";
import type { Directive } from "../../config/types.ts";
import { parseMsec, parseSec } from "../../config/values.ts";
import { type ErrorPage, GZIP_PROXIED, type GzipDisable, type SymlinkRule } from "../core/location.ts";
import { oneTemplate, type Template, template } from "../core/script.ts";
import type { TempPath } from "../core/temp_file.ts";
import { readDisableSymlinks } from "../files/open_file.ts";
import { type OpenFileCache, readOpenFileCache } from "../files/open_file_cache.ts";
import { HTTP_IF, HTTP_LOCATION, LOCATION } from "./contexts.ts";
import { readErrorPage, readGzipDisable, readMethods, readTempPath, usesVariable } from "./core_readers.ts";

export interface KeepaliveTimeout {
  /** ms; 0 switches keep-alive off. */
  readonly timeout: number;
  /** The `Keep-Alive: timeout=` field's seconds; 0 for none. */
  readonly header: number;
}

const BESIDE_THE_LOOP =
  "Accepted for compatibility: what of a file is not in memory is always read without blocking the worker, as with `aio threads`.";
const THROUGH_THE_CACHE = "Accepted for compatibility: files are always read through the system's page cache.";

/** The core's settings of a location. */
export const coreDirectives = defineDirectives("http_core", {
  default_type: text({
    in: HTTP_LOCATION,
    default: "text/plain",
    doc: "The media type of files whose extension `types` does not name.",
  }),
  types: directive<readonly Directive[] | undefined>({
    in: HTTP_LOCATION,
    args: [0, 0],
    block: "free",
    syntax: "{ type extension ...; ... }",
    doc: "Maps file extensions to media types.",
    initial: () => undefined,
    defaultText: "{ text/html html; image/gif gif; image/jpeg jpg; }",
    repeat: true,
    read: (at, _scope, previous) => [...(previous ?? []), ...(at.block ?? [])],
  }),
  types_hash_max_size: number({
    in: HTTP_LOCATION,
    doc: "Accepted for compatibility: the table of types grows by itself.",
    defaultText: "1024",
  }),
  types_hash_bucket_size: number({
    in: HTTP_LOCATION,
    doc: "Accepted for compatibility: the table of types grows by itself.",
    defaultText: "64",
  }),
  root: directive<Template | undefined>({
    in: HTTP_IF,
    args: [1, 1],
    syntax: "path",
    doc: "The directory of the files: the URI is appended to it. Relative to the prefix.",
    initial: () => undefined,
    defaultText: "html",
    read(at, scope) {
      if (scope.values.has(coreDirectives.specs.alias))
        fail(at, `"root" directive is duplicate, "alias" directive was specified earlier`);
      const [path] = at.args;
      if (usesVariable(path, "document_root"))
        fail(at, 'the $document_root variable cannot be used in the "root" directive');
      if (usesVariable(path, "realpath_root"))
        fail(at, 'the $realpath_root variable cannot be used in the "root" directive');
      return template(scope, at, path.length > 1 && path.endsWith("/") ? path.slice(0, -1) : path);
    },
  }),
  alias: directive<Template | undefined>({
    in: LOCATION,
    args: [1, 1],
    syntax: "path",
    doc: "The path that stands in the place of the location's name in the URI. Relative to the prefix.",
    initial: () => undefined,
    read(at, scope) {
      if (scope.values.has(coreDirectives.specs.root))
        fail(at, `"alias" directive is duplicate, "root" directive was specified earlier`);
      if (scope.directive.args.at(-1)?.startsWith("@"))
        fail(at, 'the "alias" directive cannot be used inside the named location');
      return template(scope, at, at.args[0]);
    },
  }),
  client_max_body_size: offset({
    in: HTTP_LOCATION,
    default: 1024 * 1024,
    doc: "The longest request body taken; a longer one gets 413. 0 takes any.",
  }),
  client_body_buffer_size: size({
    in: HTTP_LOCATION,
    default: 16 * 1024,
    doc: "How much of a request's body is held in memory; what is longer goes to a temporary file.",
  }),
  client_body_timeout: msec({
    in: HTTP_LOCATION,
    default: 60_000,
    doc: "How long a client may pause between two parts of its body; then it gets 408.",
  }),
  client_body_temp_path: directive<TempPath>({
    in: HTTP_LOCATION,
    args: [1, 4],
    syntax: "path [level1 [level2 [level3]]]",
    doc: "Where request bodies that do not fit in memory are written, with up to three levels of subdirectories.",
    initial: () => ({ path: "client_body_temp", levels: [] }),
    defaultText: "client_body_temp",
    read: readTempPath,
  }),
  client_body_in_file_only: enumeration({
    in: HTTP_LOCATION,
    values: ["off", "on", "clean"],
    default: "off",
    doc: "Writes every request body to a file: `on` keeps the file, `clean` removes it after the request.",
  }),
  client_body_in_single_buffer: flag({
    in: HTTP_LOCATION,
    default: false,
    doc: "Keeps a request body in one buffer; here a body in memory is always handed over whole to variables.",
  }),
  satisfy: enumeration({
    in: HTTP_LOCATION,
    values: ["all", "any"],
    default: "all",
    doc: "Whether all access modules must allow a request, or any one is enough.",
  }),
  auth_delay: msec({
    in: HTTP_LOCATION,
    default: 0,
    doc: "Delays 401 answers, so that passwords cannot be tried quickly.",
  }),
  internal: directive<boolean>({
    in: LOCATION,
    args: [0, 0],
    syntax: "",
    doc: "The location answers internal redirects only; others get 404.",
    initial: () => false,
    read: () => true,
  }),
  sendfile: flag({
    in: HTTP_IF,
    default: true,
    doc: "Whether the kernel sends files without copying them through the worker: with the io_uring engine, where no filter changes the body and no rate is limited. What is not in memory is read first, without blocking the worker.",
  }),
  sendfile_max_chunk: size({
    in: HTTP_LOCATION,
    default: 2 * 1024 * 1024,
    doc: "How much of a file is sent by one call of sendfile() at most; no more than 2 MiB in any case, so that other connections have their turn.",
  }),
  subrequest_output_buffer_size: size({
    in: HTTP_LOCATION,
    default: 4096,
    doc: "How large a subrequest's response may be that is kept in memory, as `include` with `set` does it (SSI). A larger one ends the request.",
  }),
  aio: text({
    in: HTTP_LOCATION,
    default: "off",
    syntax: "on|off|threads[=pool]",
    doc: BESIDE_THE_LOOP,
    check(value, at) {
      if (!/^(?:on|off|threads(?:=.*)?)$/s.test(value)) refuse(at, "invalid value");
    },
  }),
  aio_write: flag({
    in: HTTP_LOCATION,
    default: false,
    doc: "Accepted for compatibility: temporary files are always written without blocking the worker.",
  }),
  read_ahead: size({ in: HTTP_LOCATION, default: 0, doc: THROUGH_THE_CACHE }),
  directio: offset({ in: HTTP_LOCATION, words: { off: "off" }, default: "off", doc: THROUGH_THE_CACHE }),
  directio_alignment: offset({ in: HTTP_LOCATION, default: 512, doc: THROUGH_THE_CACHE }),
  output_buffers: bufs({
    in: HTTP_LOCATION,
    default: { count: 2, size: 32_768 },
    doc: "Accepted for compatibility: files are read in pieces of 64 KiB, into memory that is taken while a read lasts.",
  }),
  tcp_nopush: flag({
    in: HTTP_LOCATION,
    default: false,
    doc: "Accepted for compatibility: a response's head and the beginning of its body leave together anyway.",
  }),
  tcp_nodelay: flag({
    in: HTTP_LOCATION,
    default: true,
    doc: "Sets TCP_NODELAY, so that small packets are not held back.",
  }),
  send_timeout: msec({
    in: HTTP_LOCATION,
    default: 60_000,
    doc: "How long a client may take nothing of a response before the connection is closed.",
  }),
  send_lowat: size({ in: HTTP_LOCATION, default: 0, doc: "Ignored on Linux, as by nginx." }),
  postpone_output: size({
    in: HTTP_LOCATION,
    default: 1460,
    doc: "How many bytes are sent at least while a response waits for subrequests. Other output is gathered within a turn of the event loop.",
  }),
  limit_rate: oneTemplate({
    in: HTTP_IF,
    syntax: "rate",
    doc: "Bytes a second a response is sent with; 0 for no limit. May hold variables.",
    defaultText: "0",
  }),
  limit_rate_after: oneTemplate({
    in: HTTP_IF,
    syntax: "size",
    doc: "How much of a response is sent before limit_rate applies.",
    defaultText: "0",
  }),
  keepalive_time: msec({
    in: HTTP_LOCATION,
    default: 3_600_000,
    doc: "How long a connection may serve requests; it is closed after the request that is then at work.",
  }),
  keepalive_timeout: directive<KeepaliveTimeout>({
    in: HTTP_LOCATION,
    args: [1, 2],
    syntax: "timeout [header_timeout]",
    doc: "How long an idle client connection stays open; 0 closes it after each response. The second value is sent as `Keep-Alive: timeout=`.",
    initial: () => ({ timeout: 75_000, header: 0 }),
    defaultText: "75s",
    read(at) {
      const timeout = parseMsec(at.args[0]) ?? refuse(at, "invalid value");
      const header = at.args.length < 2 ? 0 : (parseSec(at.args[1]) ?? refuse(at, "invalid value"));
      return { timeout, header };
    },
  }),
  http2_chunk_size: size({
    in: HTTP_LOCATION,
    default: 8 * 1024,
    doc: "The most that is sent of a response in one frame of HTTP/2, so that others have their turn.",
    check: (value, at) => (value === 0 ? fail(at, "the http2 chunk size cannot be zero") : undefined),
  }),
  keepalive_min_timeout: msec({
    in: HTTP_LOCATION,
    default: 0,
    doc: "How long an idle connection is kept at least when workers leave, before it may be closed.",
  }),
  keepalive_requests: number({ in: HTTP_LOCATION, default: 1000, doc: "How many requests one connection may make." }),
  keepalive_disable: bitmask({
    in: HTTP_LOCATION,
    values: ["none", "msie6", "safari"],
    default: ["msie6"],
    doc: "Closes connections of browsers that misbehave with keep-alive.",
  }),
  lingering_close: enumeration({
    in: HTTP_LOCATION,
    values: ["off", "on", "always"],
    default: "on",
    doc: "Reads on what the client still sends before closing, so that it gets to see the answer. Unless it is off, a worker that shuts down ends idle connections in this way as well, for a second at most.",
  }),
  lingering_time: msec({ in: HTTP_LOCATION, default: 30_000, doc: "The longest time of a lingering close." }),
  lingering_timeout: msec({
    in: HTTP_LOCATION,
    default: 5_000,
    doc: "How long a lingering close waits for more from the client, and how long a client of HTTP/2 has to acknowledge that its connection is about to end.",
  }),
  reset_timedout_connection: flag({
    in: HTTP_LOCATION,
    default: false,
    doc: "Resets connections that timed out instead of closing them.",
  }),
  absolute_redirect: flag({ in: HTTP_LOCATION, default: true, doc: "Redirects that Holdfast makes are absolute." }),
  server_name_in_redirect: flag({
    in: HTTP_LOCATION,
    default: false,
    doc: "Uses the first server_name in redirects instead of the request's Host.",
  }),
  port_in_redirect: flag({ in: HTTP_LOCATION, default: true, doc: "Puts the port into absolute redirects." }),
  msie_padding: flag({
    in: HTTP_LOCATION,
    default: true,
    doc: "Pads error pages for old Internet Explorer and Chrome to 512 bytes.",
  }),
  msie_refresh: flag({
    in: HTTP_LOCATION,
    default: false,
    doc: "Redirects old Internet Explorer with a refresh page.",
  }),
  log_not_found: flag({ in: HTTP_LOCATION, default: true, doc: "Logs missing files in the error log." }),
  log_subrequest: flag({ in: HTTP_LOCATION, default: false, doc: "Logs subrequests in the access log." }),
  recursive_error_pages: flag({
    in: HTTP_LOCATION,
    default: false,
    doc: "Lets an error that arises in an error page have its own error page.",
  }),
  server_tokens: enumeration({
    in: HTTP_LOCATION,
    values: ["off", "on", "build"],
    default: "on",
    doc: "Whether the version is shown in the Server field and on error pages.",
  }),
  if_modified_since: enumeration({
    in: HTTP_LOCATION,
    values: ["off", "exact", "before"],
    default: "exact",
    doc: "How If-Modified-Since is compared with a response's date.",
  }),
  max_ranges: number({
    in: HTTP_LOCATION,
    default: Number.MAX_SAFE_INTEGER,
    defaultText: "—",
    doc: "How many ranges a request may ask for; with 0, ranges are off.",
  }),
  chunked_transfer_encoding: flag({
    in: HTTP_LOCATION,
    default: true,
    doc: "Chunked responses to HTTP/1.1 clients; off closes the connection instead.",
  }),
  etag: flag({ in: HTTP_LOCATION, default: true, doc: "Sends an ETag for static files." }),
  gzip_vary: flag({
    in: HTTP_LOCATION,
    default: false,
    doc: "Says `Vary: Accept-Encoding` in responses that `gzip`, `gunzip`, `gzip_static` and the like apply to, in whatever coding they are.",
  }),
  gzip_http_version: enumeration({
    in: HTTP_LOCATION,
    values: ["1.0", "1.1"],
    default: "1.1",
    doc: "The oldest version of HTTP that a request must have for its response to be compressed by gzip.",
  }),
  gzip_proxied: bitmask({
    in: HTTP_LOCATION,
    values: GZIP_PROXIED,
    default: ["off"],
    doc: "Which responses are compressed by gzip for requests that have come through a proxy, which adds Via: by Expires, Cache-Control, the absence of Last-Modified or ETag, or Authorization in the request.",
  }),
  gzip_disable: directive<GzipDisable | undefined>({
    in: HTTP_LOCATION,
    args: [1, Number.POSITIVE_INFINITY],
    syntax: "regex ...",
    doc: "Clients whose User-Agent matches a pattern, in any casing, get nothing compressed by gzip; `msie6` stands for old Internet Explorer.",
    initial: () => undefined,
    repeat: true,
    read: readGzipDisable,
  }),
  error_page: directive<readonly ErrorPage[]>({
    in: HTTP_IF,
    args: [2, Number.POSITIVE_INFINITY],
    syntax: "code ... [=[response]] uri",
    doc: "What is served instead of an error: another URI, a named location, or a redirect; `=` changes the status.",
    initial: () => [],
    repeat: true,
    read: readErrorPage,
  }),
  post_action: text({
    in: HTTP_IF,
    doc: "A URI or a named location that the request is redirected to when its response has been sent. The answer goes nowhere, and the request is logged there.",
  }),
  open_file_cache: directive<OpenFileCache | undefined>({
    in: HTTP_LOCATION,
    args: [1, 2],
    syntax: "off | max=N [inactive=time]",
    doc: "Keeps what is known of up to N files and directories, and files open, for as long as they are used within that time (60s).",
    initial: () => undefined,
    defaultText: "off",
    read: readOpenFileCache,
  }),
  open_file_cache_valid: sec({
    in: HTTP_LOCATION,
    default: 60,
    doc: "How long what is kept of a file is believed before the file is looked at again.",
  }),
  open_file_cache_min_uses: number({
    in: HTTP_LOCATION,
    default: 1,
    doc: "How often a file must have been used to be kept open.",
  }),
  open_file_cache_errors: flag({
    in: HTTP_LOCATION,
    default: false,
    doc: "Keeps errors too: that a file is missing, or must not be read.",
  }),
  disable_symlinks: directive<SymlinkRule | undefined>({
    in: HTTP_LOCATION,
    args: [1, 2],
    syntax: "off | on|if_not_owner [from=part]",
    doc: "Refuses files whose path has symbolic links (or such as belong to another owner than what they lead to); the part after `from=` is not checked.",
    initial: () => undefined,
    defaultText: "off",
    read: readDisableSymlinks,
  }),
  limit_except: directive<ReadonlySet<string> | undefined>({
    in: LOCATION,
    args: [1, Number.POSITIVE_INFINITY],
    block: "limit_except",
    syntax: "method ... { … }",
    doc: "Limits all methods but the ones named: what stands in the block holds for the others. GET includes HEAD.",
    initial: () => undefined,
    inherit: false,
    read: readMethods,
  }),
});

/** `http`, `server` and `location`: the blocks themselves. */
export const blockDirectives = defineDirectives("http_core_blocks", {
  http: block({ in: ["main"], context: "http", doc: "Holds the configuration of everything HTTP." }),
  server: {
    ...block({ in: ["http"], context: "server", repeat: true, doc: "A virtual server." }),
    sealable: "half",
  },
  location: directive<boolean>({
    in: ["server", "location"],
    args: [1, 2],
    block: "location",
    syntax: "[ = | ~ | ~* | ^~ ] uri { … } | @name { … }",
    doc: "The configuration of requests whose URI begins with, equals or matches this.",
    initial: () => false,
    inherit: false,
    repeat: true,
    sealable: true,
    read: () => true,
  }),
});
