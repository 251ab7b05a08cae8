import type { Listener, Stream, StreamError } from "../net/stream.ts";
import { listen } from "../net/tcp.ts";
import type { WorkerContext, WorkerService } from "../runtime/cycle.ts";
import { reopenLogFiles } from "../runtime/logfile.ts";
import { nextPools, type Pools } from "../upstream/pool.ts";
import type { ListeningAddress } from "./addresses.ts";
import { H1Connection } from "./h1/connection.ts";
import { type AddressConfig, type Closable, COUNTER, type ConnectionHost, type WorkerCounters } from "./site.ts";
import type { Upstreams } from "./upstreams.ts";

/** One listening address of a worker; what it serves is swapped by a reload, the socket stays. */
class Site implements ConnectionHost {
  config: AddressConfig;
  listener: Listener | undefined = undefined;
  readonly counters: WorkerCounters;
  private readonly worker: WorkerState;

  constructor(config: AddressConfig, worker: WorkerState) {
    this.config = config;
    this.worker = worker;
    this.counters = worker.counters;
  }

  get draining(): boolean {
    return this.worker.draining;
  }

  accept(stream: Stream): H1Connection {
    const { words } = this.counters;
    words[COUNTER.accepted]++;
    words[COUNTER.handled]++;
    return new H1Connection(stream, this);
  }

  opened(connection: Closable): void {
    this.worker.connections.add(connection);
    this.counters.words[COUNTER.active]++;
  }

  closed(connection: Closable): void {
    this.counters.words[COUNTER.active]--;
    this.worker.connections.delete(connection);
    if (this.worker.draining && this.worker.connections.size === 0) this.worker.drained();
  }
}

/** What outlives a reload within one worker thread. */
class WorkerState {
  readonly sites = new Map<string, Site>();
  readonly connections = new Set<Closable>();
  readonly counters: WorkerCounters;
  pools: Pools = new Map();
  draining = false;
  onDrained: (() => void) | undefined = undefined;

  constructor(counters: WorkerCounters) {
    this.counters = counters;
  }

  drained(): void {
    const done = this.onDrained;
    this.onDrained = undefined;
    done?.();
  }
}

/** The HTTP service of one generation in one worker. */
export class HttpService implements WorkerService {
  private readonly addresses: readonly ListeningAddress[];
  private readonly context: WorkerContext;
  private readonly state: WorkerState;

  constructor(
    addresses: readonly ListeningAddress[],
    context: WorkerContext,
    counters: WorkerCounters,
    previous: WorkerService | undefined,
    upstreams: Upstreams | undefined,
  ) {
    this.addresses = addresses;
    this.context = context;
    this.state = previous instanceof HttpService ? previous.state : new WorkerState(counters);
    this.enter(upstreams, previous === undefined);
  }

  /** Takes the worker's idle connections over into this generation's upstreams. */
  private enter(upstreams: Upstreams | undefined, fresh: boolean): void {
    const { context, state } = this;
    const entries = [...(upstreams?.byName.values() ?? [])];
    state.pools = nextPools(
      state.pools,
      entries.map(({ group }) => group),
    );
    for (const entry of entries) {
      entry.group.enter(context.index, context.count, fresh);
      entry.pool = state.pools.get(entry.group.name);
    }
  }

  async listen(): Promise<readonly string[]> {
    const { sites } = this.state;
    const wanted = new Map(this.addresses.map((address) => [address.spec.key, address]));
    for (const [key, site] of sites) {
      if (wanted.has(key)) continue;
      site.listener?.close();
      sites.delete(key);
    }
    const errors = await Promise.all([...wanted.values()].map((address) => this.open(address)));
    return errors.filter((error) => error !== undefined);
  }

  private async open({ spec, config }: ListeningAddress): Promise<string | undefined> {
    const { sites } = this.state;
    const known = sites.get(spec.key);
    if (known !== undefined) {
      known.config = config;
      return undefined;
    }
    // A unix socket has no SO_REUSEPORT: the first worker accepts for all.
    if (spec.address.family === "unix" && this.context.index !== 0) return undefined;
    const site = new Site(config, this.state);
    try {
      const { address, backlog, ipv6only } = spec;
      const reusePort = address.family !== "unix";
      site.listener = await listen({ address, backlog, ipv6only, reusePort }, (stream) => site.accept(stream));
      sites.set(spec.key, site);
      return undefined;
    } catch (error) {
      return `bind() to ${spec.key} failed (${(error as StreamError).message})`;
    }
  }

  drain(done: () => void): void {
    const { state } = this;
    state.draining = true;
    state.onDrained = done;
    for (const site of state.sites.values()) site.listener?.close();
    state.sites.clear();
    for (const pool of state.pools.values()) pool.close();
    for (const connection of [...state.connections]) connection.shutdown();
    if (state.connections.size === 0) state.drained();
  }

  stop(): void {
    for (const site of this.state.sites.values()) site.listener?.close();
    this.state.sites.clear();
    for (const connection of [...this.state.connections]) connection.destroy();
  }

  reopen(): void {
    reopenLogFiles();
  }

  retire(done: () => void): void {
    // Requests of the old generation hold what they need of it themselves; sockets and pools are the worker's.
    done();
  }
}
