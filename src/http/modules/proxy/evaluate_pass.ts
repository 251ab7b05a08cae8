import { resolutionText } from "../../../net/name_servers.ts";
import type { Resolution } from "../../../net/resolver.ts";
import { boundary } from "../../../sys/guard.ts";
import { resolvingOf } from "../../conf/resolver.ts";
import { finalizeRequest } from "../../core/engine.ts";
import { logError } from "../../core/log_context.ts";
import type { Request } from "../../core/request.ts";
import type { PassedTo } from "../../core/upstream.ts";
import { markEmptyPassage } from "../../upstream/variables.ts";
import type { ProxySettings } from "./build_proxy.ts";
import { type FixedPass, passedTo, type Scheme, schemeOf, splitUrl } from "./pass_url.ts";

/** The target of a proxy_pass with variables whose host has to be resolved. */
export interface UnresolvedPass extends PassedTo, Scheme {
  readonly host: string;
  readonly uri: string;
  opening: string | undefined;
  tls: undefined;
  readonly resolve: { readonly name: string; readonly port: number };
}

/** The target of a proxy_pass with variables for one request; undefined after an error, which was logged. */
export function evaluatePass(request: Request, settings: ProxySettings): FixedPass | UnresolvedPass | undefined {
  const { pass, upstreams } = settings;
  if (pass === undefined) return undefined;
  const url = pass.url.render(request);
  const scheme = schemeOf(url);
  if (scheme === undefined) {
    logError(request, "error", `invalid URL prefix in "${url}"`);
    return undefined;
  }
  const rest = url.slice(scheme.scheme.length);
  const { host, uri } = splitUrl(rest);
  const place = { ...scheme, host, ...passedTo(host, scheme), uri, opening: undefined, tls: undefined };
  const upstream = upstreams.dynamic(host, scheme.defaultPort);
  if (typeof upstream === "string") {
    logError(request, "error", `${upstream} in upstream "${rest}"`);
    return undefined;
  }
  if (!("group" in upstream)) return { ...place, resolve: { name: upstream.host, port: upstream.port } };
  return { ...place, upstream };
}

/** Resolves the host and calls `then`, perhaps at once; answers 502 if it has no address. */
export function resolvePass(
  request: Request,
  settings: ProxySettings,
  pass: UnresolvedPass,
  then: (pass: FixedPass) => void,
): void {
  const { resolver, timeout } = resolvingOf(request.location);
  const { name, port } = pass.resolve;
  if (resolver === undefined) {
    logError(request, "error", `no resolver defined to resolve ${name}`);
    unresolved(request);
    return;
  }
  const done = boundary(request, (result: Resolution): void => {
    request.onAbort = undefined;
    if (request.finalized) return;
    if ("addresses" in result) {
      then({ ...pass, upstream: settings.upstreams.resolved(name, port, result.addresses) });
      return;
    }
    const { state } = result;
    logError(request, "error", `${name} could not be resolved (${state}: ${resolutionText(state)})`);
    unresolved(request);
  });
  request.upstream = undefined;
  const lookup = resolver.resolve(name, timeout, done);
  if (lookup.over) return;
  request.cleanup ??= [];
  request.cleanup.push(() => lookup.cancel());
  if (settings.upstream.ignoreClientAbort) return;
  request.onAbort = () => {
    lookup.cancel();
    logError(request, "info", "epoll_wait() reported that client prematurely closed connection");
    finalizeRequest(request, 499);
  };
}

function unresolved(request: Request): void {
  request.upstream = undefined;
  markEmptyPassage(request);
  finalizeRequest(request, 502);
}
