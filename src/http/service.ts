import type { WorkerContext, WorkerService } from "../runtime/cycle.ts";
import { reopenLogFiles } from "../runtime/logfile.ts";
import { nextPools, type Pools } from "../upstream/pool.ts";
import type { ListeningSocket } from "./addresses.ts";
import { WorkerConnections } from "./connections.ts";
import { BoundSocket, Site } from "./listening.ts";
import { type AddressConfig, type Closable, COUNTER, type WorkerCounters } from "./site.ts";
import type { Upstreams } from "./upstreams.ts";

/** A flood of new connections keeps no worker from leaving. */
const MOST_TURNS = 1000;

/** What outlives a reload within one worker thread. */
class WorkerState {
  readonly connections: WorkerConnections;
  readonly counters: WorkerCounters;
  /** By the text of the address. */
  readonly sites = new Map<string, Site>();
  readonly sockets = new Map<string, BoundSocket>();
  pools: Pools = new Map();

  constructor(counters: WorkerCounters, connections: WorkerConnections) {
    this.counters = counters;
    this.connections = connections;
  }
}

/** The HTTP service of one generation in one worker. */
export class HttpService implements WorkerService {
  private readonly listening: readonly ListeningSocket[];
  private readonly context: WorkerContext;
  private readonly state: WorkerState;

  constructor(
    listening: readonly ListeningSocket[],
    context: WorkerContext,
    counters: WorkerCounters,
    previous: WorkerService | undefined,
    upstreams: Upstreams | undefined,
  ) {
    this.listening = listening;
    this.context = context;
    this.state =
      previous instanceof HttpService
        ? previous.state
        : new WorkerState(counters, new WorkerConnections(context.connections));
    this.state.connections.limit = context.connections;
    this.enter(upstreams);
  }

  /** Takes the worker's idle connections over into this generation's upstreams. */
  private enter(upstreams: Upstreams | undefined): void {
    const { context, state } = this;
    const entries = [...(upstreams?.byName.values() ?? [])];
    state.pools = nextPools(
      state.pools,
      entries.map(({ group }) => group),
    );
    for (const entry of entries) {
      entry.group.enter(context.slot);
      entry.pool = state.pools.get(entry.group.name);
    }
  }

  async listen(): Promise<readonly string[]> {
    const { state } = this;
    const wanted = new Set(this.listening.map(({ spec }) => spec.key));
    for (const [key, socket] of state.sockets) {
      if (wanted.has(key)) continue;
      socket.remove();
      state.sockets.delete(key);
    }
    this.leaveSites();
    const errors = await Promise.all(this.listening.map((socket) => this.open(socket)));
    return errors.filter((error) => error !== undefined);
  }

  private async open(listening: ListeningSocket): Promise<string | undefined> {
    const { sockets, connections } = this.state;
    const { spec, serves } = listening;
    const sites = serves.map((config) => this.site(config));
    const known = sockets.get(spec.key);
    if (known !== undefined) {
      known.change(spec, sites);
      return undefined;
    }
    const socket = new BoundSocket(listening, sites, connections);
    const error = await socket.open(this.context.index === 0);
    if (error === undefined) sockets.set(spec.key, socket);
    return error;
  }

  private site(config: AddressConfig): Site {
    const { sites, counters, connections } = this.state;
    let site = sites.get(config.key);
    if (site === undefined) {
      site = new Site(config, counters, connections);
      sites.set(config.key, site);
    }
    site.config = config;
    site.left = false;
    return site;
  }

  /** Connections on an address that is listened on no more come to an end: as nginx's old workers end theirs. */
  private leaveSites(): void {
    const { sites, connections } = this.state;
    const configs = this.listening.flatMap(({ serves }) => serves);
    const kept = new Set(configs.map(({ key }) => key));
    for (const [key, site] of sites) {
      if (kept.has(key)) continue;
      sites.delete(key);
      site.left = true;
      connections.shutdown(({ host }) => host === site);
    }
  }

  drain(done: () => void): void {
    this.acceptRest(MOST_TURNS, () => {
      const { state } = this;
      this.closeSockets();
      for (const pool of state.pools.values()) pool.close();
      state.connections.drain(done);
    });
  }

  /**
   * What waits in the queue of a socket would be reset when it closes, though the client was told that it is connected.
   * The loop accepts one of each socket a turn: goes on until a turn has brought none.
   */
  private acceptRest(turns: number, then: () => void): void {
    const { words } = this.state.counters;
    const before = words[COUNTER.accepted];
    // The first of the two runs in this turn, before the loop has looked for connections.
    setImmediate(() =>
      setImmediate(() => {
        if (turns > 0 && words[COUNTER.accepted] !== before) this.acceptRest(turns - 1, then);
        else then();
      }),
    );
  }

  stop(): void {
    this.closeSockets();
    this.state.connections.destroyAll();
  }

  private closeSockets(): void {
    for (const socket of this.state.sockets.values()) socket.close();
    this.state.sockets.clear();
  }

  reopen(): void {
    reopenLogFiles();
  }

  /** Requests of this generation that still run hold what they need of it; sockets, pools and connections are the worker's. */
  retire(done: () => void): void {
    const running = this.running();
    let left = running.length;
    if (left === 0) {
      done();
      return;
    }
    const ended = () => {
      if (--left === 0) done();
    };
    for (const connection of running) connection.afterRequest = ended;
  }

  expire(): void {
    for (const connection of this.running()) connection.destroy();
  }

  private running(): Closable[] {
    return this.state.connections.busyWith(new Set(this.listening.flatMap(({ serves }) => serves)));
  }
}
