import type { Request } from "../core/request.ts";
import type { CacheSettings } from "./settings.ts";

/** Whether any of the strings is neither empty nor 0 (ngx_http_test_predicates): …_cache_bypass, …_no_cache. */
export function anyHolds(conditions: CacheSettings["bypass"], request: Request): boolean {
  for (const condition of conditions) {
    const value = condition.render(request);
    if (value !== "" && value !== "0") return true;
  }
  return false;
}

/**
 * `…_cache_max_range_offset`: whether the server may be asked for all of a resource of which the client wants a part
 * (ngx_http_upstream_cache_check_range).
 */
export function asksForAll({ headers }: Request, { maxRangeOffset }: CacheSettings): boolean {
  if (maxRangeOffset === undefined) return true;
  const range = headers.get("range");
  if (range === undefined) return true;
  if (maxRangeOffset === 0) return false;
  const start = /^bytes= *(-|[0-9]*)/i.exec(range)?.[1];
  return start === undefined || start === "" || (start !== "-" && Number(start) < maxRangeOffset);
}
