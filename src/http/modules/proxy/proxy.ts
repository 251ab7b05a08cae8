import { headWord } from "../../../wire/head_text.ts";
import { defineModule, type Place } from "../../conf/module.ts";
import { DONE } from "../../core/codes.ts";
import { finalizeRequest } from "../../core/engine.ts";
import type { Location } from "../../core/location.ts";
import { logError } from "../../core/log_context.ts";
import type { Request } from "../../core/request.ts";
import { readBody, readUnbuffered } from "../../core/request_body.ts";
import { chooseTls } from "../../upstream/tls.ts";
import { passToUpstream } from "../../upstream/upstream_request.ts";
import { buildProxy, type ProxySettings, passHosts } from "./build_proxy.ts";
import { proxyDirectives } from "./directives.ts";
import { evaluatePass, resolvePass } from "./evaluate_pass.ts";
import type { FixedPass } from "./pass_url.ts";
import { requestHead, requestUri } from "./request_head.ts";
import { proxyVariables } from "./variables.ts";

export const proxy = defineModule({
  name: "http_proxy",
  directives: proxyDirectives,
  variables: proxyVariables(settingsOf),
  hosts: passHosts,
  build: (raw, place) => buildProxy(raw, place, settingsAround(place)),
  content: (settings) => (settings.pass === undefined ? undefined : proxyHandler(settings)),
});

function settingsOf(location: Location): ProxySettings {
  return proxy.of(location);
}

function settingsAround({ location, parent }: Place): ProxySettings | undefined {
  return location.kind === "block" && parent !== undefined ? proxy.of(parent) : undefined;
}

/** The content handler: reads the body if it is to be buffered, then passes the request on. */
function proxyHandler(settings: ProxySettings): (request: Request) => number {
  const { raw, upstream } = settings;
  const begin = (request: Request): void => start(request, settings);
  const wantsBody = raw.proxy_set_body === undefined && upstream.passRequestBody;
  const unbuffered = !upstream.requestBuffering && wantsBody;
  const chunksAllowed = raw.proxy_http_version === "1.1";
  return (request) => {
    if (request.discardBody && wantsBody && lostItsBody(request)) {
      logError(request, "error", "the request body is gone, so the request cannot be passed on");
      return request.failure === 0 ? 502 : request.failure;
    }
    if (request.bodyEnded && request.body === undefined && !request.expectContinue) {
      begin(request);
      return DONE;
    }
    if (unbuffered && request.body === undefined && !request.discardBody && (chunksAllowed || !request.chunked)) {
      request.bodyStarted = true;
      readUnbuffered(request, begin);
      return DONE;
    }
    readBody(request, begin);
    return DONE;
  };
}

/**
 * Whether the request has lost its body: it was passed on unbuffered, or refused (413), before an error_page or
 * X-Accel-Redirect led here. Without the body it would be another request, unless it is a GET for an error page.
 */
function lostItsBody({ body, contentLength, chunked, method }: Request): boolean {
  return body === undefined && (contentLength > 0 || chunked) && method !== "GET" && method !== "HEAD";
}

function start(request: Request, settings: ProxySettings): void {
  const pass = settings.fixed ?? evaluatePass(request, settings);
  if (pass === undefined) {
    finalizeRequest(request, 500);
    return;
  }
  if ("upstream" in pass) send(request, settings, pass);
  else resolvePass(request, settings, pass, (ready) => send(request, settings, ready));
}

function send(request: Request, settings: ProxySettings, pass: FixedPass): void {
  const { raw } = settings;
  request.passedTo = pass;
  const method = raw.proxy_method === undefined ? request.method : headWord(raw.proxy_method.render(request));
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
    lengthKnown: !request.chunked || request.body !== undefined || request.discardBody,
    scheme: pass.scheme,
    uri,
  });
}
