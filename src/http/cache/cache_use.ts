import { refusalsOf, warn } from "../../config/errors.ts";
import { type DirectiveSpec, type Scope, valueIn } from "../../config/schema.ts";
import { isRead } from "../../config/scopes.ts";
import { ConfigError, type Context } from "../../config/types.ts";
import type { Template } from "../core/script.ts";
import { isKeptBy } from "../upstream/kept_by.ts";
import type { Caches } from "./cache.ts";
import type { CacheChoice } from "./directives.ts";

/** Blocks that are locations of their own, or what locations inherit from. */
const MERGED: ReadonlySet<Context> = new Set(["server", "location", "if in server", "if in location", "limit_except"]);

/**
 * What nginx says of the use of caches when the whole http block has been read (ngx_http_fastcgi_merge_loc_conf). `key`: the
 * directive without which all requests have the same key.
 */
export function checkCacheUse(
  http: Scope,
  prefix: string,
  caches: Caches,
  choice: DirectiveSpec<CacheChoice | undefined>,
  key: DirectiveSpec<Template | undefined> | undefined,
): void {
  if (!caches.areUsed(http)) return;
  const { directive } = http;
  const end = { ...directive, line: directive.endLine ?? directive.line };
  const check = (scope: Scope): void => {
    const chosen = valueIn(scope, choice);
    if (chosen === undefined || !isKeptBy(scope, `${prefix}_cache`, `${prefix}_store`)) return;
    if ("zone" in chosen && caches.find(chosen.zone) === undefined)
      refusalsOf(http).note(
        new ConfigError(`"${prefix}_cache" zone "${chosen.zone.name}" is unknown`, end),
        "complete",
      );
    else if (key !== undefined && valueIn(scope, key) === undefined)
      warn(end, http, `no "${prefix}_cache_key" for "${prefix}_cache"`);
  };
  const visit = (scope: Scope): void => {
    // What was sealed has been checked.
    if (!isRead(scope)) return;
    if (MERGED.has(scope.context)) check(scope);
    scope.children.forEach(visit);
  };
  http.children.forEach(visit);
}
