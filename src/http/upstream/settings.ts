import { failAtEnd } from "../../config/directives.ts";
import { type Scope, valueIn } from "../../config/schema.ts";
import { FieldSet } from "../../wire/http1/field_set.ts";
import { HOP_BY_HOP } from "../../wire/http1/hop_by_hop.ts";
import type { Place } from "../conf/module.ts";
import type { Request } from "../core/request.ts";
import type { Template } from "../core/script.ts";
import type { TempPath } from "../core/temp_file.ts";
import { type Bind, earlyHints, type SharedSettings, type Store, type WithShared } from "./directives.ts";
import { isKeptBy } from "./kept_by.ts";
import type { UpstreamProtocol } from "./protocol.ts";

/** Those that the protocol's module sets. */
export interface PassageSettings {
  readonly protocol: UpstreamProtocol;
  /** The location's name for `keepalive … local`, the same text in every cycle; "" where nothing is passed on. */
  readonly place: string;
  readonly passTrailers: boolean;
  /** Fields of the response, in lower case, that …_pass_header has to name to have them passed on; X-Accel-… always are such. */
  readonly hides: readonly string[];
  /** A 404 is the core's, whether there is an error_page for it or not: memcached's. */
  readonly intercept404?: boolean;
}

/** A location's settings for passing requests to servers (ngx_http_upstream_conf_t). Times in ms. */
export interface UpstreamSettings extends PassageSettings {
  readonly connectTimeout: number;
  readonly sendTimeout: number;
  readonly readTimeout: number;
  readonly buffering: boolean;
  readonly requestBuffering: boolean;
  /** The largest head of a response. */
  readonly bufferSize: number;
  /** Body bytes held in memory for a client slower than the server. */
  readonly memory: number;
  readonly tempPath: TempPath;
  /** 0: none. */
  readonly maxTempFile: number;
  /** How much is written to it at once. */
  readonly tempWriteSize: number;
  /** `early_hints`: 103 responses are passed on if one of these is neither empty nor 0. */
  readonly earlyHints: readonly Template[];
  readonly limitRate: Template | undefined;
  readonly next: ReadonlySet<string>;
  /** 0: all servers. */
  readonly nextTries: number;
  /** 0: no limit. */
  readonly nextTimeout: number;
  readonly interceptErrors: boolean;
  /** The exchange with the server goes on without a client: …_ignore_client_abort, or because the answer is stored. */
  readonly ignoreClientAbort: boolean;
  /** …_store and …_store_access */
  readonly store: (Store & { readonly access: number }) | undefined;
  readonly passRequestHeaders: boolean;
  readonly passRequestBody: boolean;
  readonly forceRanges: boolean;
  readonly socketKeepalive: boolean;
  /** SO_RCVBUF and SO_SNDBUF, 0 for the system's. */
  readonly socketRcvbuf: number;
  readonly socketSndbuf: number;
  readonly bind: Bind | undefined;
  /** Response fields that are not passed on, hop-by-hop fields included. */
  readonly hidden: FieldSet;
  /** Server and Date are the server's, although its module hides them. */
  readonly passesServer: boolean;
  readonly passesDate: boolean;
  /** Lower-case names of response fields whose meaning is ignored. */
  readonly ignored: ReadonlySet<string>;
}

/** How a location rewrites response fields; undefined if it has no rules. */
export interface ResponseRules {
  readonly location: ((request: Request, value: string) => string | undefined) | undefined;
  readonly refresh: ((request: Request, value: string) => string) | undefined;
  readonly cookie: ((request: Request, value: string) => string) | undefined;
}

/** How a location passes requests on, for what may answer in place of a server: the cache. */
export interface Passing {
  readonly settings: UpstreamSettings;
  readonly rules: ResponseRules;
  /** Passes the request to a server. */
  readonly pass: (request: Request) => void;
}

/** What all protocols hide so. */
const HIDDEN = ["x-accel-expires", "x-accel-redirect", "x-accel-limit-rate", "x-accel-buffering", "x-accel-charset"];

/** Of locations that pass nothing on, by what was read for them: most share it. Contradictions were looked for. */
const unused = new WeakMap<object, UpstreamSettings>();

/**
 * Makes these settings from what `upstreamDirectives(prefix)` read for a location. Contradictory buffer sizes are
 * refused. `fixed`: those that the module has no directives for.
 */
export function upstreamSettings<P extends string, F extends keyof SharedSettings = never>(
  raw: Omit<WithShared<P>, `${P}_${F}`>,
  prefix: P,
  { http, scope }: Place,
  passage: PassageSettings,
  fixed?: Pick<SharedSettings, F>,
): UpstreamSettings {
  const known = passage.place === "" ? unused.get(raw) : undefined;
  if (known !== undefined) return known;
  const values: Readonly<Record<string, unknown>> = raw;
  const others: Partial<SharedSettings> = fixed ?? {};
  // The compiler cannot follow names that are made at run time.
  const get = <K extends keyof SharedSettings>(name: K) =>
    (name in others ? others[name] : values[`${prefix}_${name}`]) as SharedSettings[K];
  const { count, size } = get("buffers");
  const tempPath = get("temp_path");
  const passed = new Set(get("pass_header").map((name) => name.toLowerCase()));
  const passes = (name: string) => passage.hides.includes(name) && passed.has(name);
  const next = get("next_upstream");
  const stored = get("store");
  const ignored = get("ignore_headers");
  const store = stored && isKeptBy(scope, `${prefix}_store`, `${prefix}_cache`) ? stored : undefined;
  const settings: UpstreamSettings = {
    ...passage,
    connectTimeout: get("connect_timeout"),
    sendTimeout: get("send_timeout"),
    readTimeout: get("read_timeout"),
    buffering: get("buffering"),
    requestBuffering: get("request_buffering"),
    bufferSize: get("buffer_size"),
    memory: count * size,
    tempPath: tempPath.path === "" ? tempPath : { ...tempPath, path: http.cycle.path(tempPath.path) },
    maxTempFile: get("max_temp_file_size"),
    tempWriteSize: get("temp_file_write_size") ?? 64 * 1024,
    earlyHints: valueIn(scope, earlyHints).flat(),
    limitRate: get("limit_rate"),
    next: next.has("off") ? new Set() : next,
    nextTries: get("next_upstream_tries"),
    nextTimeout: get("next_upstream_timeout"),
    interceptErrors: get("intercept_errors"),
    ignoreClientAbort: get("ignore_client_abort") || store !== undefined,
    store: store && { ...store, access: get("store_access") },
    passRequestHeaders: get("pass_request_headers"),
    passRequestBody: get("pass_request_body"),
    forceRanges: get("force_ranges"),
    socketKeepalive: get("socket_keepalive"),
    socketRcvbuf: get("socket_rcvbuf"),
    socketSndbuf: get("socket_sndbuf"),
    bind: get("bind"),
    hidden: new FieldSet([
      ...[...passage.hides, ...HIDDEN].filter((name) => !passed.has(name)),
      ...get("hide_header").map((name) => name.toLowerCase()),
      ...[...HOP_BY_HOP].filter((key) => key !== "upgrade"),
      ...http.hiddenFields,
    ]),
    passesServer: passes("server"),
    passesDate: passes("date"),
    // A module that buffers nothing cannot be told to.
    ignored: "buffering" in others ? new Set([...ignored, "x-accel-buffering"]) : ignored,
  };
  if (!("buffers" in others)) {
    checkBuffers(prefix, settings, count, size, get("busy_buffers_size"), get("temp_file_write_size"), http.scope);
  }
  if (tempPath.path !== "") http.directories.add(settings.tempPath.path);
  if (passage.place === "") unused.set(raw, settings);
  return settings;
}

/** nginx's errors about contradictory buffer sizes, found when the `http` block is complete. */
function checkBuffers(
  prefix: string,
  { bufferSize, maxTempFile }: UpstreamSettings,
  count: number,
  size: number,
  busy: number | undefined,
  write: number | undefined,
  http: Scope,
): void {
  if (count < 2) failAtEnd(http, `there must be at least 2 "${prefix}_buffers"`);
  const largest = Math.max(bufferSize, size);
  const maximum = `the maximum of the value of "${prefix}_buffer_size" and one of the "${prefix}_buffers"`;
  if (busy !== undefined && busy < largest) {
    failAtEnd(http, `"${prefix}_busy_buffers_size" must be equal to or greater than ${maximum}`);
  }
  if ((busy ?? 2 * largest) > (count - 1) * size) {
    failAtEnd(
      http,
      `"${prefix}_busy_buffers_size" must be less than the size of all "${prefix}_buffers" minus one buffer`,
    );
  }
  if (write !== undefined && write < largest) {
    failAtEnd(http, `"${prefix}_temp_file_write_size" must be equal to or greater than ${maximum}`);
  }
  if (maxTempFile !== 0 && maxTempFile < largest) {
    failAtEnd(
      http,
      `"${prefix}_max_temp_file_size" must be equal to zero to disable temporary files usage or must be equal to or greater than ${maximum}`,
    );
  }
}
