import type { Address } from "../../net/address.ts";
import type { Stream, StreamHandler } from "../../net/stream.ts";
import type { ErrorLog } from "../../runtime/log/log.ts";
import { COUNTER } from "../core/counters.ts";
import { acceptStream } from "./accept.ts";
import type { WorkerConnections } from "./connections.ts";
import type { AddressConfig, Closable, ConnectionHost, ListeningSite } from "./types.ts";

/** A listening address of servers in a worker. A reload replaces its configuration; its connections stay. */
export class Site implements ConnectionHost, ListeningSite {
  config: AddressConfig;
  left = false;
  readonly counters: Int32Array;
  private readonly connections: WorkerConnections;

  constructor(config: AddressConfig, counters: Int32Array, connections: WorkerConnections) {
    this.config = config;
    this.counters = counters;
    this.connections = connections;
  }

  get address(): Address {
    return this.config.address;
  }

  get errorLog(): ErrorLog {
    return this.config.defaultServer.root.errorLog;
  }

  accept(stream: Stream): StreamHandler {
    return acceptStream(stream, this);
  }

  get exiting(): boolean {
    return this.left || this.connections.exiting;
  }

  get lettingGo(): boolean {
    return this.connections.lettingGo;
  }

  get lettingAllGo(): boolean {
    return this.connections.lettingAllGo;
  }

  opened(connection: Closable): void {
    this.connections.add(connection);
    this.counters[COUNTER.active]++;
  }

  waits(connection: Closable): void {
    this.connections.waits(connection);
  }

  closed(connection: Closable): void {
    this.counters[COUNTER.active]--;
    this.connections.remove(connection);
  }

  replaced(connection: Closable, by: Closable): void {
    this.connections.replace(connection, by);
  }
}
