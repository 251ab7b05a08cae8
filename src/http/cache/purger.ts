import type { CheckerService } from "../../runtime/application.ts";
import { sharedNow } from "../../sys/clock.ts";
import { startTimer, type Timer } from "../../sys/timers.ts";
import type { Cache } from "./cache.ts";
import { digestOfPath, entryPaths, readEntry } from "./entry_walk.ts";
import { removeFile } from "./purge.ts";

/** How often it is looked whether purges are pending, ms. */
const LOOK_MS = 200;
/** So much later than `inactive` the manager has removed what was not used, s. */
const MARGIN = 60;

/**
 * The checker's part in purging one cache: while purges of many keys are pending, it walks all files, removes what matches, and
 * then forgets those that were pending when the walk began. With `purger=off` files go when they are met or have not been used
 * for `inactive`; then a purge is forgotten after that.
 */
export class Purger implements CheckerService {
  readonly #cache: Cache;
  #timer: Timer | undefined;
  /** The walk that is under way, and the numbers of the purges that it began with. */
  #walk: Iterator<string> | undefined;
  #numbers: ReadonlySet<number> = new Set();

  constructor(cache: Cache) {
    this.#cache = cache;
    cache.purges.load();
    this.#wait(LOOK_MS);
  }

  stop(): void {
    this.#timer?.clear();
    this.#walk?.return?.();
  }

  #wait(ms: number): void {
    this.#timer = startTimer(ms, () => {
      this.#wait(this.#look());
    });
  }

  /** Does its work for a while. Returns how long to wait for the next time, ms. */
  #look(): number {
    const { purges, settings } = this.#cache;
    if (this.#walk === undefined) {
      if (!purges.pending) return LOOK_MS;
      if (!settings.purges) {
        const now = sharedNow() / 1000;
        if (purges.records().some(({ since }) => since + settings.inactive + MARGIN < now)) {
          purges.forget(({ since }) => since + settings.inactive + MARGIN < now);
        }
        return LOOK_MS;
      }
      this.#numbers = new Set(purges.records().map(({ number }) => number));
      this.#walk = entryPaths(this.#cache.directory);
    }
    if (!this.#step(this.#walk)) return settings.purger.sleep;
    this.#walk = undefined;
    purges.forget(({ number }) => this.#numbers.has(number));
    return LOOK_MS;
  }

  /** Looks at some files. True when there are no more. */
  #step(walk: Iterator<string>): boolean {
    const { files, threshold } = this.#cache.settings.purger;
    const until = performance.now() + threshold;
    for (let i = 0; i < files && performance.now() < until; i++) {
      const { value: path, done } = walk.next();
      if (done === true) return true;
      this.#visit(path);
    }
    return false;
  }

  #visit(path: string): void {
    const { purges, index } = this.#cache;
    const entry = readEntry(path);
    if (entry === undefined || !purges.covers(entry.head)) return;
    index.purge(digestOfPath(path));
    removeFile(path);
  }
}
