import { number, text } from "../../config/directives.ts";
import type { SettingsOf } from "../../config/schema.ts";
import * as wire from "../../wire/uwsgi.ts";
import { Caches } from "../cache/cache.ts";
import { cacheDirectives } from "../cache/directives.ts";
import { type CachedGateway, cacheBefore, requestParams } from "../cache/gateway_cache.ts";
import { purgeHandler } from "../cache/purge_request.ts";
import { cacheSettings, openCaches } from "../cache/settings.ts";
import { HTTP_LOCATION } from "../conf/contexts.ts";
import { defineModule } from "../conf/module.ts";
import { logError } from "../core/log_context.ts";
import type { Handler } from "../core/types.ts";
import { cgiProtocol } from "../upstream/cgi.ts";
import { upstreamDirectives } from "../upstream/directives.ts";
import {
  GATEWAY_STATUSES,
  type Gateway,
  type GatewayRead,
  gatewayHandler,
  gatewayHosts,
  gatewayPass,
  gatewaySettings,
  splitScheme,
} from "../upstream/gateway.ts";
import { param } from "../upstream/params.ts";
import { upstreamSettings } from "../upstream/settings.ts";
import { upstreamSslDirectives } from "../upstream/ssl_directives.ts";
import { upstreamTls } from "../upstream/tls_settings.ts";

const modifier = (doc: string) => number({ in: HTTP_LOCATION, min: 0, max: 255, default: 0, doc });

const caches = new Caches("uwsgi");

const directives = {
  ...upstreamDirectives("uwsgi", [...GATEWAY_STATUSES, "updating"]),
  ...cacheDirectives("uwsgi", caches, GATEWAY_STATUSES),
  ...upstreamSslDirectives("uwsgi"),
  uwsgi_pass: gatewayPass(
    "Passes requests to a uwsgi server or an upstream group of them, with `suwsgi://` before the address over TLS.",
  ),
  uwsgi_param: param,
  uwsgi_modifier1: modifier(
    "The first modifier of the packet: which of the server's plugins the request is for; 0 for Python's.",
  ),
  uwsgi_modifier2: modifier("The second modifier of the packet, which the plugin explains."),
  uwsgi_string: text({
    in: HTTP_LOCATION,
    default: "",
    doc: "Bytes that are put behind the parameters of the request, in the same packet.",
  }),
};

type Raw = SettingsOf<typeof directives>;

type UwsgiSettings = CachedGateway<Raw>;

const gateway: Gateway = { split: splitScheme("uwsgi://", "suwsgi://"), chunksAllowed: false };

/** ngx_http_uwsgi_module */
export const uwsgi = defineModule({
  name: "http_uwsgi",
  directives,
  hosts: (http) => gatewayHosts(http, directives.uwsgi_pass, gateway),
  setup: (http) => openCaches(http, "uwsgi", caches, directives),
  build(raw, place, around: UwsgiSettings | undefined): UwsgiSettings {
    const read: GatewayRead = {
      own: raw.uwsgi_pass,
      upstream: (name) =>
        upstreamSettings(raw, "uwsgi", place, {
          protocol: cgiProtocol("uwsgi"),
          place: name,
          passTrailers: false,
          hides: [],
        }),
      tls: () => upstreamTls(raw, "uwsgi", directives, place),
    };
    const settings = gatewaySettings(gateway, read, place, around);
    const cache = settings.pass && cacheSettings(raw, "uwsgi", caches, place.scope);
    return { ...settings, cache, raw };
  },
  content: (settings) => (settings.pass === undefined ? purgeHandler(settings.raw, "uwsgi") : handler(settings)),
});

function handler(settings: UwsgiSettings): Handler {
  const { raw, upstream, cache } = settings;
  const planOf = requestParams(raw.uwsgi_param, wire.VARIABLE, cache);
  return gatewayHandler(
    settings,
    (request) => {
      const variables = planOf(request).encode(request, upstream.passRequestHeaders) + raw.uwsgi_string;
      if (variables.length > wire.MAX_VARIABLES) {
        logError(request, "alert", `uwsgi request is too big: ${variables.length}`);
        return undefined;
      }
      return {
        head: wire.packet(raw.uwsgi_modifier1, raw.uwsgi_modifier2, variables),
        headRequest: request.method === "HEAD",
      };
    },
    cacheBefore(cache),
  );
}
