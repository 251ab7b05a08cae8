import type { CacheStatus } from "../core/upstream.ts";
import type { Cache } from "./cache.ts";
import type { CacheCounts } from "./cache_counters.ts";
import { BLOCK } from "./entry_table.ts";

/** The kinds of responses, those out of the cache first. */
export const KINDS: readonly CacheStatus[] = ["HIT", "STALE", "UPDATING", "REVALIDATED", "MISS", "EXPIRED", "BYPASS"];
/** Those out of the cache. */
export const OUT_OF_CACHE: ReadonlySet<CacheStatus> = new Set(["HIT", "STALE", "UPDATING", "REVALIDATED"]);

/** A cache at one moment. Sizes in bytes; Infinity and 0 where there is no bound. */
export interface CacheReport {
  readonly name: string;
  readonly directory: string;
  /** The files of earlier runs have not all been found yet. */
  readonly loading: boolean;
  readonly entries: number;
  readonly size: number;
  readonly maxSize: number;
  readonly minFree: number;
  readonly evictions: number;
  readonly purges: number;
  readonly counts: ReadonlyMap<CacheStatus, CacheCounts>;
  /** Responses of all kinds, and the part of them that came out of the cache, 0 to 1; undefined before the first one. */
  readonly responses: number;
  readonly ratio: number | undefined;
  /** Bytes of bodies out of the cache. */
  readonly served: number;
  readonly written: CacheCounts;
  /** Responses out of workers' memory, the bytes that they hold, and the most that each may hold. */
  readonly memory: CacheCounts;
  readonly memoryLimit: number;
}

export function reportOf(cache: Cache): CacheReport {
  const { name, directory, settings, index, purges, counters } = cache;
  const { table } = index;
  const counts = new Map(KINDS.map((kind) => [kind, counters.of(kind)]));
  let responses = 0;
  let out = 0;
  let served = 0;
  for (const [kind, count] of counts) {
    responses += count.responses;
    served += count.bytes;
    if (OUT_OF_CACHE.has(kind)) out += count.responses;
  }
  return {
    name,
    directory,
    loading: !table.loaded,
    entries: table.size,
    size: table.blocks * BLOCK,
    maxSize: settings.maxSize,
    minFree: settings.minFree,
    evictions: table.evictions,
    purges: purges.records().length,
    counts,
    responses,
    ratio: responses === 0 ? undefined : out / responses,
    served,
    written: counters.written,
    memory: counters.memory,
    memoryLimit: settings.memory,
  };
}

/** Where NGINX Plus' API has a figure, it has its name. */
export function statusJson(reports: readonly CacheReport[], now: number): string {
  const caches = Object.fromEntries(reports.map((report) => [utf8(report.name), cacheJson(report)]));
  // All but printable ASCII is escaped: a byte string then stays what it is.
  return `${JSON.stringify({ time: new Date(now).toISOString(), caches }, undefined, 2).replace(/[^\n -~]/g, escaped)}\n`;
}

function cacheJson(report: CacheReport) {
  const { counts, written, memory, ratio } = report;
  const kinds = [...counts].map(([kind, count]): [string, Partial<CacheCounts>] => [
    kind.toLowerCase(),
    OUT_OF_CACHE.has(kind) ? count : { responses: count.responses },
  ]);
  return {
    path: utf8(report.directory),
    cold: report.loading,
    entries: report.entries,
    size: report.size,
    max_size: Number.isFinite(report.maxSize) ? report.maxSize : null,
    evictions: report.evictions,
    pending_purges: report.purges,
    responses: report.responses,
    hit_ratio: ratio === undefined ? null : Math.round(ratio * 1e4) / 1e4,
    ...Object.fromEntries(kinds),
    bytes_served: report.served,
    responses_written: written.responses,
    bytes_written: written.bytes,
    memory: { responses: memory.responses, bytes: memory.bytes, max_bytes_per_worker: report.memoryLimit },
  };
}

function utf8(text: string): string {
  return Buffer.from(text, "latin1").toString();
}

function escaped(unit: string): string {
  return `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`;
}
