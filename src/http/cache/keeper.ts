import type { CheckerService } from "../../runtime/application.ts";
import type { ErrorLog } from "../../runtime/log/log.ts";
import { RepeatedWork } from "../../runtime/repeated_work.ts";
import { logFault } from "../../sys/guard.ts";
import type { Cache } from "./cache.ts";
import { Loader } from "./loader.ts";
import { manage } from "./manager.ts";
import { sweepTemporary } from "./temporary.ts";

/** How often it is looked whether processes that have died left temporary files, in ms. */
const SWEEP_MS = 5000;

/**
 * Keeps a cache's directory, in the checker: finds the files that were there, removes what is out of use or too much, and what
 * workers that died have left. All of it beside the event loop, so that no check is late. A reload changes its settings only.
 */
class CacheKeeper implements CheckerService {
  #cache: Cache;
  #log: ErrorLog;
  readonly #work = new RepeatedWork();

  constructor(cache: Cache, log: ErrorLog) {
    this.#cache = cache;
    this.#log = log;
    this.#work.asDue(() => manage(this.#cache, this.#log));
    this.#work.asDue(async () => {
      await sweepTemporary(this.#cache.temporary);
      return SWEEP_MS;
    });
    if (!cache.index.loaded) void this.#load();
  }

  keeps(cache: Cache): boolean {
    return this.#cache.index.same(cache.index);
  }

  update(cache: Cache, log: ErrorLog): void {
    this.#cache = cache;
    this.#log = log;
  }

  stop(): void {
    this.#work.stop();
  }

  async #load(): Promise<void> {
    const loader = new Loader({
      cache: () => (this.#work.stopped ? undefined : this.#cache),
      log: (level, message) => this.#log.write(level, message),
      sleep: (ms) => this.#work.pause(ms),
    });
    try {
      await loader.run();
    } catch (error) {
      logFault(error);
    }
  }
}

/** Has a cache kept from now on, by whoever kept it before if that was the same one. */
export function keep(cache: Cache, log: ErrorLog, previous: CheckerService | undefined): CheckerService {
  if (previous instanceof CacheKeeper && previous.keeps(cache)) {
    previous.update(cache, log);
    return previous;
  }
  previous?.stop();
  return new CacheKeeper(cache, log);
}
