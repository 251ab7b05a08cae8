import type { Stream, StreamHandler } from "../../net/stream.ts";
import type { TlsContext } from "../../net/tls/context.ts";
import { TlsStage, type TlsStageOwner } from "../../net/tls/server.ts";
import type { TlsStream } from "../../net/tls/stream.ts";
import { logFault } from "../../sys/guard.ts";
import type { SslConnection } from "../../sys/openssl/ssl.ts";
import type { Connections } from "../group/connections.ts";
import type { GroupTls } from "./group_tls.ts";

/** What becomes of a connection once it is known how its messages go. */
export interface SecureAcceptOwner {
  readonly connections: Connections;
  /** Its messages' handler; `ssl`: of a stream over TLS. */
  begin(stream: Stream, ssl: SslConnection | undefined): StreamHandler;
  /** The handshake failed; a sentence without the peer. */
  handshakeFailed(stream: Stream, sentence: string): void;
}

/** Has TLS agreed on over a stream, where the other side begins it, before the group's messages. `timeout`: ms for that. */
export function acceptSecurely(
  stream: Stream,
  owner: SecureAcceptOwner,
  tls: GroupTls,
  timeout: number,
): StreamHandler {
  return new TlsStage(stream, new SecureAccept(stream, owner, tls), tls.server, timeout);
}

/** A connection whose handshake goes on. */
class SecureAccept implements TlsStageOwner {
  readonly #stream: Stream;
  readonly #owner: SecureAcceptOwner;
  readonly #tls: GroupTls;

  constructor(stream: Stream, owner: SecureAcceptOwner, tls: GroupTls) {
    this.#stream = stream;
    this.#owner = owner;
    this.#tls = tls;
    owner.connections.accept(this);
  }

  /** What comes after the handshake is told so. */
  leave(): void {}

  contextFor(): TlsContext {
    return this.#tls.server;
  }

  certify(): boolean {
    return true;
  }

  secured(stream: TlsStream, rest: Buffer): void {
    this.#begin(stream, stream.ssl);
    stream.decrypt(rest);
  }

  plain(stream: Stream, bytes: Buffer): void {
    this.#begin(stream, undefined).onData(stream, bytes);
  }

  #begin(stream: Stream, ssl: SslConnection | undefined): StreamHandler {
    this.#owner.connections.closed(this);
    const handler = this.#owner.begin(stream, ssl);
    stream.handler = handler;
    return handler;
  }

  refused(_level: string, sentence: string): void {
    this.#owner.handshakeFailed(this.#stream, sentence);
  }

  log(_level: string, sentence: string): void {
    this.refused(_level, sentence);
  }

  closed(): void {
    this.#owner.connections.closed(this);
  }

  onFault(error: unknown): void {
    logFault(error, " while talking to a node");
    this.#stream.destroy();
  }

  destroy(): void {
    this.#stream.destroy();
  }
}
