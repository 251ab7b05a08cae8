import { headWord } from "../../../wire/head_text.ts";
import { tryCache } from "../../cache/cached_request.ts";
import { purgeHandler } from "../../cache/purge_request.ts";
import { openCaches } from "../../cache/settings.ts";
import { defineModule } from "../../conf/module.ts";
import { finalizeRequest } from "../../core/engine.ts";
import type { Location } from "../../core/location.ts";
import { GET, type Request } from "../../core/request.ts";
import type { Handler } from "../../core/types.ts";
import { passHandler } from "../../upstream/pass_handler.ts";
import { resolveHost } from "../../upstream/resolve_host.ts";
import type { Passing } from "../../upstream/settings.ts";
import { chooseTls } from "../../upstream/tls.ts";
import { passToUpstream } from "../../upstream/upstream_request.ts";
import { buildProxy, type ProxySettings, proxyHosts } from "./build_proxy.ts";
import { proxyCaches, proxyDirectives } from "./directives.ts";
import { evaluatePass, type UnresolvedPass } from "./evaluate_pass.ts";
import type { FixedPass } from "./pass_url.ts";
import { requestHead, requestUri } from "./request_head.ts";
import { proxyVariables } from "./variables.ts";

export const proxy = defineModule({
  name: "http_proxy",
  directives: proxyDirectives,
  variables: proxyVariables(settingsOf),
  hosts: proxyHosts,
  setup: (http) => openCaches(http, "proxy", proxyCaches, proxyDirectives),
  build: buildProxy,
  content: (settings) => (settings.pass === undefined ? purgeHandler(settings.raw, "proxy") : proxyHandler(settings)),
});

function settingsOf(location: Location): ProxySettings {
  return proxy.of(location);
}

function proxyHandler(settings: ProxySettings): Handler {
  const { raw, upstream } = settings;
  const body = {
    sent: raw.proxy_set_body === undefined && upstream.passRequestBody,
    buffered: upstream.requestBuffering,
    chunksAllowed: raw.proxy_http_version !== "1.0",
  };
  const { fixed, cache } = settings;
  if (fixed === undefined || cache === undefined) return passHandler(body, (request) => start(request, settings));
  const key = keyOf(settings, fixed);
  const passing = passingOf(settings, fixed);
  return passHandler(body, (request) => {
    request.passedTo = fixed;
    tryCache(request, cache, key, passing);
  });
}

type Pass = FixedPass | UnresolvedPass;

/** Makes the cache's key, where the configuration has none (ngx_http_proxy_create_key). */
function keyOf(settings: ProxySettings, pass: Pass): (request: Request) => string {
  const address = pass.scheme + pass.host;
  return (request) => address + requestUri(request, settings, pass);
}

function passingOf(settings: ProxySettings, pass: Pass): Passing {
  return {
    settings: settings.upstream,
    rules: settings.rules,
    pass: (request) => passOn(request, settings, pass),
  };
}

function start(request: Request, settings: ProxySettings): void {
  const pass = settings.fixed ?? evaluatePass(request, settings);
  if (pass === undefined) {
    finalizeRequest(request, 500);
    return;
  }
  if (settings.cache === undefined) {
    passOn(request, settings, pass);
    return;
  }
  request.passedTo = pass;
  tryCache(request, settings.cache, keyOf(settings, pass), passingOf(settings, pass));
}

function passOn(request: Request, settings: ProxySettings, pass: Pass): void {
  if ("upstream" in pass) send(request, settings, pass);
  else
    resolveHost(request, settings.upstream, settings.upstreams, pass.resolve, (upstream) =>
      send(request, settings, { ...pass, upstream }),
    );
}

function send(request: Request, settings: ProxySettings, pass: FixedPass): void {
  const { raw } = settings;
  request.passedTo = pass;
  const wanted = request.cache?.convertsHead === true ? GET : request.method;
  const method = raw.proxy_method === undefined ? wanted : headWord(raw.proxy_method.render(request));
  const uri = requestUri(request, settings, pass);
  const body = raw.proxy_set_body?.render(request);
  const head = requestHead(request, settings, pass, method, uri, body);
  const { upstream } = pass;
  const tls =
    pass.secure && settings.tls !== undefined ? (pass.tls ?? chooseTls(request, settings.tls, upstream)) : undefined;
  passToUpstream(request, {
    settings: settings.upstream,
    rules: settings.rules,
    upstream,
    tls,
    client: request.remote,
    key: upstream.key === undefined ? "" : upstream.key.render(request),
    head,
    body,
    headRequest: method === "HEAD",
    lengthKnown:
      request.body !== undefined ||
      request.discardBody ||
      !request.chunked ||
      body !== undefined ||
      !settings.upstream.passRequestBody,
    scheme: pass.scheme,
    uri,
  });
}
