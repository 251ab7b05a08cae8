import type { ModuleListener } from "../../http/conf/module.ts";
import { COUNTER } from "../../http/core/counters.ts";
import { nextNumber, type WorkerConnections } from "../../http/server/connections.ts";
import type { Closable, ListeningSite } from "../../http/server/types.ts";
import { type AccessRules, matchAccess } from "../../net/access_rules.ts";
import { type Address, hostText } from "../../net/address.ts";
import { clientAddress } from "../../net/ip.ts";
import { IGNORE, type Stream, type StreamHandler } from "../../net/stream.ts";
import type { TlsContext } from "../../net/tls/context.ts";
import type { ErrorLog, Level } from "../../runtime/log/log.ts";
import { MemcachedConnection } from "./connection.ts";
import type { ItemStore } from "./items.ts";
import { acceptSecurely } from "./secure_accept.ts";
import type { Statistics, StatisticsRow } from "./statistics.ts";

/** What `session_listen` says, in one worker and cycle. Times are ms. */
export interface ListenSettings {
  readonly address: Address;
  readonly items: ItemStore;
  readonly statistics: Statistics;
  readonly errorLog: ErrorLog;
  readonly rules: AccessRules | undefined;
  readonly tls: ListenTls | undefined;
  readonly maxConnections: number;
  readonly timeout: number;
  /** 0: none. */
  readonly idleTimeout: number;
}

export interface ListenTls {
  readonly context: TlsContext;
  /** Clients must have shown a certificate that is good. */
  readonly verifies: boolean;
}

/** An address of `session_listen` in a worker. A reload replaces its settings; its connections stay. */
export class MemcachedSite implements ListeningSite {
  settings: ListenSettings;
  left = false;
  readonly counters: Int32Array;
  row: StatisticsRow;
  readonly #slot: number;
  readonly #text: string;
  readonly #connections: WorkerConnections;

  constructor(settings: ListenSettings, text: string, worker: Parameters<ModuleListener["open"]>[0]) {
    this.settings = settings;
    this.#text = text;
    this.counters = worker.counters;
    this.#slot = worker.slot;
    this.#connections = worker.connections;
    this.row = settings.statistics.row(worker.slot);
  }

  /** Applies what a reload changed. */
  change(settings: ListenSettings): void {
    this.settings = settings;
    this.row = settings.statistics.row(this.#slot);
    this.left = false;
  }

  get address(): Address {
    return this.settings.address;
  }

  get errorLog(): ErrorLog {
    return this.settings.errorLog;
  }

  get statistics(): Statistics {
    return this.settings.statistics;
  }

  accept(stream: Stream): StreamHandler {
    const { rules, tls, statistics, maxConnections } = this.settings;
    const number = nextNumber();
    if (rules !== undefined && matchAccess(rules, clientAddress(stream.remote)) === "deny") {
      this.log("error", "access forbidden by rule", hostText(stream.remote), number);
      stream.destroy();
      return IGNORE;
    }
    if (statistics.sum("curr_connections") >= maxConnections) {
      this.row.add("rejected_connections", 1);
      this.log("warn", `${maxConnections} max_connections are not enough`, hostText(stream.remote), number);
      stream.write("ERROR Too many open connections\r\n");
      stream.end();
      return LEAVING;
    }
    return tls === undefined ? this.#begin(stream, number) : acceptSecurely(stream, this, number, tls);
  }

  #begin(stream: Stream, number: number): MemcachedConnection {
    const connection = new MemcachedConnection(stream, this, number);
    this.opened(connection);
    return connection;
  }

  /** The protocol begins in the place of a TLS handshake. */
  secured(stream: Stream, handshake: Closable, number: number): MemcachedConnection {
    const connection = new MemcachedConnection(stream, this, number);
    this.#connections.replace(handshake, connection);
    return connection;
  }

  opened(connection: Closable): void {
    this.#connections.add(connection);
    this.waits(connection);
    this.counters[COUNTER.active]++;
    this.row.add("curr_connections", 1);
    this.row.add("total_connections", 1);
  }

  waits(connection: Closable): void {
    this.#connections.waits(connection);
  }

  closed(connection: Closable): void {
    this.counters[COUNTER.active]--;
    this.row.add("curr_connections", -1);
    this.#connections.remove(connection);
  }

  log(level: Level, sentence: string, client: string, number: number): void {
    const { errorLog } = this.settings;
    if (errorLog.wants(level)) errorLog.write(level, `${sentence}, client: ${client}, server: ${this.#text}`, number);
  }
}

/** A stream that was told why it is closed. */
const LEAVING: StreamHandler = {
  onData() {},
  onDrain() {},
  onSent: (stream) => stream.destroy(),
  onEnd: (stream) => stream.destroy(),
  onClose() {},
};
