import { type ProxyProtocolOwner, ProxyProtocolStage } from "../../net/accept.ts";
import type { Address } from "../../net/address.ts";
import type { ProxyProtocol } from "../../net/proxy_protocol.ts";
import type { Stream, StreamHandler } from "../../net/stream.ts";
import type { TlsContext } from "../../net/tls/context.ts";
import { TlsStage, type TlsStageOwner } from "../../net/tls/server.ts";
import type { TlsStream } from "../../net/tls/stream.ts";
import { now } from "../../sys/clock.ts";
import { logFault } from "../../sys/guard.ts";
import { SSL_AD_INTERNAL_ERROR, SSL_AD_UNRECOGNIZED_NAME, type SslConnection } from "../../sys/openssl/ssl.ts";
import { type HostPort, validateHost } from "../../wire/host.ts";
import { findServer } from "../conf/server_names.ts";
import { COUNTER } from "../core/counters.ts";
import type { Server } from "../core/location.ts";
import { logConnection } from "../core/log_context.ts";
import type { ClientTls } from "../core/types.ts";
import { nextNumber } from "./connections.ts";
import { H1Connection } from "./h1/connection.ts";
import type { Accepted, AddressConfig, Closable, ConnectionHost, ProtocolConnection } from "./types.ts";

/** Returns the handler of a stream just accepted: its protocol, or the first stage before it. */
export function acceptStream(stream: Stream, host: ConnectionHost): StreamHandler {
  const { config } = host;
  if (!config.proxyProtocol && !config.ssl) return startProtocol(stream, host);
  const accepting = new Accepting(stream, host);
  return config.proxyProtocol
    ? new ProxyProtocolStage(stream, accepting, config.defaultServer.clientHeaderTimeout)
    : accepting.startTls(stream);
}

/** Chooses a connection's protocol. `accepted`: what the stages before it know of the connection. */
function startProtocol(stream: Stream, host: ConnectionHost, accepted?: Accepted): ProtocolConnection {
  return new H1Connection(stream, host, accepted);
}

/** A connection in the stages of net/accept.ts and net/tls/. It counts as waiting for its first request. */
class Accepting implements Accepted, Closable, ProxyProtocolOwner, TlsStageOwner {
  readonly number = nextNumber();
  readonly startedAt = Math.floor(now());
  proxyProtocol: ProxyProtocol | undefined = undefined;
  tls: ClientTls | undefined = undefined;
  readonly host: ConnectionHost;
  readonly idle = true;
  readonly busyWith: AddressConfig;
  afterRequest: (() => void) | undefined = undefined;
  earlier: Closable | undefined = undefined;
  later: Closable | undefined = undefined;
  private readonly stream: Stream;
  private protocol: ProtocolConnection | undefined = undefined;
  /** By the name that the client asked for in its TLS handshake. */
  private name: string | undefined = undefined;
  private server: Server | undefined = undefined;

  constructor(stream: Stream, host: ConnectionHost) {
    this.stream = stream;
    this.host = host;
    this.busyWith = host.config;
    host.opened(this);
    host.waits(this);
    host.counters[COUNTER.waiting]++;
  }

  get remote(): Address {
    return this.stream.remote;
  }

  proxyProtocolRead(stream: Stream, header: ProxyProtocol | undefined, rest: Buffer): void {
    this.proxyProtocol = header;
    if (!this.busyWith.ssl) {
      this.start(stream, rest);
      return;
    }
    const stage = this.startTls(stream);
    stream.handler = stage;
    if (rest.length > 0) stage.onData(stream, rest);
  }

  startTls(stream: Stream): StreamHandler {
    const { tls, clientHeaderTimeout } = this.busyWith.defaultServer;
    if (tls === undefined) throw new Error("a listener with TLS whose default server has none");
    return new TlsStage(stream, this, tls.context, clientHeaderTimeout);
  }

  /** ngx_http_ssl_servername */
  contextFor(name: string | undefined): TlsContext | number {
    const { names, defaultServer } = this.busyWith;
    let server: Server = defaultServer;
    if (name !== undefined && validateHost(name, host)) {
      server = findServer(names, host.host, []);
      this.name = host.host;
      this.server = server;
    }
    if (server.tls?.rejects === true) return SSL_AD_UNRECOGNIZED_NAME;
    return (server.tls ?? defaultServer.tls)?.context ?? SSL_AD_INTERNAL_ERROR;
  }

  secured(stream: TlsStream, rest: Buffer): void {
    this.tls = new AgreedTls(stream.ssl, this.name, this.server);
    this.start(stream, undefined);
    stream.decrypt(rest);
  }

  plain(stream: Stream, bytes: Buffer): void {
    this.start(stream, bytes);
  }

  private start(stream: Stream, rest: Buffer | undefined): void {
    const protocol = startProtocol(stream, this.host, this);
    this.protocol = protocol;
    stream.handler = protocol;
    // From here on the protocol uses the configuration in force now, not the one it was accepted under.
    this.afterRequest?.();
    if (rest !== undefined && rest.length > 0) protocol.onData(stream, rest);
  }

  refused(level: "info" | "error" | "crit", sentence: string): void {
    logConnection(this, this.host.config, level, sentence);
  }

  closed(): void {
    this.host.counters[COUNTER.waiting]--;
    this.host.closed(this);
    this.afterRequest?.();
  }

  onFault(error: unknown): void {
    if (this.protocol !== undefined) {
      this.protocol.onFault(error);
      return;
    }
    logFault(error, `, client connection: *${this.number}`);
    this.stream.destroy();
  }

  /** As in nginx a connection without a request may still send one within client_header_timeout. */
  shutdown(): void {}

  destroy(): void {
    this.stream.destroy();
  }
}

const host: HostPort = { host: "", port: 0 };

class AgreedTls implements ClientTls {
  readonly ssl: SslConnection;
  readonly name: string | undefined;
  readonly server: Server | undefined;

  constructor(ssl: SslConnection, name: string | undefined, server: Server | undefined) {
    this.ssl = ssl;
    this.name = name;
    this.server = server;
  }
}
