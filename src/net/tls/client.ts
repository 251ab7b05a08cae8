import { peerCertificate, verifyResult } from "../../sys/openssl/agreed.ts";
import { isForHost, verifyResultText } from "../../sys/openssl/certificate.ts";
import { setServerName } from "../../sys/openssl/client.ts";
import { takeErrors } from "../../sys/openssl/errors.ts";
import { MOST_BYTES, SSL_ERROR_WANT_READ, SslConnection } from "../../sys/openssl/ssl.ts";
import { parseIpv4 } from "../ip.ts";
import type { ConnectHandler, Stream, StreamError, StreamHandler } from "../stream.ts";
import { CertificateError, type CertificatePairs, setCertificates } from "./certificates.ts";
import { type ClientSessions, resumeSessions } from "./client_sessions.ts";
import type { TlsContext } from "./context.ts";
import { isCleanEnd, PEER_CLOSED, tlsError } from "./errors.ts";
import { TlsStream } from "./stream.ts";

/** How to agree on TLS with a server. Names are byte strings. */
export interface TlsClientSettings {
  readonly context: TlsContext;
  /** The name that the server is asked for (SNI); "" for none. */
  readonly serverName: string;
  /** Whom the server's certificate must be for; undefined: it is not verified. */
  readonly verifiedName?: string | undefined;
  /** Judges the server's certificate in place of that: says why it is refused. */
  readonly refuses?: ((ssl: SslConnection) => string | undefined) | undefined;
  /** In place of the context's. */
  readonly certificates?: CertificatePairs | undefined;
  /** Where sessions with this server are kept; undefined: none is resumed. */
  readonly resumes?: { readonly sessions: ClientSessions; readonly server: string } | undefined;
}

/** The name as SNI has it: RFC 6066 has no addresses there. */
export function sentName(name: string): string {
  return name.startsWith("[") || parseIpv4(name) !== undefined ? "" : name;
}

/**
 * Begins the handshake on a stream that is connected. `handler.onConnect` follows with the TlsStream that is returned, or
 * `onClose` with the StreamError, whose sentence says what failed. A deadline is the caller's. A string is what failed on
 * this side, in nginx's words; then the stream is left as it was.
 */
export function startTls(inner: Stream, settings: TlsClientSettings, handler: ConnectHandler): TlsStream | string {
  const ssl = new SslConnection(settings.context.ssl, "client");
  let prepared = false;
  try {
    const failed = prepare(ssl, settings);
    if (failed !== undefined) return failed;
    prepared = true;
  } finally {
    if (!prepared) ssl.free();
  }
  const handshake = new ClientHandshake(inner, ssl, settings, handler);
  inner.handler = handshake;
  handshake.shakeHands();
  return handshake.stream;
}

/** ngx_http_upstream_ssl_init_connection; returns what fails. */
function prepare(ssl: SslConnection, { serverName, certificates, resumes }: TlsClientSettings): string | undefined {
  if (serverName !== "" && !setServerName(ssl, serverName)) {
    return `SSL_set_tlsext_host_name("${serverName}") failed${takeErrors()}`;
  }
  if (certificates !== undefined) {
    try {
      setCertificates({ kind: "SSL", pointer: ssl.pointer }, certificates);
    } catch (error) {
      if (error instanceof CertificateError) return error.message;
      throw error;
    }
  }
  if (resumes !== undefined) resumeSessions(ssl, resumes.sessions, resumes.server);
  return undefined;
}

/** A failure that is none of the system's. */
function failure(sentence: string): StreamError {
  return { code: "EPROTO", message: sentence, sentence };
}

/** The client's side of a handshake, which has the inner stream's events until it is complete. */
class ClientHandshake implements StreamHandler {
  readonly stream: TlsStream;
  private readonly ssl: SslConnection;
  private readonly settings: TlsClientSettings;
  private readonly handler: ConnectHandler;

  constructor(inner: Stream, ssl: SslConnection, settings: TlsClientSettings, handler: ConnectHandler) {
    this.ssl = ssl;
    this.settings = settings;
    this.handler = handler;
    this.stream = new TlsStream(inner, ssl, handler, settings.context.recordSize);
  }

  onData(_inner: Stream, bytes: Buffer): void {
    for (let at = 0; at < bytes.length && !this.stream.closed; at += MOST_BYTES) {
      this.ssl.receive(bytes.subarray(at, at + MOST_BYTES));
      if (!this.shakeHands()) continue;
      this.complete(bytes.subarray(at + MOST_BYTES));
      return;
    }
  }

  /** True when it is complete. */
  shakeHands(): boolean {
    const { ssl, stream } = this;
    const error = ssl.handshake();
    stream.sendOutput();
    if (error === 0) return true;
    if (error === SSL_ERROR_WANT_READ) return false;
    ssl.drop();
    if (isCleanEnd(error)) this.refuse(failure(PEER_CLOSED));
    else this.refuse(tlsError("SSL_do_handshake()", error));
    return false;
  }

  /** `rest`: received and not yet given to OpenSSL, which may have more of what the server has sent. */
  private complete(rest: Buffer): void {
    const { ssl, stream } = this;
    const wrong = this.verificationError();
    if (wrong !== undefined) {
      this.refuse(failure(wrong));
      return;
    }
    stream.inner.handler = stream;
    this.handler.onConnect(stream);
    if (!stream.closed && (rest.length > 0 || ssl.hasPending)) stream.decrypt(rest);
  }

  /** Nothing was refused during the handshake: the server's certificate is judged now, as in nginx. */
  private verificationError(): string | undefined {
    const { ssl } = this;
    const { verifiedName: name, refuses } = this.settings;
    if (refuses !== undefined) return refuses(ssl);
    if (name === undefined) return undefined;
    const result = verifyResult(ssl);
    if (result !== 0n) return `upstream SSL certificate verify error: (${result}:${verifyResultText(result)})`;
    const certificate = peerCertificate(ssl);
    if (certificate !== 0n && isForHost(certificate, name)) return undefined;
    return `upstream SSL certificate does not match "${name}"`;
  }

  private refuse(error: StreamError): void {
    this.stream.inner.handler = this.stream;
    this.stream.refuse(error);
  }

  onDrain(): void {}

  onSent(): void {
    // The last bytes of one that was given up meanwhile.
    if (this.stream.closed) this.stream.onSent();
  }

  onEnd(): void {
    if (!this.stream.closed) this.refuse(failure(PEER_CLOSED));
  }

  onClose(inner: Stream, error: StreamError | undefined): void {
    this.stream.onClose(inner, error && { ...error, sentence: `${PEER_CLOSED} (${error.message})` });
  }

  onFault(error: unknown): void {
    this.stream.onFault(error);
  }
}
