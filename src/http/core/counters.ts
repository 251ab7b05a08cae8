import { MAX_WORKERS } from "../../runtime/application.ts";
import type { ZoneWanted } from "../../shm/registry.ts";

/**
 * stub_status' numbers (ngx_stat_*): words of shared memory, of which each worker counts in its own. They wrap at 2^32.
 * Connections count accepted, handled, active, reading and waiting; a request counts itself, and while it runs, as one
 * that writes.
 */
export const COUNTER = {
  accepted: 0,
  handled: 1,
  requests: 2,
  active: 3,
  reading: 4,
  writing: 5,
  waiting: 6,
  words: 16,
} as const;

/** Their zone, with room for every worker there may be. */
export const COUNTERS: ZoneWanted = {
  kind: { name: "http_stub_status", version: 1 },
  name: "counters",
  size: MAX_WORKERS * COUNTER.words * 4,
};
