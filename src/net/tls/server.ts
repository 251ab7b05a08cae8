import { guarded } from "../../sys/guard.ts";
import { type VerifiedChain, verifiedChain } from "../../sys/openssl/certificate_chain.ts";
import { SslError } from "../../sys/openssl/context.ts";
import {
  type HelloHandler,
  MOST_BYTES,
  SSL_AD_INTERNAL_ERROR,
  SSL_ERROR_WANT_READ,
  SslConnection,
} from "../../sys/openssl/ssl.ts";
import { clearDeadline, Deadline, setDeadline } from "../../sys/timers.ts";
import type { AcceptOwner } from "../accept.ts";
import { failureText, type Stream, type StreamError, type StreamHandler } from "../stream.ts";
import type { TlsContext } from "./context.ts";
import { isCleanEnd, PEER_CLOSED, tlsError } from "./errors.ts";
import { type ClientOcsp, ClientStatus, type ClientStatusOwner } from "./ocsp/client_status.ts";
import { LEAVING_MS, TlsStream } from "./stream.ts";

/** The stage of an accepted connection in which TLS is agreed on (see ../accept.ts). */
export interface TlsStageOwner extends AcceptOwner {
  /**
   * The context for the name that the client asks for, undefined without one. A number is the alert that refuses the
   * handshake.
   */
  contextFor(name: string | undefined, ssl: SslConnection): TlsContext | number;
  /** Sets the certificates of a connection whose context has none of its own. False, and a line in the log, where it cannot. */
  certify(ssl: SslConnection): boolean;
  /**
   * The handshake is complete. `rest` may hold bytes behind it, and so may `stream`: they are to be given to `decrypt`.
   * `certificateFailure`: why the client's certificate, although it was verified, is not accepted.
   */
  secured(stream: TlsStream, rest: Buffer, certificateFailure: string | undefined): void;
  /** Logs what is no reason to close the connection; the owner adds the client. */
  log(level: "error" | "crit" | "alert", sentence: string): void;
  /** The client speaks no TLS: these are its first bytes. */
  plain(stream: Stream, bytes: Buffer): void;
}

/** A record of a handshake; the first byte of an SSL 2 hello has this bit. */
const HANDSHAKE = 0x16;
const SSL2 = 0x80;

/**
 * A client that has sent more than this until the handshake was complete has most likely sent a key of ML-KEM, as browsers do: 1216 bytes,
 * of which OpenSSL makes 6.5 KiB. Those of other methods have a few hundred bytes, and are not worth the time.
 */
const WITH_LARGE_KEY = 1216;

const DURING = " while SSL handshaking";

/** The server's side of a handshake. Until it is complete, nothing but TLS's own bytes is kept. */
export class TlsStage implements StreamHandler, HelloHandler, ClientStatusOwner {
  private readonly stream: Stream;
  private readonly owner: TlsStageOwner;
  private readonly deadline: Deadline<TlsStage>;
  private context: TlsContext;
  private ssl: SslConnection | undefined = undefined;
  private greeted = false;
  private rejected = false;
  private refusedAlready = false;
  private leaving = false;
  /** While it is being found out whether the client's certificate is still good. */
  private clientStatus: ClientStatus | undefined = undefined;
  /** Received meanwhile. */
  private held = NOTHING;
  private received = 0;

  /** `context`: the address's; `timeout`: ms for the whole handshake. */
  constructor(stream: Stream, owner: TlsStageOwner, context: TlsContext, timeout: number) {
    this.stream = stream;
    this.owner = owner;
    this.context = context;
    this.deadline = new Deadline<TlsStage>(this, expired);
    setDeadline(this.deadline, timeout);
  }

  onData(stream: Stream, bytes: Buffer): void {
    if (this.leaving) return;
    if (this.clientStatus !== undefined) {
      this.held = Buffer.concat([this.held, bytes]);
      return;
    }
    if (this.ssl === undefined) {
      if (bytes[0] !== HANDSHAKE && (bytes[0] & SSL2) === 0) {
        clearDeadline(this.deadline);
        this.owner.plain(stream, bytes);
        return;
      }
      this.ssl = new SslConnection(this.context.ssl, "server");
      this.ssl.helloHandler = this;
    }
    this.shakeHands(this.ssl, bytes);
  }

  private shakeHands(ssl: SslConnection, bytes: Buffer): void {
    const { stream } = this;
    this.received += bytes.length;
    let error = SSL_ERROR_WANT_READ;
    let at = 0;
    while (error === SSL_ERROR_WANT_READ) {
      if (at >= bytes.length || stream.closed) return;
      ssl.receive(bytes.subarray(at, at + MOST_BYTES));
      at += MOST_BYTES;
      error = ssl.handshake();
      const output = ssl.takeOutput();
      if (output !== undefined) stream.write(output);
    }
    if (error === 0) {
      const rest = bytes.subarray(at);
      if (this.context.clientOcsp === undefined) this.complete(ssl, rest, undefined);
      else this.askForStatus(ssl, this.context.clientOcsp, rest);
      return;
    }
    ssl.drop();
    if (isCleanEnd(error)) this.refuse("info", PEER_CLOSED);
    else if (this.rejected) this.refuse("info", "handshake rejected");
    else this.failed(tlsError("SSL_do_handshake()", error));
  }

  private failed(error: StreamError): void {
    this.refuse(error.crit ? "crit" : "info", error.sentence ?? error.message);
  }

  /** ngx_ssl_ocsp_validate: as far as the client can tell, the handshake is over. */
  private askForStatus(ssl: SslConnection, ocsp: ClientOcsp, rest: Buffer): void {
    this.held = Buffer.concat([ssl.takeUnused() ?? NOTHING, rest]);
    let chain: VerifiedChain | undefined;
    try {
      chain = verifiedChain(ssl, this.context.ssl);
    } catch (error) {
      if (!(error instanceof SslError)) throw error;
      this.refuse("error", error.message);
      return;
    }
    if (chain === undefined) {
      this.complete(ssl, this.held, undefined);
      return;
    }
    const status = new ClientStatus(chain, this.context.ssl, ocsp, this);
    this.clientStatus = status;
    if (status.start()) this.proceed();
    else this.stream.pause();
  }

  /** Exceptions in what follows are this connection's. */
  clientStatusKnown(): void {
    this.stream.resume();
    guarded(proceed, this);
  }

  proceed(): void {
    const { ssl, clientStatus, held } = this;
    if (ssl === undefined || clientStatus === undefined) return;
    this.clientStatus = undefined;
    this.held = NOTHING;
    this.complete(ssl, held, clientStatus.failure);
  }

  log(level: "error" | "crit" | "alert", sentence: string): void {
    this.owner.log(level, sentence);
  }

  private complete(ssl: SslConnection, rest: Buffer, certificateFailure: string | undefined): void {
    clearDeadline(this.deadline);
    ssl.helloHandler = undefined;
    if (this.context.handshakeOnly) {
      ssl.drop();
      this.refusedAlready = true;
      this.leave();
      return;
    }
    if (this.received > WITH_LARGE_KEY) ssl.forgetPeerKey();
    this.ssl = undefined;
    const secured = new TlsStream(this.stream, ssl, this, this.context.recordSize);
    this.stream.handler = secured;
    this.owner.secured(secured, rest, certificateFailure);
  }

  onClientHello(name: string | undefined): number {
    const { ssl } = this;
    if (ssl === undefined) return SSL_AD_INTERNAL_ERROR;
    // A second ClientHello, after a HelloRetryRequest, changes nothing.
    if (this.greeted) return 0;
    this.greeted = true;
    const found = this.owner.contextFor(name, ssl);
    if (typeof found === "number") {
      this.rejected = true;
      return found;
    }
    if (found !== this.context) {
      this.context = found;
      ssl.useContext(found.ssl);
    }
    return 0;
  }

  onCertificate(): boolean {
    return this.ssl !== undefined && this.owner.certify(this.ssl);
  }

  onStatusRequest(certificate: bigint): Uint8Array | undefined {
    return this.context.staples?.responseFor(certificate);
  }

  onDrain(): void {}

  onSent(): void {
    if (this.leaving) this.stream.destroy();
  }

  onEnd(): void {
    if (this.leaving) return;
    this.refuse("info", this.ssl === undefined ? "client closed connection" : PEER_CLOSED);
  }

  /** While paused: so that a reset is noticed. A client that only sends no more may still want its answer. */
  onPeerClosed(): void {}

  onClose(_stream: Stream, error: StreamError | undefined): void {
    clearDeadline(this.deadline);
    this.clientStatus?.cancel();
    this.clientStatus = undefined;
    if (error !== undefined && !this.refusedAlready) {
      const sentence = this.ssl === undefined ? failureText("recv", error) : `${PEER_CLOSED} (${error.message})`;
      this.owner.refused("info", sentence + DURING);
    }
    this.ssl?.free();
    this.ssl = undefined;
    this.owner.closed();
  }

  expire(): void {
    if (this.leaving) {
      this.stream.destroy();
      return;
    }
    this.refuse("info", "client timed out (110: Connection timed out)");
  }

  /** Also called for exceptions of the protocol while it handles `rest`. */
  onFault(error: unknown): void {
    this.owner.onFault(error);
  }

  private refuse(level: "info" | "error" | "crit", sentence: string): void {
    clearDeadline(this.deadline);
    this.clientStatus?.cancel();
    this.clientStatus = undefined;
    this.refusedAlready = true;
    this.owner.refused(level, sentence + DURING);
    this.leave();
  }

  /** The alert that tells the client why may still be on its way. */
  private leave(): void {
    const { stream } = this;
    if (!stream.sending || this.leaving) {
      stream.destroy();
      return;
    }
    this.leaving = true;
    stream.pause();
    setDeadline(this.deadline, LEAVING_MS);
  }
}

const NOTHING = Buffer.alloc(0);

function expired(stage: TlsStage): void {
  stage.expire();
}

function proceed(stage: TlsStage): void {
  stage.proceed();
}
