import type { Request } from "../core/request.ts";
import type { BeforePassing, GatewaySettings } from "../upstream/gateway.ts";
import { type Param, type ParamCoding, ParamsPlan } from "../upstream/params.ts";
import { tryCache } from "./cached_request.ts";
import type { CacheSettings } from "./settings.ts";

/** What FastCGI, uwsgi and SCGI have of the cache beside its directives. */

/** A location's settings, with its cache and the directives that it has read. */
export interface CachedGateway<R> extends GatewaySettings {
  readonly cache: CacheSettings | undefined;
  readonly raw: R;
}

/** The step before a request is passed on; undefined where a location has no cache. */
export function cacheBefore(cache: CacheSettings | undefined): BeforePassing | undefined {
  return cache && ((request, passing) => tryCache(request, cache, noKey, passing));
}

/** Without `…_cache_key` all requests have the same key, of which nginx warns. */
function noKey(): string {
  return "";
}

/**
 * Where the answer may be kept, the server is asked for all of it, and whether an expired one is still right
 * (ngx_http_fastcgi_cache_headers). A `…_param` of the same name takes precedence.
 */
const FOR_CACHE: readonly Param[] = [
  variable("HTTP_IF_MODIFIED_SINCE", "$upstream_cache_last_modified", ({ cache }) => cache?.lastModified ?? ""),
  variable("HTTP_IF_NONE_MATCH", "$upstream_cache_etag", ({ cache }) => cache?.etag ?? ""),
  ...["HTTP_IF_UNMODIFIED_SINCE", "HTTP_IF_MATCH", "HTTP_RANGE", "HTTP_IF_RANGE"].map(empty),
];

function variable(name: string, text: string, render: (request: Request) => string): Param {
  return { name, value: { text, constant: undefined, ofConnection: false, render }, ifNotEmpty: true };
}

function empty(name: string): Param {
  return { name, value: { text: "", constant: "", ofConnection: true, render: () => "" }, ifNotEmpty: true };
}

/** The parameters that a location's requests are made of; others where the answer may be kept. */
export function requestParams(
  params: readonly Param[],
  coding: ParamCoding,
  cache: CacheSettings | undefined,
): (request: Request) => ParamsPlan {
  const usual = new ParamsPlan(params, coding);
  if (cache === undefined) return () => usual;
  const set = new Set(params.map(({ name }) => name.toUpperCase()));
  const forCache = new ParamsPlan([...params, ...FOR_CACHE.filter(({ name }) => !set.has(name))], coding);
  return (request) => (request.cache?.cacheable === true ? forCache : usual);
}
