import { directive, flag, size, text, texts } from "../../../config/directives.ts";
import { warn } from "../../../config/errors.ts";
import { fail, type SettingsOf } from "../../../config/schema.ts";
import { type CompiledRegex, compileRegex } from "../../../regex/regex.ts";
import * as wire from "../../../wire/fastcgi.ts";
import { Caches } from "../../cache/cache.ts";
import { cacheDirectives } from "../../cache/directives.ts";
import { type CachedGateway, cacheBefore, requestParams } from "../../cache/gateway_cache.ts";
import { purgeHandler } from "../../cache/purge_request.ts";
import { cacheSettings, openCaches } from "../../cache/settings.ts";
import { HTTP_LOCATION } from "../../conf/contexts.ts";
import { defineModule } from "../../conf/module.ts";
import type { Location } from "../../core/location.ts";
import { upstreamDirectives } from "../../upstream/directives.ts";
import { fastcgiProtocol } from "../../upstream/fastcgi.ts";
import {
  GATEWAY_STATUSES,
  type Gateway,
  type GatewayRead,
  gatewayHandler,
  gatewayHosts,
  gatewayPass,
  gatewaySettings,
} from "../../upstream/gateway.ts";
import { param } from "../../upstream/params.ts";
import { upstreamSettings } from "../../upstream/settings.ts";
import { type PathSplit, pathInfo, scriptName } from "./split.ts";

const caches = new Caches("fastcgi");

const directives = {
  ...upstreamDirectives("fastcgi", [...GATEWAY_STATUSES, "updating"]),
  ...cacheDirectives("fastcgi", caches, GATEWAY_STATUSES),
  fastcgi_pass: gatewayPass("Passes requests to a FastCGI server or an upstream group of them."),
  fastcgi_param: param,
  fastcgi_index: text({
    in: HTTP_LOCATION,
    default: "",
    doc: "What $fastcgi_script_name has behind a URI that ends with a slash.",
  }),
  fastcgi_split_path_info: directive<CompiledRegex | undefined>({
    in: HTTP_LOCATION,
    args: [1, 1],
    syntax: "regex",
    doc: "Splits the URI: the regex's first capture is $fastcgi_script_name, its second $fastcgi_path_info.",
    initial: () => undefined,
    repeat: true,
    read(at) {
      const [pattern] = at.args;
      const regex = compileRegex(pattern, false);
      if ("error" in regex) fail(at, regex.error);
      if (regex.captures !== 2) fail(at, `pattern "${pattern}" must have 2 captures`);
      return regex;
    },
  }),
  fastcgi_catch_stderr: texts({
    in: HTTP_LOCATION,
    doc: "An answer is invalid if the application writes this to its error stream before the head.",
  }),
  fastcgi_keep_conn: flag({
    in: HTTP_LOCATION,
    default: false,
    doc: "Asks the application to keep the connection open, which `keepalive` of an upstream needs.",
  }),
  fastcgi_send_lowat: size({
    in: HTTP_LOCATION,
    default: 0,
    doc: "Ignored with a warning, as by nginx on Linux.",
    check: (_value, at, scope) => warn(at, scope, `"${at.name}" is not supported, ignored`),
  }),
};

type Raw = SettingsOf<typeof directives>;

interface FastcgiSettings extends CachedGateway<Raw>, PathSplit {}

const gateway: Gateway = {
  split: (address) => ({ scheme: "fastcgi://", secure: false, address }),
  chunksAllowed: true,
};

/** ngx_http_fastcgi_module */
export const fastcgi = defineModule({
  name: "http_fastcgi",
  directives,
  variables: {
    fastcgi_script_name: { get: (request) => scriptName(request, settingsOf(request.location)) },
    fastcgi_path_info: { get: (request) => pathInfo(request, settingsOf(request.location)) },
  },
  hosts: (http) => gatewayHosts(http, directives.fastcgi_pass, gateway),
  setup: (http) => openCaches(http, "fastcgi", caches, directives),
  build(raw, place, around: FastcgiSettings | undefined): FastcgiSettings {
    const read: GatewayRead = {
      own: raw.fastcgi_pass,
      upstream: (name) =>
        upstreamSettings(raw, "fastcgi", place, {
          protocol: fastcgiProtocol(raw.fastcgi_keep_conn, raw.fastcgi_catch_stderr),
          place: name,
          passTrailers: false,
          hides: ["status"],
        }),
    };
    const settings = gatewaySettings(gateway, read, place, around);
    const cache = settings.pass && cacheSettings(raw, "fastcgi", caches, place.scope);
    return { ...settings, regex: raw.fastcgi_split_path_info, index: raw.fastcgi_index, cache, raw };
  },
  content: (settings) => (settings.pass === undefined ? purgeHandler(settings.raw, "fastcgi") : handler(settings)),
});

function settingsOf(location: Location): FastcgiSettings {
  return fastcgi.of(location);
}

function handler(settings: FastcgiSettings) {
  const { raw, upstream, cache } = settings;
  const begin = wire.beginRequest(raw.fastcgi_keep_conn);
  const planOf = requestParams(raw.fastcgi_param, wire.PAIR, cache);
  return gatewayHandler(
    settings,
    (request) => ({
      head: begin + wire.params(planOf(request).encode(request, upstream.passRequestHeaders)),
      headRequest: request.method === "HEAD",
    }),
    cacheBefore(cache),
  );
}
