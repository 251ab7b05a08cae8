/** TLS without sockets: contexts, and streams of memory for TlsStreams to stand around. */
import type { Address } from "../../src/net/address.ts";
import { IGNORE, type Stream, type StreamHandler } from "../../src/net/stream.ts";
import { type CertificateSource, loadCertificate, loadKey } from "../../src/net/tls/certificates.ts";
import { TlsContext, type TlsSettings } from "../../src/net/tls/context.ts";
import { TlsStage, type TlsStageOwner } from "../../src/net/tls/server.ts";
import type { TlsStream } from "../../src/net/tls/stream.ts";
import { logFault } from "../../src/sys/guard.ts";
import { MOST_BYTES, SSL_ERROR_WANT_READ, type SslConnection } from "../../src/sys/openssl/ssl.ts";
import type { TestCertificate } from "./certificates.ts";

/** Reads `data:` names alone. */
const source: CertificateSource = {
  certificate: (name) => loadCertificate(name, () => Buffer.alloc(0)),
  key(name, passwords) {
    const loaded = loadKey(name, passwords, () => Buffer.alloc(0));
    return typeof loaded === "string" ? loaded : loaded.key;
  },
};

export function tlsContext(side: "server" | "client", own: Partial<TlsSettings> = {}): TlsContext {
  return new TlsContext({
    side,
    protocols: new Set(["TLSv1.2", "TLSv1.3"] as const),
    ciphers: "HIGH:!aNULL:!MD5",
    certificates: { pairs: [], source, passwords: undefined },
    recordSize: 16_384,
    ...own,
  });
}

export function serverContext({ certificate, key }: TestCertificate, own: Partial<TlsSettings> = {}): TlsContext {
  const pairs = [{ certificate: `data:${certificate}`, key: `data:${key}` }];
  return tlsContext("server", { certificates: { pairs, source, passwords: undefined }, ...own });
}

const ADDRESS: Address = { family: "ipv4", host: "127.0.0.1", port: 1 };

/** Keeps what is written to it. Its events are the test's to make. */
export class MemoryStream implements Stream {
  handler: StreamHandler = IGNORE;
  readonly remote = ADDRESS;
  readonly local = ADDRESS;
  sent: Buffer[] = [];
  closed = false;
  ended = false;
  paused = false;
  /** The "kernel" takes nothing. */
  full = false;
  queued = 0;
  private gone = false;

  get sending(): boolean {
    return !this.closed && this.queued > 0;
  }
  get unsent(): number {
    return this.queued;
  }
  write(data: Uint8Array | string): boolean {
    if (this.closed || this.ended) return true;
    if (data.length > 0) this.sent.push(typeof data === "string" ? Buffer.from(data, "latin1") : Buffer.from(data));
    if (this.full) this.queued += data.length;
    return this.queued === 0;
  }
  /** Takes what was written. */
  take(): Buffer {
    const all = Buffer.concat(this.sent);
    this.sent = [];
    return all;
  }
  cork(): void {}
  uncork(): boolean {
    return this.queued === 0;
  }
  pause(): void {
    this.paused = true;
  }
  resume(): void {
    this.paused = false;
  }
  end(): void {
    this.ended = true;
  }
  destroy(): void {
    this.closed = true;
  }
  setNoDelay(): void {}
  setKeepAlive(): void {}

  /** The event that ends a life, once. */
  close(): void {
    this.closed = true;
    if (!this.gone) this.handler.onClose(this, undefined);
    this.gone = true;
  }
}

/** All that OpenSSL has for the peer. */
export function outputOf(ssl: SslConnection): Buffer {
  const parts: Buffer[] = [];
  for (let part = ssl.takeOutput(); part !== undefined; part = ssl.takeOutput()) parts.push(Buffer.from(part));
  return Buffer.concat(parts);
}

/** Encrypts. Throws where that fails. */
export function encrypted(ssl: SslConnection, data: string | Uint8Array): Buffer {
  const error = ssl.write(data, 0, data.length);
  if (error !== 0) throw new Error(`SSL_write: ${error}`);
  return outputOf(ssl);
}

/** What can be read of these bytes and what came before, decrypted; minus an SSL_ERROR comes last if it is no wish for more. */
export function decrypted(ssl: SslConnection, bytes: Uint8Array): string {
  let text = "";
  for (let at = 0; at < bytes.length || ssl.hasPending; ) {
    if (!ssl.hasPending) {
      ssl.receive(bytes.subarray(at, at + MOST_BYTES));
      at += MOST_BYTES;
    }
    let count = ssl.read();
    for (; count > 0; count = ssl.read()) text += ssl.readBytes(count).latin1Slice();
    if (-count !== SSL_ERROR_WANT_READ) return `${text}[error ${-count}]`;
  }
  return text;
}

/** The server's side of a connection over memory. */
export class AcceptedTls implements TlsStageOwner {
  readonly inner = new MemoryStream();
  /** Once the handshake is complete. */
  stream: TlsStream | undefined = undefined;
  /** Why there was none. */
  refusal: string | undefined = undefined;
  plaintext = false;
  /** ssl_ocsp */
  certificateFailure: string | undefined = undefined;
  readonly #context: TlsContext;
  readonly #handler: StreamHandler;

  constructor(context: TlsContext, handler: StreamHandler) {
    this.#context = context;
    this.#handler = handler;
    this.inner.handler = new TlsStage(this.inner, this, context, 60_000);
  }

  deliver(bytes: Buffer): void {
    this.inner.handler.onData(this.inner, bytes);
  }

  contextFor(): TlsContext {
    return this.#context;
  }
  certify(): boolean {
    return true;
  }
  refused(_level: string, sentence: string): void {
    this.refusal = sentence;
  }
  log(): void {}
  closed(): void {}
  plain(stream: Stream): void {
    this.plaintext = true;
    stream.destroy();
  }
  secured(stream: TlsStream, rest: Buffer, certificateFailure: string | undefined): void {
    this.stream = stream;
    this.certificateFailure = certificateFailure;
    stream.handler = this.#handler;
    stream.decrypt(rest);
  }
  onFault(error: unknown): void {
    logFault(error);
    this.inner.destroy();
  }
}
