import type { Address } from "../../net/address.ts";
import type { ProxyProtocol } from "../../net/proxy_protocol.ts";
import type { Stream, StreamHandler } from "../../net/stream.ts";
import type { ErrorLog } from "../../runtime/log/log.ts";
import type { HeadWord } from "../../wire/head_text.ts";
import type { HeaderList } from "../../wire/http1/header_list.ts";
import type { RequestLimits } from "../../wire/http1/request_fields.ts";
import type { ServerNames } from "../conf/server_names.ts";
import type { Server } from "../core/location.ts";
import type { Variables } from "../core/script.ts";
import type { ClientTls, HandshakeResponder } from "../core/types.ts";

/** What is served on one listening address in one cycle of the configuration. */
export interface AddressConfig {
  readonly address: Address;
  /** nginx's text of the address. */
  readonly key: string;
  /** The text of the listening socket's address: how the error log names the server before a request begins. */
  readonly listening: string;
  readonly defaultServer: Server;
  readonly names: ServerNames<Server>;
  readonly proxyProtocol: boolean;
  /** `listen … ssl` */
  readonly ssl: boolean;
  /** `listen … http2`: whatever the servers say of it. */
  readonly http2: boolean;
  readonly responders: readonly HandshakeResponder[];
  readonly limits: RequestLimits;
  /** The limits of a host's server; undefined if all servers have the same. Throws RegexMatchError. */
  readonly limitsOf: ((host: string) => RequestLimits) | undefined;
  /** The variables in use: so many slots a request has. */
  readonly variables: Pick<Variables, "count">;
}

/** What a connection needs from its worker. */
export interface ConnectionHost {
  /** The configuration for new requests on the listening address. */
  config: AddressConfig;
  /** The worker exits gracefully, or the address was removed: no more keep-alive. */
  readonly exiting: boolean;
  /** Clients are to go elsewhere: this request is the last one of its connection. */
  readonly lettingGo: boolean;
  /** The same where nothing was asked: connections have been shut down, and so is one that begins now. */
  readonly lettingAllGo: boolean;
  /** This worker's counters, by COUNTER. */
  readonly counters: Int32Array;
  opened(connection: Closable): void;
  /** The connection has become idle. */
  waits(connection: Closable): void;
  closed(connection: Closable): void;
  /** `by` takes the place of an idle connection, and is idle as well. */
  replaced(connection: Closable, by: Closable): void;
}

/** What the accept stages know of a connection when its protocol takes it over. */
export interface Accepted extends Closable {
  readonly host: ConnectionHost;
  readonly number: number;
  /** Whole ms of the monotonic clock; client_header_timeout runs from then. */
  readonly startedAt: number;
  readonly proxyProtocol: ProxyProtocol | undefined;
  readonly tls: ClientTls | undefined;
}

/** A listening address in one worker: what its connections are passed to, and belong to. */
export interface ListeningSite {
  readonly address: Address;
  /** This worker's counters, by COUNTER. */
  readonly counters: Int32Array;
  readonly errorLog: ErrorLog;
  /** A reload removed the address: connections close after their request. */
  left: boolean;
  /** Returns the handler of a stream just accepted. */
  accept(stream: Stream): StreamHandler;
}

/** A client connection as its worker sees it. */
export interface Closable {
  /** The site that it belongs to. */
  readonly host: object;
  /** Closes the connection if it is idle, else after its request. */
  shutdown(): void;
  destroy(): void;
  /** It has no request being processed, and may be closed to make room for another connection. */
  readonly idle: boolean;
  /** Its neighbours in the worker's list of idle connections. */
  earlier: Closable | undefined;
  later: Closable | undefined;
  /** Where it is among the worker's connections; -1: it is not. */
  place: number;
  /** The configuration of the current request, or of a connection that has had none yet; undefined while idle. */
  readonly busyWith: AddressConfig | undefined;
  /** Called once when the current request, or the connection, has ended. */
  afterRequest: (() => void) | undefined;
}

/** A client connection once its protocol is known: gets the events of its stream. */
export interface ProtocolConnection extends StreamHandler, Closable {
  onFault(error: unknown): void;
}

/** A request's head as its protocol has read it, for `createRequest`. Strings are byte strings. */
export interface ReceivedHead {
  readonly method: HeadWord;
  /** $request; after an error, what was read of it. */
  readonly requestLine: string;
  /** $request_uri */
  readonly rawUri: HeadWord;
  /** Flags and positions of `rawUri`, for `splitTarget` (wire/uri.ts). */
  readonly complex: number;
  readonly argsAt: number;
  readonly extAt: number;
  readonly plus: boolean;
  /** 9, 1000, 1001, 2000; 0 when it was not read. */
  readonly version: number;
  /** Bytes of the head ($request_length without the body). */
  readonly length: number;
  readonly fields: ReceivedFields;
}

/** The fields of a head, and the values of those that every request needs. */
export interface ReceivedFields {
  readonly headers: HeaderList;
  /** Validated, lower case, without port; "" when there is none. */
  readonly host: string;
  readonly port: number;
  /** There are no more fields, and none of them is malformed: without a host there is none. */
  readonly whole: boolean;
  /** -1 without Content-Length. */
  readonly contentLength: number;
  readonly chunked: boolean;
  readonly expect: string | undefined;
}
