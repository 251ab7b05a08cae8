import { type ProxyProtocolOwner, ProxyProtocolStage } from "../../net/accept.ts";
import type { Address } from "../../net/address.ts";
import type { ProxyProtocol } from "../../net/proxy_protocol.ts";
import type { Stream, StreamHandler } from "../../net/stream.ts";
import { now } from "../../sys/clock.ts";
import { logFault } from "../../sys/guard.ts";
import { COUNTER } from "../core/counters.ts";
import { logConnection } from "../core/log_context.ts";
import { nextNumber } from "./connections.ts";
import { H1Connection } from "./h1/connection.ts";
import type { Accepted, AddressConfig, Closable, ConnectionHost, ProtocolConnection } from "./types.ts";

/** Returns the handler of a stream just accepted: its protocol, or the first stage before it. */
export function acceptStream(stream: Stream, host: ConnectionHost): StreamHandler {
  if (!host.config.proxyProtocol) return startProtocol(stream, host);
  const accepting = new Accepting(stream, host);
  return new ProxyProtocolStage(stream, accepting, host.config.defaultServer.clientHeaderTimeout);
}

/** Chooses a connection's protocol. `accepted`: what the stages before it know of the connection. */
function startProtocol(stream: Stream, host: ConnectionHost, accepted?: Accepted): ProtocolConnection {
  return new H1Connection(stream, host, accepted);
}

/** A connection in the stages of net/accept.ts. It counts as waiting for its first request. */
class Accepting implements Accepted, Closable, ProxyProtocolOwner {
  readonly number = nextNumber();
  readonly startedAt = Math.floor(now());
  proxyProtocol: ProxyProtocol | undefined = undefined;
  readonly host: ConnectionHost;
  readonly idle = true;
  readonly busyWith: AddressConfig;
  afterRequest: (() => void) | undefined = undefined;
  earlier: Closable | undefined = undefined;
  later: Closable | undefined = undefined;
  private readonly stream: Stream;
  private protocol: ProtocolConnection | undefined = undefined;

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
    const protocol = startProtocol(stream, this.host, this);
    this.protocol = protocol;
    stream.handler = protocol;
    // From here on the protocol uses the configuration in force now, not the one it was accepted under.
    this.afterRequest?.();
    if (rest.length > 0) protocol.onData(stream, rest);
  }

  refused(level: "info" | "error", sentence: string): void {
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
