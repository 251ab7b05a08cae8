import type { Closable } from "../../http/server/types.ts";
import { hostText } from "../../net/address.ts";
import type { Stream, StreamHandler } from "../../net/stream.ts";
import type { TlsContext } from "../../net/tls/context.ts";
import { TlsStage, type TlsStageOwner } from "../../net/tls/server.ts";
import type { TlsStream } from "../../net/tls/stream.ts";
import type { Level } from "../../runtime/log/log.ts";
import { logFault } from "../../sys/guard.ts";
import { peerCertificate, verifyResult } from "../../sys/openssl/agreed.ts";
import { verifyResultText } from "../../sys/openssl/certificate.ts";
import type { SslConnection } from "../../sys/openssl/ssl.ts";
import type { MemcachedConnection } from "./connection.ts";
import type { ListenTls, MemcachedSite } from "./site.ts";

const X509_V_OK = 0n;

/** Has TLS agreed on over a stream before its protocol begins. */
export function acceptSecurely(stream: Stream, site: MemcachedSite, number: number, tls: ListenTls): StreamHandler {
  return new TlsStage(stream, new SecureAccept(stream, site, number, tls), tls.context, site.settings.timeout);
}

/** A connection whose TLS handshake goes on. */
class SecureAccept implements TlsStageOwner, Closable {
  readonly host: MemcachedSite;
  readonly idle = true;
  readonly busyWith = undefined;
  earlier: Closable | undefined = undefined;
  later: Closable | undefined = undefined;
  place = -1;
  afterRequest: (() => void) | undefined = undefined;
  readonly #stream: Stream;
  readonly #number: number;
  readonly #tls: ListenTls;
  #protocol: MemcachedConnection | undefined = undefined;

  constructor(stream: Stream, host: MemcachedSite, number: number, tls: ListenTls) {
    this.#stream = stream;
    this.host = host;
    this.#number = number;
    this.#tls = tls;
    host.opened(this);
  }

  contextFor(): TlsContext {
    return this.#tls.context;
  }

  certify(): boolean {
    return true;
  }

  secured(stream: TlsStream, rest: Buffer): void {
    const refusal = this.#tls.verifies ? judge(stream.ssl) : undefined;
    if (refusal !== undefined) {
      this.refused("info", refusal);
      stream.destroy();
      return;
    }
    const protocol = this.host.secured(stream, this, this.#number);
    this.#protocol = protocol;
    stream.handler = protocol;
    stream.decrypt(rest);
  }

  plain(stream: Stream): void {
    this.refused("info", "client speaks no TLS while SSL handshaking");
    stream.destroy();
  }

  refused(level: Level, sentence: string): void {
    this.host.log(level, sentence, hostText(this.#stream.remote), this.#number);
  }

  log(level: Level, sentence: string): void {
    this.refused(level, sentence);
  }

  closed(): void {
    this.host.closed(this);
    this.afterRequest?.();
  }

  onFault(error: unknown): void {
    if (this.#protocol !== undefined) {
      this.#protocol.onFault(error);
      return;
    }
    logFault(error, `, client connection: *${this.#number}`);
    this.#stream.destroy();
  }

  shutdown(): void {
    this.destroy();
  }

  destroy(): void {
    this.#stream.destroy();
  }
}

/** Why the certificate that the client has shown, or has not, is not accepted. */
function judge(ssl: SslConnection): string | undefined {
  if (peerCertificate(ssl) === 0n) return "client sent no required SSL certificate";
  const result = verifyResult(ssl);
  if (result === X509_V_OK) return undefined;
  return `client SSL certificate verify error: (${result}:${verifyResultText(result)})`;
}
