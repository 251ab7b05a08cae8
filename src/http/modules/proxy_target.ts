import { isIP } from "node:net";
import { logError } from "../log_context.ts";
import type { Request } from "../request.ts";
import { type FixedPass, type ProxySettings, passedTo, splitUrl } from "./proxy.ts";

/** Where a proxy_pass with variables leads for one request; undefined after an error that was logged. */
export function evaluatePass(request: Request, settings: ProxySettings): FixedPass | undefined {
  const { pass, upstreams } = settings;
  if (pass === undefined) return undefined;
  const url = pass.url.render(request);
  const scheme = /^http:\/\//i.exec(url)?.[0];
  if (scheme === undefined) {
    logError(request, "error", `invalid URL prefix in "${url}"`);
    return undefined;
  }
  const { host, uri } = splitUrl(url.slice(scheme.length));
  const known = upstreams.named(host);
  if (known !== undefined) return { scheme, host, ...passedTo(host), uri, upstream: known };
  const address = host.replace(/:\d+$/, "").replace(/^\[|\]$/g, "");
  if (isIP(address) !== 0 || /^unix:/i.test(host)) {
    const upstream = upstreams.dynamic(host, 80);
    if (typeof upstream !== "string") return { scheme, host, ...passedTo(host), uri, upstream };
    logError(request, "error", `${upstream} in upstream "${host}"`);
    return undefined;
  }
  logError(request, "error", `no resolver defined to resolve ${address}`);
  return undefined;
}

/** proxy_set_body's text, to follow the head. */
export function bodyAfterHead(request: Request, settings: ProxySettings): string | undefined {
  return settings.raw.proxy_set_body?.render(request);
}
