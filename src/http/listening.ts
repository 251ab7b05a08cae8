import type { Address } from "../net/address.ts";
import { releaseUnix, shareUnix } from "../net/socket_options.ts";
import type { Listener, ListenOptions, Stream, StreamError, StreamHandler } from "../net/stream.ts";
import { listen } from "../net/tcp.ts";
import type { ListenSpec } from "../runtime/cycle.ts";
import type { Level } from "../runtime/log.ts";
import { type ListeningSocket, servedOn } from "./addresses.ts";
import type { WorkerConnections } from "./connections.ts";
import { H1Connection } from "./h1/connection.ts";
import { ProxyHeader } from "./h1/proxy_header.ts";
import { type AddressConfig, type Closable, COUNTER, type ConnectionHost, type WorkerCounters } from "./site.ts";

/** One listening address of a worker; what it serves is swapped by a reload, its connections stay. */
export class Site implements ConnectionHost {
  config: AddressConfig;
  /** Nothing listens here any more: connections close after their request. */
  left = false;
  readonly counters: WorkerCounters;
  private readonly connections: WorkerConnections;

  constructor(config: AddressConfig, counters: WorkerCounters, connections: WorkerConnections) {
    this.config = config;
    this.counters = counters;
    this.connections = connections;
  }

  get address(): Address {
    return this.config.address;
  }

  get draining(): boolean {
    return this.left || this.connections.draining;
  }

  opened(connection: Closable): void {
    this.connections.add(connection);
    this.counters.words[COUNTER.active]++;
  }

  closed(connection: Closable): void {
    this.counters.words[COUNTER.active]--;
    this.connections.remove(connection);
  }
}

const REFUSED: StreamHandler = { onData() {}, onDrain() {}, onEnd() {}, onClose() {} };

/** After "Too many open files" nginx does not accept, and so is quiet, for accept_mutex_delay: 500 ms. */
const NO_FILES_QUIET = 500;

/** A listening socket in one worker. */
export class BoundSocket {
  /** By the address a connection arrived on; the last is the socket's own. */
  sites: readonly Site[];
  private listener: Listener | undefined = undefined;
  private quietUntil = 0;
  private spec: ListenSpec;
  private readonly connections: WorkerConnections;

  constructor({ spec }: ListeningSocket, sites: readonly Site[], connections: WorkerConnections) {
    this.spec = spec;
    this.sites = sites;
    this.connections = connections;
  }

  /** Binds and listens; `first`: in the worker that binds what cannot be shared. Answers the sentence of a failure. */
  async open(first: boolean): Promise<string | undefined> {
    const { spec } = this;
    const { address, shared } = spec;
    let fd: number | undefined;
    if (shared !== undefined && address.family === "unix") {
      fd = await shareUnix(shared, address.path, spec.backlog ?? 511);
      if (fd === undefined && !first) return undefined;
    }
    try {
      this.listener = await listen(
        { ...optionsOf(spec), fd },
        (stream) => this.accept(stream),
        (error) => this.failed(error),
      );
    } catch (error) {
      return `bind() to ${spec.key} failed (${(error as StreamError).message})`;
    }
    this.connections.listening++;
    for (const note of this.listener.notes) this.log("alert", note);
    return undefined;
  }

  /** Takes over what a reload changed. */
  change(spec: ListenSpec, sites: readonly Site[]): void {
    const changed = JSON.stringify(optionsOf(spec)) !== JSON.stringify(optionsOf(this.spec));
    this.spec = spec;
    this.sites = sites;
    if (!changed) return;
    for (const note of this.listener?.change(optionsOf(spec)) ?? []) this.log("alert", note);
  }

  close(): void {
    if (this.listener === undefined) return;
    this.listener.close();
    this.listener = undefined;
    this.connections.listening--;
  }

  /** A reload took the address away: nothing is left of it. */
  remove(): void {
    this.close();
    const { address, shared } = this.spec;
    if (shared !== undefined && address.family === "unix") releaseUnix(shared, address.path);
  }

  private accept(stream: Stream): StreamHandler {
    const { sites } = this;
    const site = sites.length === 1 ? sites[0] : servedOn(sites, stream.local);
    const { words } = site.counters;
    words[COUNTER.accepted]++;
    if (!this.connections.admit((sentence) => this.log("warn", sentence))) {
      this.log("alert", `${this.connections.limit} worker_connections are not enough`);
      stream.destroy();
      return REFUSED;
    }
    words[COUNTER.handled]++;
    const connection = new H1Connection(stream, site);
    return site.config.proxyProtocol ? new ProxyHeader(connection) : connection;
  }

  private failed({ code, message }: StreamError): void {
    const noFiles = code === "EMFILE" || code === "ENFILE";
    if (noFiles) {
      const now = performance.now();
      if (now < this.quietUntil) return;
      this.quietUntil = now + NO_FILES_QUIET;
    }
    const level = code === "ECONNABORTED" ? "error" : noFiles ? "crit" : "alert";
    this.log(level, `accept4() failed (${message})`);
  }

  private log(level: Level, sentence: string): void {
    const { config } = this.sites[this.sites.length - 1];
    const { errorLog } = config.defaultServer.root;
    errorLog.write(level, `${sentence} while accepting new connection on ${this.spec.key}`);
  }
}

function optionsOf(spec: ListenSpec): ListenOptions {
  // Each worker has a socket of its own; the system shares connections out among them.
  const { shared: _, ...options } = spec;
  return { ...options, reusePort: spec.address.family !== "unix" };
}
