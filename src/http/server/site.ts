import type { Address } from "../../net/address.ts";
import type { ProxyProtocol } from "../../net/proxy_protocol.ts";
import type { RequestLimits } from "../../wire/http1/request_fields.ts";
import type { ServerNames } from "../conf/server_names.ts";
import type { Server } from "../core/types.ts";

/** What is served on one listening address in one generation of the configuration. */
export interface AddressConfig {
  readonly address: Address;
  /** nginx's text of the address. */
  readonly key: string;
  /** The same of the socket it is served through: what the error log calls the server before a request begins. */
  readonly listening: string;
  readonly defaultServer: Server;
  readonly names: ServerNames<Server>;
  readonly proxyProtocol: boolean;
  readonly limits: RequestLimits;
  /** The limits of the server a host belongs to; undefined where all have the same. Throws RegexMatchError. */
  readonly limitsOf: ((host: string) => RequestLimits) | undefined;
  /** How many variables are in use: the slots of a request. */
  readonly variables: number;
}

/** What a connection asks of the worker it lives in. */
export interface ConnectionHost {
  /** The configuration in force for new requests of a listening address. */
  config: AddressConfig;
  /** The worker is leaving: no keep-alive any more. */
  readonly draining: boolean;
  /** This worker's words, by COUNTER. */
  readonly counters: Int32Array;
  opened(connection: Closable): void;
  /** From now on it is idle, until it is not. */
  waits(connection: Closable): void;
  closed(connection: Closable): void;
  /** `by` takes the place of a connection that waits, and waits itself. */
  replaced(connection: Closable, by: Closable): void;
}

/** What the stages of accepting know of a connection, when its protocol takes it over. */
export interface Accepted extends Closable {
  readonly number: number;
  /** ms of the monotonic clock; client_header_timeout runs from then. */
  readonly startedAt: number;
  readonly proxyProtocol: ProxyProtocol | undefined;
}

/** A connection as the worker sees it. */
export interface Closable {
  readonly host: ConnectionHost;
  /** Closes the connection if it is idle, else after its request. */
  shutdown(): void;
  destroy(): void;
  /** It may be closed to make room for another: no request is at work. */
  readonly idle: boolean;
  /** Its neighbours among those that wait, which the worker sets. */
  earlier: Closable | undefined;
  later: Closable | undefined;
  /** The configuration the running request has, or a fresh connection was accepted under; undefined when none runs. */
  readonly busyWith: AddressConfig | undefined;
  /** Called once when the running request, or the connection, has ended. */
  afterRequest: (() => void) | undefined;
}
