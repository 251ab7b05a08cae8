import { MAX_WORKERS } from "../../runtime/application.ts";
import type { ZoneWanted } from "../../shm/registry.ts";

/**
 * stub_status' numbers (ngx_stat_*): words of shared memory, a row for each worker. They wrap at 2^32. A connection
 * updates accepted, handled, active, reading and waiting; a request updates requests and, while it is being answered,
 * writing.
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

/** The zone they are in, with a row for each possible worker. */
export const COUNTERS: ZoneWanted = {
  kind: { name: "http_stub_status", version: 1 },
  name: "counters",
  size: MAX_WORKERS * COUNTER.words * 4,
};
