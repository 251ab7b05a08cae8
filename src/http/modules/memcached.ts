import { bitmask, number } from "../../config/directives.ts";
import type { SettingsOf } from "../../config/schema.ts";
import { FieldSet } from "../../wire/http1/field_set.ts";
import { getCommand } from "../../wire/memcached.ts";
import { HTTP_LOCATION } from "../conf/contexts.ts";
import { defineModule } from "../conf/module.ts";
import { OK } from "../core/codes.ts";
import { discardBody } from "../core/discard_body.ts";
import { logError } from "../core/log_context.ts";
import { type Template, template } from "../core/script.ts";
import type { Handler } from "../core/types.ts";
import { setContentType } from "../files/content_type.ts";
import { upstreamDirectives } from "../upstream/directives.ts";
import {
  type Gateway,
  type GatewayRead,
  type GatewaySettings,
  gatewayHandler,
  gatewayHosts,
  gatewayPass,
  gatewaySettings,
} from "../upstream/gateway.ts";
import { memcachedProtocol } from "../upstream/memcached.ts";
import type { UpstreamSettings } from "../upstream/settings.ts";

const shared = upstreamDirectives("memcached", []);

const directives = {
  memcached_pass: gatewayPass(
    "Answers with what a memcached server, or an upstream group of them, has under the key `$memcached_key`, which `set` gives; 404 where it has nothing. With variables, too, unlike in nginx.",
  ),
  memcached_bind: shared.memcached_bind,
  memcached_socket_keepalive: shared.memcached_socket_keepalive,
  memcached_connect_timeout: shared.memcached_connect_timeout,
  memcached_send_timeout: shared.memcached_send_timeout,
  memcached_read_timeout: shared.memcached_read_timeout,
  memcached_buffer_size: shared.memcached_buffer_size,
  memcached_next_upstream: bitmask({
    in: HTTP_LOCATION,
    values: ["error", "timeout", "invalid_response", "not_found", "off"],
    default: ["error", "timeout"],
    doc: "In which cases a request goes to the next server.",
  }),
  memcached_next_upstream_tries: shared.memcached_next_upstream_tries,
  memcached_next_upstream_timeout: shared.memcached_next_upstream_timeout,
  memcached_gzip_flag: number({
    in: HTTP_LOCATION,
    default: 0,
    doc: "A value that was stored with one of these flags is compressed: its response has `Content-Encoding: gzip`.",
  }),
};

type Raw = SettingsOf<typeof directives>;

interface MemcachedSettings extends GatewaySettings {
  /** `$memcached_key`; undefined where nothing is passed on. */
  readonly key: Template | undefined;
}

const gateway: Gateway = {
  split: (address) => ({ scheme: "memcached://", secure: false, address }),
  chunksAllowed: false,
};

/** ngx_http_memcached_module */
export const memcached = defineModule({
  name: "http_memcached",
  directives,
  hosts: (http) => gatewayHosts(http, directives.memcached_pass, gateway),
  build(raw, place, around: MemcachedSettings | undefined): MemcachedSettings {
    const read: GatewayRead = { own: raw.memcached_pass, upstream: (name) => passage(raw, name) };
    const settings = gatewaySettings(gateway, read, place, around);
    return { ...settings, key: settings.pass && template(place.scope, settings.pass.at, "$memcached_key") };
  },
  content: ({ key, ...settings }) => (key === undefined ? undefined : handler(settings, key)),
});

/** What of the passage cannot be set is as ngx_http_memcached_create_loc_conf has it. */
function passage(raw: Raw, place: string): UpstreamSettings {
  return {
    protocol: memcachedProtocol(raw.memcached_gzip_flag),
    place,
    passTrailers: false,
    hides: [],
    intercept404: true,
    connectTimeout: raw.memcached_connect_timeout,
    sendTimeout: raw.memcached_send_timeout,
    readTimeout: raw.memcached_read_timeout,
    buffering: false,
    requestBuffering: true,
    bufferSize: raw.memcached_buffer_size,
    memory: 0,
    tempPath: { path: "", levels: [] },
    maxTempFile: 0,
    tempWriteSize: 0,
    earlyHints: [],
    limitRate: undefined,
    next: conditions(raw.memcached_next_upstream),
    nextTries: raw.memcached_next_upstream_tries,
    nextTimeout: raw.memcached_next_upstream_timeout,
    interceptErrors: true,
    ignoreClientAbort: false,
    store: undefined,
    passRequestHeaders: false,
    passRequestBody: false,
    forceRanges: true,
    socketKeepalive: raw.memcached_socket_keepalive,
    socketRcvbuf: 0,
    socketSndbuf: 0,
    bind: raw.memcached_bind,
    hidden: NO_FIELDS,
    passesServer: false,
    passesDate: false,
    ignored: new Set(),
  };
}

const NO_FIELDS = new FieldSet([]);

/** By the names that they have in other modules. */
function conditions(named: Raw["memcached_next_upstream"]): ReadonlySet<string> {
  if (named.has("off")) return new Set();
  return new Set([...named].map((name) => NAMES[name] ?? name));
}

const NAMES: Readonly<Record<string, string>> = { invalid_response: "invalid_header", not_found: "http_404" };

function handler(settings: GatewaySettings, key: Template): Handler {
  const pass = gatewayHandler(settings, (request) => {
    const wanted = key.render(request);
    if (wanted === "") {
      logError(request, "error", 'the "$memcached_key" variable is not set');
      return undefined;
    }
    return { head: getCommand(wanted), headRequest: request.method === "HEAD" };
  });
  return (request) => {
    const { method } = request;
    if (method !== "GET" && method !== "HEAD") return 405;
    const code = discardBody(request);
    if (code !== OK) return code;
    setContentType(request);
    return pass(request);
  };
}
