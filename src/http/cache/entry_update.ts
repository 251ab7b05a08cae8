import { now } from "../../sys/clock.ts";
import type { Cache, Waiter } from "./cache.ts";

/** A request's part in the update of an entry (ngx_http_file_cache_lock): it has claimed it, or waits for whoever has. */
export class EntryUpdate implements Waiter {
  digest = "";
  patience = 0;
  private readonly cache: Cache;
  private readonly waiting: Pick<Waiter, "goOn" | "onFault">;
  private owned = 0;

  /** `waiting` is told when the wait is over. */
  constructor(cache: Cache, waiting: Pick<Waiter, "goOn" | "onFault">) {
    this.cache = cache;
    this.waiting = waiting;
  }

  /** Of the update that is claimed; 0 for none. */
  get token(): number {
    return this.owned;
  }

  /** False where it is another's, who has not had it for longer than `age` ms (0: however long). */
  claim(digest: string, age: number): boolean {
    const token = this.cache.token();
    if (!this.cache.index.claim(digest, token, age)) return false;
    this.digest = digest;
    this.owned = token;
    return true;
  }

  /** Waits until nobody updates the entry, or `timeout` ms are over since the first wait. False if they are. */
  wait(digest: string, timeout: number): boolean {
    const time = now();
    if (this.patience === 0) this.patience = time + timeout;
    if (this.patience <= time) return false;
    this.digest = digest;
    this.cache.wait(this);
    return true;
  }

  goOn(): void {
    this.waiting.goOn();
  }

  onFault(error: unknown): void {
    this.waiting.onFault(error);
  }

  /** Gives the update up, or the wait. Those that wait for it go on. */
  release(): void {
    this.cache.leave(this);
    if (this.owned === 0) return;
    this.cache.index.release(this.digest, this.owned);
    this.owned = 0;
    this.cache.updated(this.digest);
  }
}
