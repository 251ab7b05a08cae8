import type { Engine } from "../../../src/net/engine.ts";
import {
  type ConnectHandler,
  IGNORE,
  type Stream,
  type StreamError,
  type StreamHandler,
} from "../../../src/net/stream.ts";
import type { TlsContext } from "../../../src/net/tls/context.ts";
import { TlsStage, type TlsStageOwner } from "../../../src/net/tls/server.ts";
import { TlsStream } from "../../../src/net/tls/stream.ts";
import { contain } from "../../../src/sys/guard.ts";
import { SslConnection } from "../../../src/sys/openssl/ssl.ts";
import type { TestCertificate } from "../../support/certificates.ts";
import { serverContext, tlsContext } from "../../support/tls_memory.ts";
import { PATIENCE_MS } from "../../support/wait.ts";

/** An engine whose streams are TlsStreams around those of another. */
export function tlsEngine(engine: Engine, certificate: TestCertificate): Engine {
  const server = serverContext(certificate);
  const client = tlsContext("client");
  return {
    ...engine,
    name: `TLS over ${engine.name}`,
    connect(options, handler) {
      const handshake = new ClientHandshake(handler, client);
      return handshake.over(engine.connect(options, handshake));
    },
    listen(options, accept, failed) {
      const accepted = (inner: Stream): StreamHandler => {
        const owner: TlsStageOwner = {
          contextFor: () => server,
          certify: () => true,
          refused: () => {},
          log: () => {},
          closed: () => {},
          plain: (stream) => stream.destroy(),
          secured(stream, rest) {
            stream.handler = IGNORE;
            stream.handler = accept(stream);
            stream.decrypt(rest);
          },
          onFault(error) {
            contain(undefined, error);
            inner.destroy();
          },
        };
        return new TlsStage(inner, owner, server, PATIENCE_MS);
      };
      return engine.listen(options, accepted, failed);
    },
  };
}

class ClientHandshake implements ConnectHandler {
  readonly #handler: ConnectHandler;
  readonly #ssl: SslConnection;
  #stream: TlsStream | undefined;

  constructor(handler: ConnectHandler, context: TlsContext) {
    this.#handler = handler;
    this.#ssl = new SslConnection(context.ssl, "client");
  }

  over(inner: Stream): TlsStream {
    this.#stream = new TlsStream(inner, this.#ssl, this.#handler, 16_384);
    return this.#stream;
  }

  get #made(): TlsStream {
    if (this.#stream === undefined) throw new Error("used before it was made");
    return this.#stream;
  }

  onConnect(): void {
    this.#shake();
  }
  #shake(): boolean {
    const error = this.#ssl.handshake();
    this.#made.sendOutput();
    if (error === 0) return true;
    if (error !== 2) this.#made.inner.destroy();
    return false;
  }
  onData(inner: Stream, bytes: Buffer): void {
    this.#ssl.receive(bytes);
    if (!this.#shake()) return;
    const stream = this.#made;
    inner.handler = stream;
    this.#handler.onConnect(stream);
    stream.decrypt(Buffer.alloc(0));
  }
  onDrain(): void {}
  onEnd(): void {
    this.#made.inner.destroy();
  }
  onClose(inner: Stream, error: StreamError | undefined): void {
    this.#made.onClose(inner, error);
  }
  onFault(error: unknown): void {
    this.#made.onFault(error);
  }
}
