import { bitmask, directive, flag, list, msec, number, offset } from "../../config/directives.ts";
import { fail } from "../../config/schema.ts";
import type { Directive } from "../../config/types.ts";
import { parseNumber, parseSec } from "../../config/values.ts";
import { HTTP_LOCATION } from "../conf/contexts.ts";
import { type Template, template } from "../core/script.ts";

const NONE = "Accepted, without effect: there is no cache yet.";

const conditions = list<readonly Template[]>({
  in: HTTP_LOCATION,
  args: [1, Number.POSITIVE_INFINITY],
  syntax: "string ...",
  doc: NONE,
  item: (at, scope) => at.args.map((text) => template(scope, at, text)),
});

/**
 * The directives about the cache of responses, without their prefix. There is none yet, so they are checked as nginx checks
 * them and change nothing; one that would switch it on is refused. `cases`: those of …_next_upstream.
 */
export function cacheDirectives<const V extends string>(prefix: string, cases: readonly V[]) {
  return {
    cache: directive<"off">({
      in: HTTP_LOCATION,
      args: [1, 1],
      syntax: "off",
      doc: "Whether responses are cached. There is no cache yet: a zone is refused.",
      initial: () => "off",
      defaultText: "off",
      read(at) {
        if (at.args[0] !== "off")
          fail(at, `"${at.name}" directive is known to nginx but not available in Holdfast yet`);
        return "off";
      },
    }),
    cache_key: directive<Template | undefined>({
      in: HTTP_LOCATION,
      args: [1, 1],
      syntax: "string",
      doc: NONE,
      initial: () => undefined,
      defaultText: prefix === "proxy" ? "$scheme$proxy_host$request_uri" : "—",
      read: (at, scope) => template(scope, at, at.args[0]),
    }),
    cache_bypass: conditions,
    no_cache: conditions,
    cache_valid: list<void>({
      in: HTTP_LOCATION,
      args: [1, Number.POSITIVE_INFINITY],
      syntax: "[code ...] time",
      doc: NONE,
      item: checkValid,
    }),
    cache_min_uses: number({ in: HTTP_LOCATION, default: 1, doc: NONE }),
    cache_max_range_offset: offset({ in: HTTP_LOCATION, doc: NONE }),
    cache_use_stale: bitmask({ in: HTTP_LOCATION, values: cases, default: [], defaultText: "off", doc: NONE }),
    cache_methods: bitmask({ in: HTTP_LOCATION, values: ["GET", "HEAD", "POST"], default: ["GET", "HEAD"], doc: NONE }),
    cache_lock: flag({ in: HTTP_LOCATION, default: false, doc: NONE }),
    cache_lock_timeout: msec({ in: HTTP_LOCATION, default: 5000, doc: NONE }),
    cache_lock_age: msec({ in: HTTP_LOCATION, default: 5000, doc: NONE }),
    cache_revalidate: flag({ in: HTTP_LOCATION, default: false, doc: NONE }),
    cache_background_update: flag({ in: HTTP_LOCATION, default: false, doc: NONE }),
  };
}

/** ngx_http_file_cache_valid_set_slot */
function checkValid(at: Directive): void {
  const statuses = at.args.slice(0, -1);
  const time = at.args[at.args.length - 1];
  if (parseSec(time) === undefined) fail(at, `invalid time value "${time}"`);
  for (const word of statuses) {
    const status = parseNumber(word) ?? 0;
    if (word !== "any" && (status < 100 || status > 599)) fail(at, `invalid status "${word}"`);
  }
}
