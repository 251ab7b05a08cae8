import fs from "node:fs";
import type { ErrorLog } from "../../runtime/log/log.ts";
import { clockNow } from "../../sys/clock.ts";
import { errorCode, errorText } from "../../sys/errno.ts";
import { osPath } from "../../sys/paths.ts";
import type { Cache } from "./cache.ts";
import type { Victim } from "./cache_index.ts";
import { BLOCK } from "./entry_table.ts";

/** The longest pauses, s: nginx's, and where there are bounds to keep. */
const LONGEST_PAUSE = 10;
const PAUSE_WITH_BOUNDS = 1;

/**
 * ngx_http_file_cache_manager: removes what was not used for too long, and the oldest while there is too
 * much. A portion of that: how many ms later the next one is due.
 */
export async function manage(cache: Cache, log: ErrorLog): Promise<number> {
  const { index, settings } = cache;
  const { manager, maxSize, minFree } = settings;
  const until = clockNow() + manager.threshold;
  let files = 0;
  const isEnough = (): boolean => ++files >= manager.files || clockNow() >= until;
  let idle = index.idle();
  for (; typeof idle !== "number"; idle = index.idle()) {
    await remove(cache, log, idle, false);
    if (isEnough()) return manager.sleep;
  }
  while (await hasTooMuch(cache)) {
    const victim = index.oldest();
    if (victim === undefined) break;
    await remove(cache, log, victim, true);
    if (isEnough()) return manager.sleep;
  }
  const bounded = maxSize !== Number.POSITIVE_INFINITY || minFree > 0;
  return 1000 * Math.max(1, Math.min(idle, settings.inactive, bounded ? PAUSE_WITH_BOUNDS : LONGEST_PAUSE));
}

async function hasTooMuch({ index, settings, directory }: Cache): Promise<boolean> {
  const { table } = index;
  const { maxSize, minFree } = settings;
  if (table.blocks >= Math.floor(maxSize / BLOCK) || table.crowded) return table.size > 0;
  if (minFree === 0) return false;
  try {
    const { bavail, bsize } = await fs.promises.statfs(osPath(directory));
    return bavail * bsize <= minFree;
  } catch {
    return false;
  }
}

/** Removes the file, and then the entry: whoever has it open reads on, and one who dies in between leaves no file behind. */
async function remove(cache: Cache, log: ErrorLog, victim: Victim, forced: boolean): Promise<void> {
  if (victim.generation !== 0) {
    const path = cache.fileOf(victim.digest);
    try {
      await fs.promises.unlink(osPath(path));
    } catch (error) {
      const code = errorCode(error);
      if (code !== "ENOENT") {
        cache.diskTrouble((level, line) => log.write(level, line), `unlink() "${path}" failed (${errorText(code)})`);
      }
    }
  }
  cache.index.evict(victim, forced);
}
