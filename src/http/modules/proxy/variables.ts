import { hostText } from "../../../net/address.ts";
import type { Location } from "../../core/location.ts";
import type { Request } from "../../core/request.ts";
import type { VariableSpec } from "../../core/script.ts";
import type { ProxySettings } from "./build_proxy.ts";

/** The client's X-Forwarded-For with its address appended ($proxy_add_x_forwarded_for). */
function forwardedFor(request: Request): string {
  const address = hostText(request.remote);
  const before = request.headers.join("x-forwarded-for");
  return before === undefined ? address : `${before}, ${address}`;
}

/** $proxy_… of ngx_http_proxy_module. `settingsOf`: the module's settings in a location. */
export function proxyVariables(
  settingsOf: (location: Location) => ProxySettings,
): Readonly<Record<string, VariableSpec>> {
  /** The length of the body passed on; not found if there is none, or if it is chunked. */
  const bodyLength = (request: Request): string | undefined => {
    if (request.passedTo === undefined) return undefined;
    const set = settingsOf(request.location).raw.proxy_set_body;
    if (set !== undefined) return String(set.render(request).length);
    if (request.chunked) return request.body === undefined ? undefined : String(request.body.length);
    return request.contentLength < 0 ? undefined : String(request.contentLength);
  };
  const bodyChunked = (request: Request): string | undefined => {
    if (request.passedTo === undefined || settingsOf(request.location).raw.proxy_set_body !== undefined)
      return undefined;
    return request.chunked && request.body === undefined ? "chunked" : undefined;
  };
  return {
    proxy_host: { get: (request) => request.passedTo?.hostHeader, changeable: true },
    proxy_port: { get: (request) => request.passedTo?.port, changeable: true },
    proxy_internal_body_length: { get: bodyLength },
    proxy_internal_chunked: { get: bodyChunked },
    proxy_add_x_forwarded_for: { get: forwardedFor },
  };
}
