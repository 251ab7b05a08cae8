import fs from "node:fs";
import type { CheckerService } from "../../runtime/application.ts";
import { clockNow, sharedNow } from "../../sys/clock.ts";
import { logFault } from "../../sys/guard.ts";
import { osPath } from "../../sys/paths.ts";
import { startTimer, type Timer } from "../../sys/timers.ts";
import type { Cache } from "./cache.ts";
import { removeFile } from "./entry_file.ts";
import { digestOfPath, entryPaths, readEntry } from "./entry_walk.ts";
import type { PurgeRecord } from "./purge_file.ts";

/** How often it is looked whether purges are pending, ms. */
const LOOK_MS = 200;
/** So much later than `inactive` the manager has removed what was not used, s. */
const MARGIN = 60;
/** How often a file is looked at that changes all the while. */
const TRIES = 4;
/** After a fault it goes on after so long, ms. */
const FAULT_PAUSE = 10_000;

/**
 * The checker's part in purging one cache: while purges of many keys are pending, it goes over all files, removes what matches,
 * and then forgets those that were pending when it began. With `purger=off` files go when they are met or have not been used
 * for `inactive`; then a purge is forgotten after that.
 */
export class Purger implements CheckerService {
  readonly #cache: Cache;
  #timer: Timer | undefined;
  #stopped = false;

  constructor(cache: Cache) {
    this.#cache = cache;
    cache.purges.load();
    void this.#run();
  }

  stop(): void {
    this.#stopped = true;
    this.#timer?.clear();
  }

  async #run(): Promise<void> {
    while (!this.#stopped) {
      let pause = LOOK_MS;
      try {
        if (this.#cache.purges.pending) await this.#work();
      } catch (error) {
        logFault(error, ` while purging cache "${this.#cache.name}"`);
        pause = FAULT_PAUSE;
      }
      await this.#sleep(pause);
    }
  }

  /** Does not resolve once it has been stopped. */
  #sleep(ms: number): Promise<void> {
    return new Promise((resolve) => {
      if (!this.#stopped) this.#timer = startTimer(ms, resolve, { background: true });
    });
  }

  async #work(): Promise<void> {
    const { purges, settings } = this.#cache;
    if (!settings.purges) {
      const now = sharedNow() / 1000;
      const isOver = ({ since }: PurgeRecord): boolean => since + settings.inactive + MARGIN < now;
      if (purges.records().some(isOver)) purges.forget(isOver);
      return;
    }
    const begun = new Set(purges.records().map(({ number }) => number));
    if (await this.#goOver()) purges.forget(({ number }) => begun.has(number));
  }

  /** Looks at all files. False if it was stopped. */
  async #goOver(): Promise<boolean> {
    const { directory, settings } = this.#cache;
    const { files, threshold, sleep } = settings.purger;
    let seen = 0;
    let until = clockNow() + threshold;
    for await (const path of entryPaths(directory, settings.levels.length)) {
      await this.#visit(path);
      if (this.#stopped) return false;
      if (++seen < files && clockNow() < until) continue;
      await this.#sleep(sleep);
      seen = 0;
      until = clockNow() + threshold;
    }
    return true;
  }

  async #visit(path: string): Promise<void> {
    const { purges, index } = this.#cache;
    const digest = digestOfPath(path);
    let generation = 0;
    for (let tries = 1; ; tries++) {
      generation = index.generationOf(digest);
      const entry = await readEntry(path);
      if (entry === undefined ? !fs.existsSync(osPath(path)) : !purges.covers(entry.head)) return;
      // Another file may have its place by now, or it is just being renewed.
      if (tries === TRIES || index.generationOf(digest) === generation) break;
    }
    // One that cannot be read may be one that was purged.
    removeFile(path);
    index.drop(digest, generation);
  }
}
