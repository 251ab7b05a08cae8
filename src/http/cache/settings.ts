import { type DirectiveSpec, type Scope, valueIn } from "../../config/schema.ts";
import { coreDirectives } from "../../runtime/directives.ts";
import { openMainLog } from "../../runtime/log/directive.ts";
import { openErrorLog } from "../../runtime/log/error_log.ts";
import type { HttpBuild } from "../conf/module.ts";
import { registerSynced } from "../conf/synced.ts";
import type { Request } from "../core/request.ts";
import type { Template } from "../core/script.ts";
import { isKeptBy } from "../upstream/kept_by.ts";
import { type Cache, type Caches, cachesOf } from "./cache.ts";
import { checkCacheUse } from "./cache_use.ts";
import { cacheCommands } from "./commands.ts";
import type { CacheRaw, CacheTable, WithCache } from "./directives.ts";
import { keep } from "./keeper.ts";
import type { PurgeRule } from "./purge_request.ts";
import { Purger } from "./purger.ts";
import { sharedPurges } from "./shared_purges.ts";
import type { StatusField } from "./status_field.ts";

/** A location's settings of the cache. Times in ms unless they say otherwise. */
export interface CacheSettings {
  /** The cache of a request: undefined for none, a string for one that is not there (its name). */
  readonly cacheOf: (request: Request) => Cache | string | undefined;
  /** undefined: the module has a key of its own. */
  readonly key: Template | undefined;
  readonly bypass: readonly Template[];
  readonly noCache: readonly Template[];
  /** Which requests are purges. */
  readonly purge: PurgeRule | undefined;
  /** The fields that carry tags. */
  readonly tags: readonly string[];
  /** Cache-Status; undefined: it is not sent. */
  readonly statusField: StatusField | undefined;
  /** For how many seconds an answer of that status is fresh whose fields do not say; 0: it is not kept. */
  readonly validFor: (status: number) => number;
  readonly minUses: number;
  readonly methods: ReadonlySet<string>;
  readonly convertHead: boolean;
  /** Conditions of …_cache_use_stale. */
  readonly useStale: ReadonlySet<string>;
  readonly lock: boolean;
  readonly lockTimeout: number;
  readonly lockAge: number;
  readonly revalidate: boolean;
  readonly backgroundUpdate: boolean;
  /** Bytes; undefined for no bound. */
  readonly maxRangeOffset: number | undefined;
}

/** Makes these settings from what `cacheDirectives(prefix)` read for a location; undefined where there is no cache. */
export function cacheSettings<P extends string>(
  raw: WithCache<P>,
  prefix: P,
  caches: Caches,
  scope: Scope,
): CacheSettings | undefined {
  const values: Readonly<Record<string, unknown>> = raw;
  // The compiler cannot follow names that are made at run time.
  const get = <K extends keyof CacheRaw>(name: K) => values[`${prefix}_${name}`] as CacheRaw[K];
  const choice = get("cache");
  if (choice === undefined || !isKeptBy(scope, `${prefix}_cache`, `${prefix}_store`)) return undefined;
  const useStale = get("cache_use_stale");
  const defined = new Map(get("cache_path").map((cache) => [cache.name, cache]));
  const fixed = "zone" in choice ? caches.find(choice.zone) : undefined;
  return {
    cacheOf(request) {
      if ("zone" in choice) return fixed ?? choice.zone.name;
      const name = choice.name.render(request);
      return name === "" || name === "off" ? undefined : (defined.get(name) ?? name);
    },
    key: get("cache_key"),
    bypass: get("cache_bypass").flat(),
    noCache: get("no_cache").flat(),
    purge: get("cache_purge"),
    tags: get("cache_tags"),
    statusField: get("cache_status_header"),
    validFor: validFor(get("cache_valid")),
    minUses: get("cache_min_uses"),
    methods: new Set(["GET", "HEAD", ...get("cache_methods")]),
    convertHead: values[`${prefix}_cache_convert_head`] === true,
    useStale: useStale.has("off") ? new Set() : useStale,
    lock: get("cache_lock"),
    lockTimeout: get("cache_lock_timeout"),
    lockAge: get("cache_lock_age"),
    revalidate: get("cache_revalidate"),
    backgroundUpdate: get("cache_background_update"),
    maxRangeOffset: get("cache_max_range_offset"),
  };
}

function validFor(rules: CacheRaw["cache_valid"]): CacheSettings["validFor"] {
  return (status) => rules.find(({ statuses }) => statuses === "any" || statuses.includes(status))?.time ?? 0;
}

/** Opens the caches that a configuration defines, for a module's `setup`, whose directives these are. */
export function openCaches<P extends string>(http: HttpBuild, prefix: P, caches: Caches, table: CacheTable<P>): void {
  const { cycle, scope, workers, checkers, commands, directories } = http;
  for (const [name, command] of cacheCommands(() => cachesOf(cycle))) commands.set(name, command);
  const specs: Readonly<Record<string, unknown>> = table;
  // The compiler cannot follow names that are made at run time.
  const spec = <K extends keyof CacheRaw>(name: K) => specs[`${prefix}_${name}`] as DirectiveSpec<CacheRaw[K]>;
  checkCacheUse(scope, prefix, caches, spec("cache"), prefix === "proxy" ? undefined : spec("cache_key"));
  const defined = valueIn(scope, spec("cache_path"));
  for (const cache of defined) {
    const report = (sentence: string): void => {
      openErrorLog(valueIn(scope, coreDirectives.specs.error_log), cycle).write(
        "crit",
        `cache "${cache.name}": ${sentence}`,
      );
    };
    cache.open(cycle, report);
    const { sync } = cache.settings;
    if (sync !== undefined) registerSynced(cycle, sharedPurges(cache, sync));
    directories.add(cache.directory);
    checkers.push({
      name: `purger of ${cache.name}`,
      check(previous) {
        previous?.stop();
        return new Purger(cache);
      },
    });
    workers.push({ enter: (slot) => cache.enter(slot), forget: (slot) => cache.forget(slot) });
    checkers.push({ name: `cache ${cache.name}`, check: (previous) => keep(cache, openMainLog(cycle), previous) });
  }
}
