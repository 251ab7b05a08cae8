import { setServerName } from "../../sys/openssl/client.ts";
import { takeErrors } from "../../sys/openssl/errors.ts";
import { MOST_BYTES, SSL_ERROR_WANT_READ, SslConnection } from "../../sys/openssl/ssl.ts";
import type { ConnectHandler, Stream, StreamError, StreamHandler } from "../stream.ts";
import type { TlsContext } from "./context.ts";
import { isCleanEnd, tlsError } from "./errors.ts";
import { TlsStream } from "./stream.ts";

/** How to agree on TLS with a server. */
export interface TlsClientSettings {
  readonly context: TlsContext;
  /** The name that the server is asked for (SNI), a byte string; "" for none. */
  readonly serverName: string;
}

/**
 * Begins the handshake on a stream that is connected. `handler.onConnect` follows with the TlsStream that is returned, or
 * `onClose` with the StreamError, whose sentence says what failed. A deadline is the caller's. A string is what failed on
 * this side, in nginx's words; then the stream is left as it was.
 */
export function startTls(inner: Stream, settings: TlsClientSettings, handler: ConnectHandler): TlsStream | string {
  const ssl = prepare(settings);
  if (typeof ssl === "string") return ssl;
  const handshake = new ClientHandshake(inner, ssl, settings, handler);
  inner.handler = handshake;
  handshake.shakeHands();
  return handshake.stream;
}

/** ngx_http_upstream_ssl_init_connection */
function prepare({ context, serverName }: TlsClientSettings): SslConnection | string {
  const ssl = new SslConnection(context.ssl, "client");
  if (serverName === "" || setServerName(ssl, serverName)) return ssl;
  const failed = `SSL_set_tlsext_host_name("${serverName}") failed${takeErrors()}`;
  ssl.free();
  return failed;
}

const PEER_CLOSED = "peer closed connection in SSL handshake";
const CLOSED: StreamError = { code: "EPROTO", message: PEER_CLOSED, sentence: PEER_CLOSED };

/** The client's side of a handshake, which has the inner stream's events until it is complete. */
class ClientHandshake implements StreamHandler {
  readonly stream: TlsStream;
  private readonly ssl: SslConnection;
  private readonly handler: ConnectHandler;

  constructor(inner: Stream, ssl: SslConnection, { context }: TlsClientSettings, handler: ConnectHandler) {
    this.ssl = ssl;
    this.handler = handler;
    this.stream = new TlsStream(inner, ssl, handler, context.recordSize);
  }

  onData(_inner: Stream, bytes: Buffer): void {
    if (this.stream.closed) return;
    this.ssl.receive(bytes.subarray(0, MOST_BYTES));
    if (this.shakeHands()) this.complete(bytes.subarray(MOST_BYTES));
  }

  /** True when it is complete. */
  shakeHands(): boolean {
    const { ssl, stream } = this;
    const error = ssl.handshake();
    stream.sendOutput();
    if (error === 0) return true;
    if (error === SSL_ERROR_WANT_READ) return false;
    ssl.takeUnused();
    if (isCleanEnd(error)) this.refuse(CLOSED);
    else this.refuse(tlsError("SSL_do_handshake()", error));
    return false;
  }

  /** `rest`: received and not yet given to OpenSSL. What it has of the server's data, or of its tickets, may be needed too. */
  private complete(rest: Buffer): void {
    const { ssl, stream } = this;
    const unused = ssl.takeUnused();
    stream.inner.handler = stream;
    this.handler.onConnect(stream);
    if (stream.closed) return;
    if (unused !== undefined) stream.decrypt(Buffer.concat([unused, rest]));
    else if (rest.length > 0 || ssl.hasPending) stream.decrypt(rest);
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
    if (!this.stream.closed) this.refuse(CLOSED);
  }

  onClose(inner: Stream, error: StreamError | undefined): void {
    this.stream.onClose(inner, error && { ...error, sentence: `${PEER_CLOSED} (${error.message})` });
  }

  onFault(error: unknown): void {
    this.stream.onFault(error);
  }
}
