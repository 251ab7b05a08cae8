import type { SettingsOf } from "../../config/schema.ts";
import * as wire from "../../wire/scgi.ts";
import { Caches } from "../cache/cache.ts";
import { cacheDirectives } from "../cache/directives.ts";
import { type CachedGateway, cacheBefore, requestParams } from "../cache/gateway_cache.ts";
import { purgeHandler } from "../cache/purge_request.ts";
import { cacheSettings, openCaches } from "../cache/settings.ts";
import { defineModule } from "../conf/module.ts";
import type { Request } from "../core/request.ts";
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
} from "../upstream/gateway.ts";
import { param } from "../upstream/params.ts";
import { type UpstreamSettings, upstreamSettings } from "../upstream/settings.ts";

const caches = new Caches("scgi");

const directives = {
  ...upstreamDirectives("scgi", [...GATEWAY_STATUSES, "updating"]),
  ...cacheDirectives("scgi", caches, GATEWAY_STATUSES),
  scgi_pass: gatewayPass(
    "Passes requests to an SCGI server or an upstream group of them. CONTENT_LENGTH, which comes first, is always that of the body that is sent.",
  ),
  scgi_param: param,
};

type Raw = SettingsOf<typeof directives>;

type ScgiSettings = CachedGateway<Raw>;

const gateway: Gateway = {
  split: (address) => ({ scheme: "scgi://", secure: false, address }),
  chunksAllowed: false,
};

/** ngx_http_scgi_module */
export const scgi = defineModule({
  name: "http_scgi",
  directives,
  hosts: (http) => gatewayHosts(http, directives.scgi_pass, gateway),
  setup: (http) => openCaches(http, "scgi", caches, directives),
  build(raw, place, around: ScgiSettings | undefined): ScgiSettings {
    const read: GatewayRead = {
      own: raw.scgi_pass,
      upstream: (name) =>
        upstreamSettings(raw, "scgi", place, {
          protocol: cgiProtocol("scgi"),
          place: name,
          passTrailers: false,
          hides: ["status"],
        }),
    };
    const settings = gatewaySettings(gateway, read, place, around);
    const cache = settings.pass && cacheSettings(raw, "scgi", caches, place.scope);
    return { ...settings, cache, raw };
  },
  content: (settings) => (settings.pass === undefined ? purgeHandler(settings.raw, "scgi") : handler(settings)),
});

function handler(settings: ScgiSettings): Handler {
  const { raw, upstream, cache } = settings;
  const planOf = requestParams(raw.scgi_param, wire.HEADER, cache);
  return gatewayHandler(
    settings,
    (request) => ({
      head: wire.request(lengthOf(request, upstream), planOf(request).encode(request, upstream.passRequestHeaders)),
      headRequest: request.method === "HEAD",
    }),
    cacheBefore(cache),
  );
}

/** Of the body that is sent. */
function lengthOf({ body, discardBody, contentLength }: Request, { passRequestBody }: UpstreamSettings): number {
  if (!passRequestBody) return 0;
  if (body !== undefined) return body.length;
  return discardBody ? 0 : Math.max(contentLength, 0);
}
