import { type ProxyProtocolOwner, ProxyProtocolStage } from "../../net/accept.ts";
import type { Address } from "../../net/address.ts";
import type { ProxyProtocol } from "../../net/proxy_protocol.ts";
import type { Stream, StreamHandler } from "../../net/stream.ts";
import { CertificateError } from "../../net/tls/certificates.ts";
import type { TlsContext } from "../../net/tls/context.ts";
import { TlsStage, type TlsStageOwner } from "../../net/tls/server.ts";
import type { TlsStream } from "../../net/tls/stream.ts";
import { RegexMatchError } from "../../regex/regex.ts";
import { now } from "../../sys/clock.ts";
import { logFault } from "../../sys/guard.ts";
import { alpnProtocol } from "../../sys/openssl/agreed.ts";
import { offersProtocol } from "../../sys/openssl/alpn.ts";
import { SSL_AD_UNRECOGNIZED_NAME } from "../../sys/openssl/server_name.ts";
import { SSL_AD_INTERNAL_ERROR, type SslConnection } from "../../sys/openssl/ssl.ts";
import { COUNTER } from "../core/counters.ts";
import { logConnection } from "../core/log_context.ts";
import type { ClientTls } from "../core/types.ts";
import { AgreedTls, type Negotiated, negotiatedServer } from "./agreed_tls.ts";
import { nextNumber } from "./connections.ts";
import { H1Connection } from "./h1/connection.ts";
import { H2Connection } from "./h2/connection.ts";
import { type PrefaceOwner, PrefaceStage } from "./h2/preface_stage.ts";
import { handshakeRequest } from "./handshake_request.ts";
import type { Accepted, AddressConfig, Closable, ConnectionHost, ProtocolConnection } from "./types.ts";

/** Returns the handler of a stream just accepted: its protocol, or the first stage before it. */
export function acceptStream(stream: Stream, host: ConnectionHost): StreamHandler {
  const { config } = host;
  if (!config.proxyProtocol && !config.ssl && !mayBeginWithHttp2(config)) return startProtocol(stream, host);
  const accepting = new Accepting(stream, host);
  if (config.proxyProtocol) return new ProxyProtocolStage(stream, accepting, config.defaultServer.clientHeaderTimeout);
  return config.ssl ? accepting.startTls(stream) : accepting.findProtocol(stream);
}

function mayBeginWithHttp2({ http2, defaultServer }: AddressConfig): boolean {
  return http2 || defaultServer.http2.enabled;
}

/** Chooses a connection's protocol. `accepted`: what the stages before it know of the connection. */
function startProtocol(stream: Stream, host: ConnectionHost, accepted?: Accepted): ProtocolConnection {
  const { tls } = accepted ?? {};
  return tls !== undefined && alpnProtocol(tls.ssl) === "h2"
    ? new H2Connection(stream, host, accepted)
    : new H1Connection(stream, host, accepted);
}

/** A connection in the stages of net/accept.ts and net/tls/. It counts as waiting for its first request. */
class Accepting implements Accepted, Closable, ProxyProtocolOwner, TlsStageOwner, PrefaceOwner {
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
  place = -1;
  private readonly stream: Stream;
  private protocol: ProtocolConnection | undefined = undefined;
  /** The name that the client asks for in its TLS handshake, and the server that has it. */
  private asked: string | undefined = undefined;
  private negotiated: Negotiated | undefined = undefined;

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
    const { ssl } = this.busyWith;
    if (!ssl && !mayBeginWithHttp2(this.busyWith)) {
      this.start(stream, rest);
      return;
    }
    const stage = ssl ? this.startTls(stream) : this.findProtocol(stream);
    stream.handler = stage;
    if (rest.length > 0) stage.onData(stream, rest);
  }

  /** Of a client without TLS. */
  findProtocol(stream: Stream): StreamHandler {
    return new PrefaceStage(stream, this, this.busyWith.defaultServer.clientHeaderTimeout);
  }

  protocolFound(stream: Stream, http2: boolean, rest: Buffer): void {
    this.begin(
      http2 ? new H2Connection(stream, this.host, this) : startProtocol(stream, this.host, this),
      stream,
      rest,
    );
  }

  prefaceFailed(sentence: string): void {
    this.refused("info", sentence);
  }

  startTls(stream: Stream): StreamHandler {
    const { tls, clientHeaderTimeout } = this.busyWith.defaultServer;
    if (tls.context === undefined) throw new Error("a listener with TLS whose default server has none");
    return new TlsStage(stream, this, tls.context, clientHeaderTimeout);
  }

  /** ngx_http_ssl_servername */
  contextFor(name: string | undefined, ssl: SslConnection): TlsContext | number {
    const { busyWith: config } = this;
    for (const responder of config.responders) {
      if (offersProtocol(ssl, responder.protocol)) return responder.contextFor(name) ?? SSL_AD_UNRECOGNIZED_NAME;
    }
    this.asked = name;
    try {
      this.negotiated = name === undefined ? undefined : negotiatedServer(config, name);
    } catch (error) {
      if (!(error instanceof RegexMatchError)) throw error;
      this.refused("alert", `${error.message} while SSL handshaking`);
      return SSL_AD_INTERNAL_ERROR;
    }
    const { tls } = this.negotiated?.server ?? config.defaultServer;
    if (tls.rejects) return SSL_AD_UNRECOGNIZED_NAME;
    return tls.context ?? config.defaultServer.tls.context ?? SSL_AD_INTERNAL_ERROR;
  }

  /** ngx_http_ssl_certificate */
  certify(ssl: SslConnection): boolean {
    const { busyWith: config, negotiated } = this;
    const named = negotiated?.server;
    const server = named?.tls.context === undefined ? config.defaultServer : named;
    try {
      server.tls.certify?.(handshakeRequest(this, this.stream, this.agreed(ssl), server, config.variables.count), ssl);
      return true;
    } catch (error) {
      if (!(error instanceof CertificateError)) throw error;
      this.refused("error", `${error.message} while SSL handshaking`);
      return false;
    }
  }

  private agreed(ssl: SslConnection): AgreedTls {
    return new AgreedTls(ssl, this.host, this.busyWith, this.asked, this.negotiated);
  }

  secured(stream: TlsStream, rest: Buffer, certificateFailure: string | undefined): void {
    const tls = this.agreed(stream.ssl);
    tls.certificateFailure = certificateFailure;
    this.tls = tls;
    this.start(stream, undefined);
    stream.decrypt(rest);
  }

  plain(stream: Stream, bytes: Buffer): void {
    this.start(stream, bytes);
  }

  private start(stream: Stream, rest: Buffer | undefined): void {
    this.begin(startProtocol(stream, this.host, this), stream, rest);
  }

  private begin(protocol: ProtocolConnection, stream: Stream, rest: Buffer | undefined): void {
    this.protocol = protocol;
    stream.handler = protocol;
    // From here on the protocol uses the configuration in force now, not the one it was accepted under.
    this.afterRequest?.();
    if (rest !== undefined && rest.length > 0) protocol.onData(stream, rest);
  }

  refused(level: "info" | "error" | "crit" | "alert", sentence: string): void {
    const { listening, defaultServer } = this.host.config;
    logConnection(this, { listening, defaultServer: this.negotiated?.server ?? defaultServer }, level, sentence);
  }

  log(level: "error" | "crit" | "alert", sentence: string): void {
    this.refused(level, sentence);
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
