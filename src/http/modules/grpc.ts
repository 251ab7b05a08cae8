import type { SettingsOf } from "../../config/schema.ts";
import { ESCAPE_URI, escapeUri } from "../../wire/escape.ts";
import { headWord } from "../../wire/head_text.ts";
import { defineModule, type Place } from "../conf/module.ts";
import type { Request } from "../core/request.ts";
import type { Handler } from "../core/types.ts";
import { upstreamDirectives } from "../upstream/directives.ts";
import {
  type Gateway,
  type GatewayRead,
  type GatewaySettings,
  gatewayHandler,
  gatewayHosts,
  gatewayPass,
  gatewaySettings,
  splitScheme,
} from "../upstream/gateway.ts";
import { GRPC } from "../upstream/h2/protocol.ts";
import {
  announcedLength,
  type BlockPlan,
  blockPlan,
  requestBlock,
  wantsTrailers,
} from "../upstream/h2/request_block.ts";
import { setHeader } from "../upstream/set_header.ts";
import { type UpstreamSettings, upstreamSettings } from "../upstream/settings.ts";
import { upstreamSslDirectives } from "../upstream/ssl_directives.ts";
import { upstreamTls } from "../upstream/tls_settings.ts";

const STATUSES = ["http_500", "http_502", "http_503", "http_504", "http_403", "http_404", "http_429"];

const shared = upstreamDirectives("grpc", STATUSES);

const directives = {
  grpc_pass: gatewayPass(
    "Passes requests over HTTP/2, as gRPC has them, to a server or an upstream group, with `grpcs://` before the address over TLS. Bodies go on as they come, both ways, and so do trailers.",
  ),
  grpc_set_header: setHeader({
    doc: "Sets or replaces a field of the request to the server; an empty value removes it. Inherited where a block sets none. `Host` is sent as `:authority`, and fields about a connection are never sent.",
    defaultText: "Content-Length $content_length",
  }),
  grpc_bind: shared.grpc_bind,
  grpc_socket_keepalive: shared.grpc_socket_keepalive,
  grpc_socket_rcvbuf: shared.grpc_socket_rcvbuf,
  grpc_socket_sndbuf: shared.grpc_socket_sndbuf,
  grpc_connect_timeout: shared.grpc_connect_timeout,
  grpc_send_timeout: shared.grpc_send_timeout,
  grpc_read_timeout: shared.grpc_read_timeout,
  grpc_buffer_size: shared.grpc_buffer_size,
  grpc_intercept_errors: shared.grpc_intercept_errors,
  grpc_next_upstream: shared.grpc_next_upstream,
  grpc_next_upstream_tries: shared.grpc_next_upstream_tries,
  grpc_next_upstream_timeout: shared.grpc_next_upstream_timeout,
  grpc_pass_header: shared.grpc_pass_header,
  grpc_hide_header: shared.grpc_hide_header,
  grpc_ignore_headers: shared.grpc_ignore_headers,
  ...upstreamSslDirectives("grpc"),
};

type Raw = SettingsOf<typeof directives>;

interface GrpcSettings extends GatewaySettings {
  readonly plan: BlockPlan;
}

const gateway: Gateway = { split: splitScheme("grpc://", "grpcs://"), chunksAllowed: true };

/** ngx_http_grpc_module */
export const grpc = defineModule({
  name: "http_grpc",
  directives,
  variables: {
    grpc_internal_trailers: { get: (request) => (wantsTrailers(request) ? "trailers" : undefined) },
  },
  hosts: (http) => gatewayHosts(http, directives.grpc_pass, gateway),
  build(raw, place, around: GrpcSettings | undefined): GrpcSettings {
    const read: GatewayRead = {
      own: raw.grpc_pass,
      upstream: (name) => passage(raw, place, name),
      tls: () => upstreamTls(raw, "grpc", directives, place, ["h2"]),
    };
    const settings = gatewaySettings(gateway, read, place, around);
    return { ...settings, plan: blockPlan(raw.grpc_set_header, true) };
  },
  content: (settings) => (settings.pass === undefined ? undefined : handler(settings)),
});

/** What of the passage cannot be set is as ngx_http_grpc_create_loc_conf has it. */
function passage(raw: Raw, place: Place, name: string): UpstreamSettings {
  return upstreamSettings(
    raw,
    "grpc",
    place,
    { protocol: GRPC, place: name, passTrailers: true, hides: ["date", "server"] },
    FIXED,
  );
}

const FIXED = {
  buffering: false,
  request_buffering: false,
  buffers: { count: 0, size: 0 },
  busy_buffers_size: undefined,
  temp_path: { path: "", levels: [] },
  max_temp_file_size: 0,
  temp_file_write_size: 0,
  limit_rate: undefined,
  store: undefined,
  store_access: 0,
  force_ranges: false,
  ignore_client_abort: false,
  pass_request_headers: true,
  pass_request_body: true,
};

function handler(settings: GrpcSettings): Handler {
  const { plan } = settings;
  return gatewayHandler(settings, (request, { address, secure }) => {
    const target = {
      method: request.method,
      secure,
      path: pathOf(request),
      authority: /^unix:/i.test(address) ? "localhost" : address,
      length: announcedLength(request, true),
      more: "",
    };
    return { head: requestBlock(request, plan, target, plan.replaced), headRequest: request.method === "HEAD" };
  });
}

function pathOf(request: Request): string {
  if (request.unparsedValid) return request.unparsedUri;
  const path = escapeUri(request.uri, ESCAPE_URI);
  return headWord(request.args === "" ? path : `${path}?${request.args}`);
}
