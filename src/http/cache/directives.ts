import { bitmask, directive, flag, list, msec, number, offset } from "../../config/directives.ts";
import { fail, type Scope, type SettingsOf } from "../../config/schema.ts";
import type { Directive } from "../../config/types.ts";
import { parseNumber, parseSec } from "../../config/values.ts";
import type { DeclaredZone } from "../../shm/registry.ts";
import { HTTP, HTTP_LOCATION } from "../conf/contexts.ts";
import { oneTemplate, type Template, template } from "../core/script.ts";
import { type Prefixed, prefixed } from "../upstream/directives.ts";
import { refuseBeside } from "../upstream/kept_by.ts";
import type { Cache, Caches } from "./cache.ts";
import { readCachePath } from "./cache_path.ts";
import { purgeDirective } from "./purge_request.ts";
import { statusFieldDirective } from "./status_field.ts";
import { TAG_FIELDS } from "./tags.ts";

/** `…_cache zone | off`: a zone by its name, or by one with variables. */
export type CacheChoice = { readonly zone: DeclaredZone } | { readonly name: Template };

/** One `…_cache_valid`. */
export interface CacheValid {
  readonly statuses: readonly number[] | "any";
  /** Seconds. */
  readonly time: number;
}

const ANY_NUMBER: readonly [number, number] = [1, Number.POSITIVE_INFINITY];
/** Without statuses. */
const USUAL = [200, 301, 302];

function conditions(doc: string) {
  return list<readonly Template[]>({
    in: HTTP_LOCATION,
    args: ANY_NUMBER,
    syntax: "string ...",
    doc,
    item: (at, scope) => at.args.map((text) => template(scope, at, text)),
  });
}

function tagFields(doc: string) {
  return directive<readonly string[]>({
    in: HTTP_LOCATION,
    args: ANY_NUMBER,
    syntax: "field ... | off",
    doc,
    initial: () => TAG_FIELDS.map((field) => field.toLowerCase()),
    defaultText: TAG_FIELDS.join(" "),
    read: ({ args }) => (args.length === 1 && args[0] === "off" ? [] : args.map((field) => field.toLowerCase())),
  });
}

/** `cases`: the parameters of …_cache_use_stale that name a status. */
function table(prefix: string, caches: Caches, cases: readonly string[]) {
  return {
    cache: directive<CacheChoice | undefined>({
      in: HTTP_LOCATION,
      args: [1, 1],
      syntax: "zone | off",
      doc: `The cache in which answers are kept, by the name of its zone (${prefix}_cache_path); it may have variables.`,
      initial: () => undefined,
      defaultText: "off",
      read(at, scope) {
        const [text] = at.args;
        if (text === "off") return undefined;
        refuseBeside(at, scope, `${prefix}_store`);
        const name = template(scope, at, text);
        if (name.constant !== undefined) return { zone: caches.named(at, scope, text) };
        caches.use(scope);
        return { name };
      },
    }),
    cache_path: list<Cache>({
      in: HTTP,
      args: [2, Number.POSITIVE_INFINITY],
      syntax:
        "path keys_zone=name:size [levels=1:2] [inactive=time] [max_size=size] [min_free=size] [memory=size] [sync] [parameter ...]",
      doc: "A cache: where its files are, and the zone with its index, some 10,000 keys a megabyte. What nobody asked for within `inactive` (10m) is removed, and what was not asked for longest while the files exceed `max_size` or the file system has less than `min_free`. `memory` (8m; 0 for none) is what each worker keeps of hot, small answers beside their files. With `sync` purges are made on all nodes of a `cluster` with a `store`. Also `manager_…`, `loader_…` and `purger_…` with `files`, `threshold` and `sleep`: how quickly these go over the files. `use_temp_path` is accepted, without effect.",
      item: (at, scope) => readPath(at, scope, caches),
    }),
    cache_key: oneTemplate({
      in: HTTP_LOCATION,
      syntax: "string",
      doc: "By what answers are told apart.",
      defaultText: prefix === "proxy" ? "$scheme$proxy_host$request_uri" : "—",
    }),
    cache_bypass: conditions(
      "No answer is taken out of the cache when a string is neither empty nor 0; it may still be kept.",
    ),
    no_cache: conditions("No answer is kept when a string is neither empty nor 0."),
    cache_purge: purgeDirective(
      "Which requests are purges: those for which a string is neither empty nor 0 (NGINX Plus), or those with a method, from these addresses (ngx_cache_purge). The key of the request, or with `*` at its end all that begin so, is taken out of the cache; with one of the fields of …_cache_tags, all answers that have one of these tags. With a zone and a key the location itself is a purge of that key.",
    ),
    cache_status_header: statusFieldDirective(
      "Adds Cache-Status (RFC 9211) to responses: what the cache did, under this name (`on`: holdfast), and with `key` for which key.",
    ),
    cache_tags: tagFields(
      "The fields in which an answer says its tags, divided by commas or spaces; a purge with one of these fields takes all answers with one of its tags out of the cache.",
    ),
    cache_valid: list<CacheValid>({
      in: HTTP_LOCATION,
      args: ANY_NUMBER,
      syntax: "[code ...] time",
      doc: "For how long answers with these statuses are fresh whose own fields do not say: 200, 301 and 302 if none are given, `any` for all. The first that has the status counts.",
      item: readValid,
    }),
    cache_min_uses: number({
      in: HTTP_LOCATION,
      default: 1,
      doc: "How often a key must be asked for until its answer is kept.",
    }),
    cache_max_range_offset: offset({
      in: HTTP_LOCATION,
      doc: "Requests for a range that begins there or later are passed on as they are, and their answers not kept.",
    }),
    cache_use_stale: bitmask({
      in: HTTP_LOCATION,
      values: cases,
      default: [],
      defaultText: "off",
      doc: "When an expired answer is sent in place of an error; `updating`: while another request has it updated.",
    }),
    cache_methods: bitmask({
      in: HTTP_LOCATION,
      values: ["GET", "HEAD", "POST"],
      default: ["GET", "HEAD"],
      doc: "Methods whose answers are kept; GET and HEAD always are.",
    }),
    cache_lock: flag({
      in: HTTP_LOCATION,
      default: false,
      doc: "Of requests for the same key whose answer is not in the cache one goes to a server; the others wait for its answer.",
    }),
    cache_lock_timeout: msec({
      in: HTTP_LOCATION,
      default: 5000,
      doc: "How long they wait; then they are passed on, and their answers are not kept.",
    }),
    cache_lock_age: msec({
      in: HTTP_LOCATION,
      default: 5000,
      doc: "When the one has taken longer, another request is passed on.",
    }),
    cache_revalidate: flag({
      in: HTTP_LOCATION,
      default: false,
      doc: "Asks for an expired answer by If-Modified-Since and If-None-Match.",
    }),
    cache_background_update: flag({
      in: HTTP_LOCATION,
      default: false,
      doc: "Has an expired answer updated by a background subrequest, while the request gets the expired one, if `updating` of …_cache_use_stale allows that.",
    }),
  };
}

type Table = ReturnType<typeof table>;
export type CacheRaw = SettingsOf<Table>;
/** The directives of a prefix. */
export type CacheTable<P extends string> = Prefixed<P, Table>;
export type WithCache<P extends string> = SettingsOf<Prefixed<P, Table>>;

/** The directives about the cache, `proxy_cache` …; a module spreads them into its table. `statuses`: those of …_next_upstream. */
export function cacheDirectives<P extends string>(
  prefix: P,
  caches: Caches,
  statuses: readonly string[],
): CacheTable<P> {
  const cases = ["error", "timeout", "invalid_header", "non_idempotent", ...statuses, "updating", "off"];
  return prefixed(prefix, table(prefix, caches, cases));
}

/** ngx_http_file_cache_valid_set_slot */
function readValid(at: Directive): CacheValid {
  const words = at.args.slice(0, -1);
  const text = at.args[at.args.length - 1];
  const time = parseSec(text) ?? fail(at, `invalid time value "${text}"`);
  const statuses = words.map((word) => {
    if (word === "any") return 0;
    const status = parseNumber(word) ?? 0;
    return status < 100 || status > 599 ? fail(at, `invalid status "${word}"`) : status;
  });
  return { statuses: words.length === 0 ? USUAL : statuses.includes(0) ? "any" : statuses, time };
}

/** ngx_http_file_cache_set_slot */
function readPath(at: Directive, scope: Scope, caches: Caches): Cache {
  const { zone, settings } = readCachePath(at, scope);
  return caches.define(at, scope, zone.name, zone.size, settings) ?? fail(at, `duplicate zone "${zone.name}"`);
}
