import type { Stream, StreamHandler } from "../net/stream.ts";
import { now } from "../runtime/now.ts";
import { clearDeadline, Deadline, setDeadline } from "../runtime/timers.ts";
import type { KeepaliveSettings, Peer } from "./peer.ts";

/** A connection to a server as it goes from one request to the next. Made once a connection. */
export class PooledStream implements StreamHandler {
  readonly stream: Stream;
  /** nginx's text of the server's address: what connections are found by. */
  readonly name: string;
  /** now() when the connection was made. */
  readonly startedAt: number;
  /** Requests it has carried, the one running included. The user of the stream counts. */
  requests = 1;
  /** Whatever the protocol keeps for the connection (its parser), so that reuse costs no allocation. */
  data: unknown = undefined;
  /** What names the location that opened it: with `local` only the same one gets it. A string that a reload keeps serves best. */
  tag: unknown = undefined;
  /** Set by the pool: neighbours in order of last use, and the pool that holds it. */
  newer: PooledStream | undefined = undefined;
  older: PooledStream | undefined = undefined;
  pool: Pool | undefined = undefined;
  readonly deadline: Deadline<PooledStream>;

  constructor(stream: Stream, name: string, startedAt: number) {
    this.stream = stream;
    this.name = name;
    this.startedAt = startedAt;
    this.deadline = new Deadline<PooledStream>(this, drop);
  }

  /** What a server sends on an idle connection belongs to no request: the connection cannot be trusted any more. */
  onData(): void {
    drop(this);
  }
  onDrain(): void {}
  onEnd(): void {
    drop(this);
  }
  onClose(): void {
    this.pool?.remove(this);
  }
}

function drop(idle: PooledStream): void {
  idle.pool?.remove(idle);
  idle.stream.destroy();
}

/**
 * The idle connections of one upstream in one worker, most recently used first (`keepalive`). Not shared between
 * workers. Reload hands it on to the next generation by `configure`.
 */
export class Pool {
  #settings: KeepaliveSettings;
  #newest: PooledStream | undefined = undefined;
  #oldest: PooledStream | undefined = undefined;
  #size = 0;
  #closed = false;

  constructor(settings: KeepaliveSettings) {
    this.#settings = settings;
  }

  get size(): number {
    return this.#size;
  }

  /**
   * The idle connection to the peer that was used last, or undefined. Set the stream's handler at once; `requests` is
   * counted up. `tag` names the location (heeded with `keepalive … local`).
   */
  take(peer: Peer, tag?: unknown): PooledStream | undefined {
    const { local } = this.#settings;
    for (let idle = this.#newest; idle !== undefined; idle = idle.older) {
      if (idle.name !== peer.name || (local && idle.tag !== tag)) continue;
      this.remove(idle);
      if (idle.stream.closed) return this.take(peer, tag);
      idle.requests++;
      return idle;
    }
    return undefined;
  }

  /**
   * Keeps a connection whose response has been read whole and whose request was sent whole, or closes it when it has
   * served keepalive_requests, is older than keepalive_time, or the pool is closed. The oldest makes room.
   * True when it was kept; it then belongs to the pool.
   */
  put(idle: PooledStream, tag?: unknown): boolean {
    const { requests, time, timeout, connections } = this.#settings;
    const { stream } = idle;
    if (stream.closed) return false;
    if (this.#closed || idle.requests >= requests || now() - idle.startedAt > time) {
      stream.destroy();
      return false;
    }
    if (this.#size >= connections && this.#oldest !== undefined) drop(this.#oldest);
    idle.tag = tag;
    idle.pool = this;
    idle.newer = undefined;
    idle.older = this.#newest;
    if (this.#newest === undefined) this.#oldest = idle;
    else this.#newest.newer = idle;
    this.#newest = idle;
    this.#size++;
    stream.handler = idle;
    setDeadline(idle.deadline, timeout);
    stream.resume();
    return true;
  }

  /** Takes it out of the list without closing it. */
  remove(idle: PooledStream): void {
    if (idle.pool !== this) return;
    clearDeadline(idle.deadline);
    if (idle.newer === undefined) this.#newest = idle.older;
    else idle.newer.older = idle.older;
    if (idle.older === undefined) this.#oldest = idle.newer;
    else idle.older.newer = idle.newer;
    idle.newer = undefined;
    idle.older = undefined;
    idle.pool = undefined;
    this.#size--;
  }

  /** New settings after a reload: what exceeds them is closed, the rest lives on. */
  configure(settings: KeepaliveSettings): void {
    this.#settings = settings;
    while (this.#size > settings.connections && this.#oldest !== undefined) drop(this.#oldest);
  }

  /** Closes the idle connections to addresses that are none of these. */
  keepOnly(names: ReadonlySet<string>): void {
    let idle = this.#oldest;
    while (idle !== undefined) {
      const next: PooledStream | undefined = idle.newer;
      if (!names.has(idle.name)) drop(idle);
      idle = next;
    }
  }

  /** Closes every idle connection, and from now on every one that is put (the worker drains). */
  close(): void {
    this.#closed = true;
    while (this.#oldest !== undefined) drop(this.#oldest);
  }
}

/** The pools of a worker by upstream name. */
export type Pools = Map<string, Pool>;

/**
 * The pools of a new generation: those of upstreams that still exist live on with the new settings, connections to
 * servers no longer named are closed, and so are the pools of upstreams that are gone.
 */
export function nextPools(
  previous: Pools | undefined,
  upstreams: Iterable<{
    readonly name: string;
    readonly peers: readonly Peer[];
    readonly keepalive: KeepaliveSettings | undefined;
  }>,
): Pools {
  const pools: Pools = new Map();
  for (const { name, peers, keepalive } of upstreams) {
    if (keepalive === undefined) continue;
    const pool = previous?.get(name);
    if (pool === undefined) {
      pools.set(name, new Pool(keepalive));
      continue;
    }
    pool.keepOnly(new Set(peers.map((peer) => peer.name)));
    pool.configure(keepalive);
    pools.set(name, pool);
  }
  if (previous !== undefined) for (const [name, pool] of previous) if (!pools.has(name)) pool.close();
  return pools;
}
