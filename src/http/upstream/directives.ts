import { access, bitmask, bufs, directive, flag, list, msec, number, refuse, size } from "../../config/directives.ts";
import { type DirectiveSpec, fail, type SettingsOf } from "../../config/schema.ts";
import { parseSize } from "../../config/values.ts";
import { parseAddrPort } from "../../net/parse_url.ts";
import { keepForTransparent } from "../../runtime/privileges.ts";
import { HTTP_LOCATION } from "../conf/contexts.ts";
import { readTempPath } from "../conf/core_readers.ts";
import { type Template, template } from "../core/script.ts";
import type { TempPath } from "../core/temp_file.ts";
import { refuseBeside } from "./kept_by.ts";

/** The parameters of …_next_upstream that all protocols have; a protocol adds others. */
const NEXT = ["error", "timeout", "invalid_header", "non_idempotent", "off"] as const;

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

/** `early_hints` of ngx_http_core_module: one for all protocols. */
export const earlyHints = list<readonly Template[]>({
  in: HTTP_LOCATION,
  args: [1, Number.POSITIVE_INFINITY],
  syntax: "string ...",
  doc: "Passes 103 (Early Hints) responses of servers on when a string is neither empty nor 0. Write a variable that says which clients can take them.",
  item: (at, scope) => at.args.map((text) => template(scope, at, text)),
});

/** The local address of connections to servers. */
export interface Bind {
  readonly address: Template;
  readonly transparent: boolean;
}

/** `…_store on | string` */
export interface Store {
  /** Undefined: by `root` and `alias`. */
  readonly path: Template | undefined;
}

/** A table of directives with a prefix before their names. */
export type Prefixed<P extends string, D> = { readonly [K in keyof D & string as `${P}_${K}`]: D[K] };

const names = (doc: string) =>
  list<string>({ in: HTTP_LOCATION, args: [1, 1], syntax: "field", doc, item: (at) => at.args[0] });

/**
 * The directives of all modules that pass requests to servers (ngx_http_proxy_module, …_fastcgi_, …_uwsgi_, …_scgi_),
 * without their prefix.
 */
function shared(prefix: string, others: readonly string[]) {
  const cases = [...NEXT.slice(0, 4), ...others, ...NEXT.slice(4)];
  return {
    bind: directive<Bind | undefined>({
      in: HTTP_LOCATION,
      args: [1, 2],
      syntax: "address [transparent] | off",
      doc: "The local address of connections to servers. With `transparent` it may be any, such as the client's (`$remote_addr transparent`): workers then keep CAP_NET_RAW, and the system must route the answers back.",
      initial: () => undefined,
      read(at, scope) {
        const [address, word] = at.args;
        if (at.args.length === 1 && address === "off") return undefined;
        if (word !== undefined && word !== "transparent") fail(at, `invalid parameter "${word}"`);
        const made = template(scope, at, address);
        if (made.constant !== undefined && parseAddrPort(made.constant) === undefined)
          fail(at, `invalid address "${address}"`);
        if (word !== undefined) keepForTransparent(scope, at);
        return { address: made, transparent: word !== undefined };
      },
    }),
    socket_keepalive: flag({
      in: HTTP_LOCATION,
      default: false,
      doc: "Switches TCP keep-alive probes on for connections to servers.",
    }),
    socket_rcvbuf: size({
      in: HTTP_LOCATION,
      default: 0,
      doc: "The size of the kernel's receive buffer (SO_RCVBUF) of connections to servers; 0 for the system's.",
    }),
    socket_sndbuf: size({
      in: HTTP_LOCATION,
      default: 0,
      doc: "The size of the kernel's send buffer (SO_SNDBUF) of connections to servers; 0 for the system's.",
    }),
    connect_timeout: msec({ in: HTTP_LOCATION, default: 60_000, doc: "How long connecting to a server may take." }),
    send_timeout: msec({
      in: HTTP_LOCATION,
      default: 60_000,
      doc: "How long a server may take nothing of the request.",
    }),
    read_timeout: msec({
      in: HTTP_LOCATION,
      default: 60_000,
      doc: "How long a server may pause within its response.",
    }),
    next_upstream: bitmask({
      in: HTTP_LOCATION,
      values: cases,
      default: ["error", "timeout"],
      doc: "In which cases a request goes to the next server.",
    }),
    next_upstream_tries: number({
      in: HTTP_LOCATION,
      default: 0,
      doc: "How many servers a request may be passed to; 0 for no limit.",
    }),
    next_upstream_timeout: msec({
      in: HTTP_LOCATION,
      default: 0,
      doc: "For how long a request may be passed on to further servers; 0 for no limit.",
    }),
    intercept_errors: flag({
      in: HTTP_LOCATION,
      default: false,
      doc: "Serves error_page for a server's responses of 300 and above.",
    }),
    pass_header: names(
      "A field of the response that is passed on though it is hidden by default (Date, Server, X-Accel-…).",
    ),
    hide_header: names("A field of the response that is not passed on."),
    ignore_headers: bitmask({
      in: HTTP_LOCATION,
      values: IGNORED.map((name) => name.toLowerCase()),
      doc: "Fields of the response that are not acted upon.",
      syntax: "field ...",
    }),
    pass_request_headers: flag({
      in: HTTP_LOCATION,
      default: true,
      doc: "Whether the client's fields are passed on.",
    }),
    pass_request_body: flag({ in: HTTP_LOCATION, default: true, doc: "Whether the client's body is passed on." }),
    request_buffering: flag({
      in: HTTP_LOCATION,
      default: true,
      doc: "Reads the whole request body before a server is chosen; off passes it on as it comes, and such a request is not tried again once begun.",
    }),
    ignore_client_abort: flag({
      in: HTTP_LOCATION,
      default: false,
      doc: "Finishes the exchange with the server though the client has gone.",
    }),
    buffering: flag({
      in: HTTP_LOCATION,
      default: true,
      doc: "Takes a response from the server as fast as it comes, into memory and then a temporary file; off passes it on as the client takes it.",
    }),
    buffer_size: size({
      in: HTTP_LOCATION,
      default: 4096,
      defaultText: "4k|8k",
      doc: "The buffer for the first part of a response; its head must fit.",
    }),
    buffers: bufs({
      in: HTTP_LOCATION,
      default: { count: 8, size: 4096 },
      defaultText: "8 4k|8k",
      doc: "How much of one response is held in memory when the client is slower than the server.",
    }),
    busy_buffers_size: size({
      in: HTTP_LOCATION,
      defaultText: "8k|16k",
      doc: "How much of that may be on its way to the client at a time.",
    }),
    force_ranges: flag({
      in: HTTP_LOCATION,
      default: false,
      doc: "Answers range requests from a response though the server does not say that it may be ranged.",
    }),
    limit_rate: directive<Template | undefined>({
      in: HTTP_LOCATION,
      args: [1, 1],
      syntax: "rate",
      doc: `Bytes a second taken from the server; needs ${prefix}_buffering.`,
      initial: () => undefined,
      defaultText: "0",
      read(at, scope) {
        const rate = template(scope, at, at.args[0]);
        if (rate.constant !== undefined && parseSize(rate.constant) === undefined) refuse(at, "invalid value");
        return rate;
      },
    }),
    temp_path: directive<TempPath>({
      in: HTTP_LOCATION,
      args: [1, 4],
      syntax: "path [level1 [level2 [level3]]]",
      doc: "Where responses that do not fit in memory are written.",
      initial: () => ({ path: `${prefix}_temp`, levels: [] }),
      defaultText: `${prefix}_temp`,
      read: readTempPath,
    }),
    max_temp_file_size: size({
      in: HTTP_LOCATION,
      default: 1024 * 1024 * 1024,
      defaultText: "1024m",
      doc: "The most of a response that waits in a temporary file, never exceeded; 0 for none. Where it is full too, no more is read from the server. What the client has taken makes room.",
    }),
    store: directive<Store | undefined>({
      in: HTTP_LOCATION,
      args: [1, 1],
      syntax: "on | off | string",
      doc: "Stores answers of status 200 as files, under `root` or `alias` or at the path given. A file gets its name when the answer is whole, and the time of Last-Modified. Needs buffering.",
      initial: () => undefined,
      defaultText: "off",
      read(at, scope) {
        const [path] = at.args;
        if (path === "off") return undefined;
        if (path === "") fail(at, "empty path");
        refuseBeside(at, scope, `${prefix}_cache`);
        return { path: path === "on" ? undefined : template(scope, at, path) };
      },
    }),
    store_access: access({
      in: HTTP_LOCATION,
      default: 0o600,
      defaultText: "user:rw",
      doc: "Permissions of files and directories that are stored.",
    }),
    temp_file_write_size: size({
      in: HTTP_LOCATION,
      defaultText: "64k",
      doc: "How much is written to a temporary file at a time, beside the event loop.",
    }),
  };
}

type Shared = ReturnType<typeof shared>;

/** The settings of `upstreamDirectives` by their common names: `buffer_size` for `proxy_buffer_size`. */
export type SharedSettings = SettingsOf<Shared>;

/** The settings of a table that has `upstreamDirectives(prefix)` in it. */
export type WithShared<P extends string> = SettingsOf<Prefixed<P, Shared>>;

/**
 * The directives that these modules share, as `proxy_bind`, `fastcgi_bind` …; a module spreads them into its table.
 * `others`: what …_next_upstream accepts besides (`http_500`).
 */
export function upstreamDirectives<P extends string>(prefix: P, others: readonly string[]): Prefixed<P, Shared> {
  return prefixed(prefix, shared(prefix, others));
}

/** Puts the prefix before the names of a table's directives. */
export function prefixed<P extends string, D extends Readonly<Record<string, DirectiveSpec<unknown>>>>(
  prefix: P,
  table: D,
): Prefixed<P, D> {
  const named: Record<string, DirectiveSpec<unknown>> = {};
  for (const [name, spec] of Object.entries<DirectiveSpec<unknown>>(table)) named[`${prefix}_${name}`] = spec;
  // The compiler cannot follow names that are made at run time.
  return named as Prefixed<P, D>;
}
