import type { Address } from "../net/address.ts";
import type { RequestLimits } from "./h1/request_head.ts";
import type { Server } from "./location.ts";
import type { ServerNames } from "./server_names.ts";

/** What is served on one listening address in one generation of the configuration. */
export interface AddressConfig {
  readonly address: Address;
  readonly defaultServer: Server;
  readonly names: ServerNames<Server>;
  readonly proxyProtocol: boolean;
  readonly limits: RequestLimits;
  /** How many variables are in use: the slots of a request. */
  readonly variables: number;
}

/** What a connection asks of the worker it lives in. */
export interface ConnectionHost {
  /** The configuration in force for new requests of a listening address. */
  config: AddressConfig;
  /** The worker is leaving: no keep-alive any more. */
  readonly draining: boolean;
  readonly counters: WorkerCounters;
  opened(connection: Closable): void;
  closed(connection: Closable): void;
}

export interface Closable {
  /** Closes the connection if it is idle, else after its request. */
  shutdown(): void;
  destroy(): void;
  readonly idle: boolean;
}

/** Slots for workers' counters in the shared zone. */
export const MAX_WORKERS = 256;

/** stub_status' numbers: shared words (Int32Array over the zone of all workers; wrap at 2^32). */
export interface WorkerCounters {
  readonly words: Int32Array;
}

export const COUNTER = {
  accepted: 0,
  handled: 1,
  requests: 2,
  active: 3,
  reading: 4,
  writing: 5,
  waiting: 6,
  words: 16,
} as const;
