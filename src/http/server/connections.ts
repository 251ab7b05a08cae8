import { engine } from "../../net/engines.ts";
import { guarded } from "../../sys/guard.ts";
import type { AddressConfig, Closable } from "./types.ts";

/** How many idle connections nginx closes at most to make room for a new one. */
const REUSED_AT_ONCE = 32;

let numbers = 0;

/** $connection of the next connection. */
export function nextNumber(): number {
  return ++numbers;
}

/**
 * The client connections of one worker: limits their number, closes idle ones for new ones, and all of them at a graceful
 * shutdown.
 */
export class WorkerConnections {
  /** worker_connections of the current cycle. */
  limit: number;
  /** The worker exits gracefully: connections close after their request. */
  exiting = false;
  /** Clients are to go elsewhere: responses say that the connection closes. Those that ask nothing meanwhile stay. */
  lettingGo = false;
  /** Those as well. */
  lettingAllGo = false;
  /** Listening sockets; they count against the limit, as in nginx. */
  listening = 0;
  /**
   * In no order. (In a Set, one former table in the old generation would keep all connections since then from being collected
   * when they are young; see wire/h2/stream_table.ts.)
   */
  private readonly all: Closable[] = [];
  /** The list of idle connections, the one idle longest first, and its length. Some of them may have become busy. */
  private earliest: Closable | undefined = undefined;
  private latest: Closable | undefined = undefined;
  private waiting = 0;
  /** Called when a connection was closed. */
  onClosed: (() => void) | undefined = undefined;
  private onAllClosed: (() => void) | undefined = undefined;
  private warnedAt = Number.NEGATIVE_INFINITY;

  constructor(limit: number) {
    this.limit = limit;
  }

  /**
   * Whether the connection just accepted may stay. With less than 1/16 of the limit free, those idle longest are
   * closed, as in nginx (ngx_drain_connections). `warn` is called at most once a second.
   */
  admit(warn: (sentence: string) => void): boolean {
    const free = this.limit - engine().openStreams() - this.listening;
    if (free >= this.limit / 16) return true;
    return free + this.reuse(warn) >= 0;
  }

  private reuse(warn: (sentence: string) => void): number {
    const count = Math.max(1, Math.min(REUSED_AT_ONCE, Math.floor(this.waiting / 8)));
    let closed = 0;
    while (closed < count && this.earliest !== undefined) {
      const connection = this.earliest;
      this.unlink(connection);
      // A busy one enters the list again when it becomes idle.
      if (!connection.idle) continue;
      if (closed++ === 0) this.warnOfReuse(warn);
      connection.destroy();
    }
    return closed;
  }

  private warnOfReuse(warn: (sentence: string) => void): void {
    const now = performance.now();
    if (now - this.warnedAt < 1000) return;
    this.warnedAt = now;
    warn(`${this.limit} worker_connections are not enough, reusing connections`);
  }

  /**
   * Appends a connection that has become idle. It stays in the list when it becomes busy, until `reuse` finds it there.
   */
  waits(connection: Closable): void {
    if (connection === this.latest) return;
    if (connection.later !== undefined) this.unlink(connection);
    connection.earlier = this.latest;
    if (this.latest === undefined) this.earliest = connection;
    else this.latest.later = connection;
    this.latest = connection;
    this.waiting++;
  }

  private unlink(connection: Closable): void {
    const { earlier, later } = connection;
    if (earlier !== undefined) earlier.later = later;
    else if (connection === this.earliest) this.earliest = later;
    else return;
    if (later !== undefined) later.earlier = earlier;
    else this.latest = earlier;
    connection.earlier = undefined;
    connection.later = undefined;
    this.waiting--;
  }

  add(connection: Closable): void {
    connection.place = this.all.length;
    this.all.push(connection);
  }

  replace(connection: Closable, by: Closable): void {
    this.add(by);
    this.waits(by);
    this.drop(connection);
    this.unlink(connection);
  }

  remove(connection: Closable): void {
    this.drop(connection);
    this.unlink(connection);
    this.onClosed?.();
    if (this.exiting && this.all.length === 0) this.allClosed();
  }

  /** The last one takes its place. */
  private drop(connection: Closable): void {
    const { place } = connection;
    if (place < 0) return;
    const last = this.all.pop();
    if (last === undefined) return;
    if (last !== connection) {
      this.all[place] = last;
      last.place = place;
    }
    connection.place = -1;
  }

  /** Closes idle connections now and the others after their request; calls `done` when all are closed. */
  shutdownAll(done: () => void): void {
    this.exiting = true;
    this.onAllClosed = done;
    for (const connection of [...this.all]) guarded(shutdown, connection);
    if (this.all.length === 0) this.allClosed();
  }

  private allClosed(): void {
    const done = this.onAllClosed;
    this.onAllClosed = undefined;
    done?.();
  }

  /** Shuts down the connections of a listening address that was removed. */
  shutdown(which: (connection: Closable) => boolean): void {
    for (const connection of [...this.all]) if (which(connection)) guarded(shutdown, connection);
  }

  destroyAll(): void {
    for (const connection of [...this.all]) guarded(destroy, connection);
  }

  /** The connections that still use one of these configurations, for a request or because they have had none yet. */
  busyWith(configs: ReadonlySet<AddressConfig>): Closable[] {
    return this.all.filter(({ busyWith }) => busyWith !== undefined && configs.has(busyWith));
  }
}

function shutdown(connection: Closable): void {
  connection.shutdown();
}

function destroy(connection: Closable): void {
  connection.destroy();
}
