import { engine } from "../../net/engines.ts";
import { guarded } from "../../sys/guard.ts";
import type { AddressConfig, Closable } from "./site.ts";

/** nginx drops at most so many idle connections at once when new ones need their place. */
const REUSED_AT_ONCE = 32;

let numbers = 0;

/** $connection of the next connection. */
export function nextNumber(): number {
  return ++numbers;
}

/** The client connections of one worker: how many there may be, which are idle, and when the last has gone. */
export class WorkerConnections {
  /** worker_connections; of this generation. */
  limit: number;
  /** The worker is leaving: connections close after their request. */
  draining = false;
  /** Listening sockets, which count as connections as in nginx. */
  listening = 0;
  private readonly all = new Set<Closable>();
  /** The ends of the list of connections that wait or have waited, and how many it has. */
  private earliest: Closable | undefined = undefined;
  private latest: Closable | undefined = undefined;
  private waiting = 0;
  /** Called when a connection has gone. */
  onClosed: (() => void) | undefined = undefined;
  private onDrained: (() => void) | undefined = undefined;
  private warnedAt = Number.NEGATIVE_INFINITY;

  constructor(limit: number) {
    this.limit = limit;
  }

  /**
   * Whether the connection that was just accepted may stay. When hardly any place is left, those idle for longest make
   * room, as in nginx. `warn` gets a sentence, at most once a second.
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
      // One that is not idle any more is here again when it next is.
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

  /** It has become idle: the last of those that are. What leaves this state is taken out of the list when it is met. */
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
    this.all.add(connection);
  }

  replace(connection: Closable, by: Closable): void {
    this.all.add(by);
    this.waits(by);
    this.all.delete(connection);
    this.unlink(connection);
  }

  remove(connection: Closable): void {
    this.all.delete(connection);
    this.unlink(connection);
    this.onClosed?.();
    if (this.draining && this.all.size === 0) this.drained();
  }

  /** Closes those that are idle, and the others after their request; calls `done` when the last has gone. */
  drain(done: () => void): void {
    this.draining = true;
    this.onDrained = done;
    for (const connection of [...this.all]) guarded(shutdown, connection);
    if (this.all.size === 0) this.drained();
  }

  private drained(): void {
    const done = this.onDrained;
    this.onDrained = undefined;
    done?.();
  }

  /** Those that a listening address has left behind. */
  shutdown(which: (connection: Closable) => boolean): void {
    for (const connection of [...this.all]) if (which(connection)) guarded(shutdown, connection);
  }

  destroyAll(): void {
    for (const connection of [...this.all]) guarded(destroy, connection);
  }

  /** The connections that are bound to one of these configurations: by a request, or as they have not had any yet. */
  busyWith(configs: ReadonlySet<AddressConfig>): Closable[] {
    return [...this.all].filter(({ busyWith }) => busyWith !== undefined && configs.has(busyWith));
  }
}

function shutdown(connection: Closable): void {
  connection.shutdown();
}

function destroy(connection: Closable): void {
  connection.destroy();
}
