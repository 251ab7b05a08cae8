import type { Unresolved } from "../../conf/upstreams.ts";
import { logError } from "../../core/log_context.ts";
import type { Request } from "../../core/request.ts";
import type { PassedTo } from "../../core/upstream.ts";
import type { ProxySettings } from "./build_proxy.ts";
import { type FixedPass, passedTo, type Scheme, schemeOf, splitUrl } from "./pass_url.ts";

/** The target of a proxy_pass with variables whose host has to be resolved. */
export interface UnresolvedPass extends PassedTo, Scheme {
  readonly host: string;
  readonly uri: string;
  opening: string | undefined;
  tls: undefined;
  readonly resolve: Unresolved;
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
  if (!("group" in upstream)) return { ...place, resolve: upstream };
  return { ...place, upstream };
}
