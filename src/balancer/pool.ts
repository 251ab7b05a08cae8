import type { Stream, StreamHandler } from "../net/stream.ts";
import { now } from "../sys/clock.ts";
import { logFault } from "../sys/guard.ts";
import { clearDeadline, Deadline, setDeadline, startTimer } from "../sys/timers.ts";
import type { KeepaliveSettings, Peer } from "./peer.ts";

/** A connection to a server with what its reuse depends on. One object for the life of the connection. */
export class PooledStream implements StreamHandler {
  /** Over TLS it becomes another one when the handshake begins. */
  stream: Stream;
  /** nginx's text of the server's address: what connections are found by. */
  readonly name: string;
  /** now() when the connection was made. */
  readonly startedAt: number;
  /** Requests sent over it, the current one included; counted by whoever uses the stream. */
  requests = 1;
  /** Whatever the protocol keeps for the connection (its parser), so that reuse costs no allocation. */
  data: unknown = undefined;
  /**
   * What else its peer has to do with: the source address that was asked for (proxy_bind) and what TLS has agreed on, "" for
   * neither. Only a request that asks for the same gets it.
   */
  readonly identity: string;
  /** Names the location that opened it, in the same way in every generation: with `local` only that one gets it. */
  place = "";
  /** now() when it became idle. */
  idleSince = 0;
  /** The pool's addresses when the server was last found among them; a reload replaces them, and it is looked up again. */
  among: ReadonlySet<string> | undefined = undefined;
  /** Gets the stream's events while it is idle, where the protocol has something to say then; it takes it out of the pool when it closes. */
  watch: StreamHandler | undefined = undefined;
  /** Requests that use it now, and how many its server takes at a time: of a protocol that carries several. */
  streams = 1;
  most = 1;
  /** The pool whose requests may join those that use it now. */
  sharedBy: Pool | undefined = undefined;
  /** Set by the pool: neighbours in order of last use, and the pool that holds it. */
  newer: PooledStream | undefined = undefined;
  older: PooledStream | undefined = undefined;
  pool: Pool | undefined = undefined;
  /** keepalive_timeout. Stays armed while a request uses the connection: disarming and arming it each time costs more. */
  readonly deadline: Deadline<PooledStream>;

  constructor(stream: Stream, name: string, startedAt: number, identity = "") {
    this.stream = stream;
    this.name = name;
    this.startedAt = startedAt;
    this.identity = identity;
    this.deadline = new Deadline<PooledStream>(this, expired);
  }

  /** To be called when it will not be put back. */
  leave(): void {
    clearDeadline(this.deadline);
  }

  /** Data on an idle connection belongs to no request: the connection is closed. */
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
  onFault(error: unknown): void {
    logFault(error, ` on an idle connection to ${this.name}`);
    drop(this);
  }
}

function expired(pooled: PooledStream): void {
  if (pooled.pool !== undefined) drop(pooled);
}

function drop(idle: PooledStream): void {
  idle.pool?.remove(idle);
  idle.stream.destroy();
}

/**
 * `keepalive` bounds those that nobody has taken for so long, ms. A server that answers many requests of a turn gives back their
 * connections in the next, and the requests after these want as many: to close what is too many at once, and to open it again a
 * moment later, would be most of the cost of a request.
 */
const GRACE_MS = 20;
/** How many more there may be for that time: a share of `keepalive`, whose small numbers are exact, and no more than MOST_ABOVE. */
const MOST_ABOVE = 512;

function mostAbove(connections: number): number {
  return Math.min(MOST_ABOVE, Math.floor(connections / 8) * 64);
}

/**
 * The idle connections of one upstream in one worker, most recently used first (`keepalive`). Not shared between
 * workers. It lives on over reloads, so connections are found by values, never by objects of one generation; `configure`
 * applies the new settings to idle connections at once, and to those in use when they are put back.
 */
export class Pool {
  #settings: KeepaliveSettings;
  /** Connections in use that other requests may join. */
  readonly #shared: PooledStream[] = [];
  #newest: PooledStream | undefined = undefined;
  #oldest: PooledStream | undefined = undefined;
  #size = 0;
  #closed = false;
  /** It will be looked whether there are too many. */
  #trimming = false;
  /** Texts of the servers' addresses; undefined before the first reload. */
  #names: ReadonlySet<string> | undefined = undefined;

  constructor(settings: KeepaliveSettings) {
    this.#settings = settings;
  }

  get size(): number {
    return this.#size;
  }

  /**
   * The idle connection to the peer with that identity that was used last, or undefined. Set the stream's handler at once;
   * `requests` is counted up. `place` names the location (heeded with `keepalive … local`).
   */
  take(peer: Peer, place = "", identity = ""): PooledStream | undefined {
    const { local } = this.#settings;
    for (let idle = this.#newest; idle !== undefined; idle = idle.older) {
      if (idle.name !== peer.name || idle.identity !== identity || (local && idle.place !== place)) continue;
      if (idle.stream.closed) {
        this.remove(idle);
        return this.take(peer, place, identity);
      }
      this.#unlink(idle);
      idle.requests++;
      return idle;
    }
    return undefined;
  }

  /**
   * A connection in use to the peer with that identity that takes another request, or undefined; `requests` is counted up.
   */
  join(peer: Peer, place = "", identity = ""): PooledStream | undefined {
    const { local, streams } = this.#settings;
    if (this.#shared.length === 0 || streams <= 1) return undefined;
    const time = now();
    for (const busy of this.#shared) {
      if (busy.name !== peer.name || busy.identity !== identity || (local && busy.place !== place)) continue;
      if (busy.streams >= busy.most || busy.streams >= streams || busy.stream.closed || this.#worn(busy, time))
        continue;
      busy.requests++;
      return busy;
    }
    return undefined;
  }

  /** Lets other requests join those that use the connection. */
  share(busy: PooledStream, place = ""): void {
    if (this.#closed || busy.sharedBy !== undefined) return;
    busy.place = place;
    busy.sharedBy = this;
    this.#shared.push(busy);
  }

  unshare(busy: PooledStream): void {
    if (busy.sharedBy !== this) return;
    busy.sharedBy = undefined;
    const at = this.#shared.indexOf(busy);
    const last = this.#shared.pop();
    if (last !== undefined && last !== busy) this.#shared[at] = last;
  }

  /**
   * Keeps a connection whose response has been read whole and whose request was sent whole, or closes it when it has
   * served keepalive_requests, is older than keepalive_time, leads to a server that is no longer named, or the pool is
   * closed. The oldest makes room. True when it was kept; it then belongs to the pool. The stream must not be paused.
   */
  put(idle: PooledStream, place = ""): boolean {
    const { timeout, connections } = this.#settings;
    const { stream } = idle;
    if (stream.closed) return false;
    const time = now();
    if (this.#closed || this.#worn(idle, time)) {
      stream.destroy();
      return false;
    }
    if (this.#size >= connections + mostAbove(connections) && this.#oldest !== undefined) drop(this.#oldest);
    idle.place = place;
    idle.idleSince = time;
    idle.pool = this;
    idle.newer = undefined;
    idle.older = this.#newest;
    if (this.#newest === undefined) this.#oldest = idle;
    else this.#newest.newer = idle;
    this.#newest = idle;
    this.#size++;
    stream.handler = idle.watch ?? idle;
    setDeadline(idle.deadline, timeout);
    if (this.#size > connections) this.#trimLater();
    return true;
  }

  #trimLater(): void {
    if (this.#trimming) return;
    this.#trimming = true;
    startTimer(GRACE_MS, () => this.#trim(), { background: true });
  }

  /** Closes what is too much and was not taken meanwhile. */
  #trim(): void {
    this.#trimming = false;
    const before = now() - GRACE_MS;
    while (this.#size > this.#settings.connections && this.#oldest !== undefined) {
      if (this.#oldest.idleSince > before) {
        this.#trimLater();
        return;
      }
      drop(this.#oldest);
    }
  }

  /** Takes a connection out; its stream is the caller's to close. */
  remove(idle: PooledStream): void {
    if (idle.pool !== this) return;
    this.#unlink(idle);
    idle.leave();
  }

  #unlink(idle: PooledStream): void {
    if (idle.newer === undefined) this.#newest = idle.older;
    else idle.newer.older = idle.older;
    if (idle.older === undefined) this.#oldest = idle.newer;
    else idle.older.newer = idle.newer;
    idle.newer = undefined;
    idle.older = undefined;
    idle.pool = undefined;
    this.#size--;
  }

  /** Whether it may not be reused: keepalive_requests, keepalive_time, or a server that is no longer named. */
  #worn(idle: PooledStream, time: number): boolean {
    const { requests, time: most } = this.#settings;
    if (idle.requests >= requests || time - idle.startedAt > most) return true;
    if (idle.among === this.#names) return false;
    idle.among = this.#names;
    return this.#names?.has(idle.name) === false;
  }

  /** New settings and servers after a reload; connections that they do not allow are closed. */
  configure(settings: KeepaliveSettings, names: ReadonlySet<string>): void {
    this.#settings = settings;
    this.#names = names;
    const time = now();
    let idle = this.#oldest;
    while (idle !== undefined) {
      const next: PooledStream | undefined = idle.newer;
      const left = idle.idleSince + settings.timeout - time;
      if (left <= 0 || this.#worn(idle, time)) drop(idle);
      else setDeadline(idle.deadline, left);
      idle = next;
    }
    while (this.#size > settings.connections && this.#oldest !== undefined) drop(this.#oldest);
  }

  /** Closes all idle connections, and from now on each that is put back (the worker exits). */
  close(): void {
    this.#closed = true;
    for (const busy of this.#shared) busy.sharedBy = undefined;
    this.#shared.length = 0;
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
    pool.configure(keepalive, new Set(peers.map((peer) => peer.name)));
    pools.set(name, pool);
  }
  if (previous !== undefined) for (const [name, pool] of previous) if (!pools.has(name)) pool.close();
  return pools;
}
