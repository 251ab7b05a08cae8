import type { Address } from "../../net/address.ts";
import { COUNTER } from "../core/counters.ts";
import type { WorkerConnections } from "./connections.ts";
import type { AddressConfig, Closable, ConnectionHost } from "./types.ts";

/** A listening address in a worker. A reload replaces its configuration; its connections stay. */
export class Site implements ConnectionHost {
  config: AddressConfig;
  /** A reload removed the address: connections close after their request. */
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

  get exiting(): boolean {
    return this.left || this.connections.exiting;
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
