import { nextPools, type Pools } from "../../balancer/pool.ts";
import { whenScarce } from "../../net/descriptors.ts";
import type { ListenSpec, Sockets, WorkerContext, WorkerService } from "../../runtime/application.ts";
import { defer, guarded } from "../../sys/guard.ts";
import { startTimer, type Timer } from "../../sys/timers.ts";
import type { ListeningSocket } from "../conf/addresses.ts";
import type { LetGo, ModuleListener } from "../conf/module.ts";
import type { UpstreamEntry, Upstreams } from "../conf/upstreams.ts";
import { WorkerConnections } from "./connections.ts";
import { BoundSocket } from "./listening.ts";
import { Site } from "./site.ts";
import type { AddressConfig, Closable, ListeningSite } from "./types.ts";

/**
 * In how many turns of the event loop queues are emptied at most: new connections must not keep a worker from exiting.
 */
const MOST_TURNS = 10_000;

/** How long nginx stops accepting when descriptors have run out: accept_mutex_delay's default. */
const PAUSE_MS = 500;

/** How often a worker looks for itself whether servers have changed. */
const FOLLOW_MS = 1000;

/** What outlives a reload within one worker. */
class WorkerState {
  readonly connections: WorkerConnections;
  readonly counters: Int32Array;
  /** By nginx's text of the address. */
  readonly sites = new Map<string, Site>();
  /** Those of modules, likewise. */
  readonly moduleSites = new Map<string, ListeningSite>();
  readonly sockets = new Map<string, BoundSocket>();
  pools: Pools = new Map();
  /** The upstreams of the cycle in force whose servers change. */
  private following: readonly UpstreamEntry[] = [];
  private look: Timer | undefined = undefined;

  constructor(counters: Int32Array, connections: WorkerConnections) {
    this.counters = counters;
    this.connections = connections;
    whenScarce(this.pauseAccepting);
  }

  /** Closes idle connections to servers that go while there is no request that would notice. */
  follow(entries: readonly UpstreamEntry[]): void {
    this.following = entries.filter(({ group }) => group.resolves);
    for (const entry of this.following) entry.group.onChange(() => this.changed(entry));
    this.look?.clear();
    if (this.following.length > 0) this.lookAgain();
  }

  private lookAgain(): void {
    this.look = startTimer(
      FOLLOW_MS,
      () => {
        this.lookAgain();
        for (const { group } of this.following) group.follow();
      },
      { background: true },
    );
  }

  private changed(entry: UpstreamEntry): void {
    const { group, pool } = entry;
    // Requests that end under an earlier cycle have nothing to say about the worker's connections.
    if (group.keepalive === undefined || !this.following.includes(entry)) return;
    pool?.configure(group.keepalive, new Set(group.peers.map(({ name }) => name)));
  }

  private pause: Timer | undefined = undefined;

  /**
   * Called when descriptors have run out. New connections wait in the sockets' queues until a connection was closed, or
   * PAUSE_MS have passed.
   */
  readonly pauseAccepting = (): void => {
    if (this.pause !== undefined) return;
    for (const socket of this.sockets.values()) socket.pause();
    this.connections.onClosed = this.resume;
    this.pause = startTimer(PAUSE_MS, this.resume);
  };

  private readonly resume = (): void => {
    this.connections.onClosed = undefined;
    this.pause?.clear();
    this.pause = undefined;
    void this.resumeAll();
  };

  private async resumeAll(): Promise<void> {
    for (const socket of this.sockets.values()) if (!(await socket.resume())) this.pauseAccepting();
  }
}

export interface ServiceCalls {
  /** All sockets are accepted from. */
  readonly serving: () => void;
  /** No new requests come to this cycle. */
  readonly retiring: () => void;
}

/** The HTTP service of one cycle in one worker. */
export class HttpService implements WorkerService {
  private readonly listening: readonly ListeningSocket[];
  private readonly listeners: readonly ModuleListener[];
  private readonly context: WorkerContext;
  private readonly state: WorkerState;
  private readonly calls: ServiceCalls;

  constructor(
    listening: readonly ListeningSocket[],
    listeners: readonly ModuleListener[],
    context: WorkerContext,
    counters: Int32Array,
    previous: WorkerService | undefined,
    upstreams: Upstreams | undefined,
    calls: ServiceCalls,
  ) {
    this.listening = listening;
    this.listeners = listeners;
    this.calls = calls;
    this.context = context;
    this.state =
      previous instanceof HttpService
        ? previous.state
        : new WorkerState(counters, new WorkerConnections(context.connections));
    this.state.connections.limit = context.connections;
    this.enter(upstreams);
  }

  /** Hands the worker's pooled backend connections to this cycle's upstreams. */
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
    state.follow(entries);
  }

  async listen(from: Sockets): Promise<readonly string[]> {
    await this.leaveSockets();
    this.leaveSites();
    const errors = await Promise.all([
      ...this.listening.map(({ spec, serves }) =>
        this.open(
          spec,
          serves.map((config) => this.site(config)),
          from,
        ),
      ),
      ...this.listeners.map((listener) => this.open(listener.spec, [this.moduleSite(listener)], from)),
    ]);
    this.calls.serving();
    return errors.filter((error) => error !== undefined);
  }

  private async open(spec: ListenSpec, sites: readonly ListeningSite[], from: Sockets): Promise<string | undefined> {
    const { sockets, connections, pauseAccepting } = this.state;
    let socket = sockets.get(spec.key);
    if (socket === undefined) {
      socket = new BoundSocket(spec, sites, connections, pauseAccepting);
      sockets.set(spec.key, socket);
    } else {
      socket.change(spec, sites);
    }
    return socket.from(from[spec.key] ?? []);
  }

  /** Closes the sockets that this cycle does not listen on, after the connections in their queues were accepted. */
  private async leaveSockets(): Promise<void> {
    const { sockets } = this.state;
    const wanted = new Set([...this.listening, ...this.listeners].map(({ spec }) => spec.key));
    const left = [...sockets].filter(([key]) => !wanted.has(key));
    for (const [key] of left) sockets.delete(key);
    const gone = left.map(([, socket]) => socket);
    if (gone.length === 0) return;
    await new Promise<void>((resolve) => acceptRest(gone, MOST_TURNS, resolve));
    for (const socket of gone) guarded(close, socket);
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

  private moduleSite(listener: ModuleListener): ListeningSite {
    const { moduleSites, counters, connections } = this.state;
    const { key } = listener.spec;
    const site = listener.open({ slot: this.context.slot, counters, connections }, moduleSites.get(key));
    moduleSites.set(key, site);
    return site;
  }

  /** Shuts down the connections of addresses that this cycle does not listen on, as nginx's old workers do with theirs. */
  private leaveSites(): void {
    const { sites, moduleSites, connections } = this.state;
    const configs = this.listening.flatMap(({ serves }) => serves);
    const left = [
      ...takeOthers(sites, new Set(configs.map(({ key }) => key))),
      ...takeOthers(moduleSites, new Set(this.listeners.map(({ spec }) => spec.key))),
    ];
    for (const site of left) {
      site.left = true;
      connections.shutdown(({ host }) => host === site);
    }
  }

  letGo(how: LetGo): void {
    const { connections } = this.state;
    connections.lettingGo = how !== "none";
    connections.lettingAllGo = how === "all";
    if (how === "all") connections.shutdown(() => true);
  }

  quit(closed: () => void, done: () => void): void {
    const { state } = this;
    acceptRest([...state.sockets.values()], MOST_TURNS, () => {
      this.calls.retiring();
      this.closeSockets();
      closed();
      for (const pool of state.pools.values()) guarded(close, pool);
      state.connections.shutdownAll(done);
    });
  }

  stop(): void {
    this.closeSockets();
    this.state.connections.destroyAll();
  }

  private closeSockets(): void {
    for (const socket of this.state.sockets.values()) guarded(close, socket);
    this.state.sockets.clear();
  }

  /** Calls `done` when the last request of this cycle has ended. Sockets, pools and connections belong to the worker. */
  retire(done: () => void): void {
    this.calls.retiring();
    const running = this.running();
    let left = running.length;
    if (left === 0) {
      done();
      return;
    }
    const ended = () => {
      if (--left === 0) done();
    };
    for (const connection of running) {
      // Of an earlier cycle, where the connection had no request under that one but has one under this.
      const { afterRequest: earlier } = connection;
      connection.afterRequest = () => {
        earlier?.();
        ended();
      };
    }
  }

  expire(): void {
    for (const connection of this.running()) connection.destroy();
  }

  private running(): Closable[] {
    return this.state.connections.busyWith(new Set(this.listening.flatMap(({ serves }) => serves)));
  }
}

/** Takes those out of a map that are not to be kept. */
function takeOthers<T>(all: Map<string, T>, kept: ReadonlySet<string>): T[] {
  const others = [...all].filter(([key]) => !kept.has(key));
  for (const [key] of others) all.delete(key);
  return others.map(([, value]) => value);
}

/**
 * Accepts until the queues of these sockets are empty: closing a socket resets the connections in its queue. The event
 * loop accepts one from each socket a turn, so they are empty after a turn that brought none.
 */
function acceptRest(sockets: readonly BoundSocket[], turns: number, then: () => void): void {
  const before = accepted(sockets);
  // Two defers: the first runs in this turn, before the event loop has accepted connections.
  const look = (): void => {
    if (turns > 0 && accepted(sockets) !== before) acceptRest(sockets, turns - 1, then);
    else then();
  };
  defer(() => defer(look, undefined), undefined);
}

function close(closing: { close(): void }): void {
  closing.close();
}

function accepted(sockets: readonly BoundSocket[]): number {
  return sockets.reduce((sum, socket) => sum + socket.accepted, 0);
}
