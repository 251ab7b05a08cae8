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
import { isCleanEnd, tlsError } from "./errors.ts";
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
  /** The handshake is complete. `rest` may hold bytes behind it, and so may `stream`: they are to be given to `decrypt`. */
  secured(stream: TlsStream, rest: Buffer): void;
  /** The client speaks no TLS: these are its first bytes. */
  plain(stream: Stream, bytes: Buffer): void;
}

/** A record of a handshake; the first byte of an SSL 2 hello has this bit. */
const HANDSHAKE = 0x16;
const SSL2 = 0x80;

const DURING = " while SSL handshaking";

/** The server's side of a handshake. Until it is complete, nothing but TLS's own bytes is kept. */
export class TlsStage implements StreamHandler, HelloHandler {
  private readonly stream: Stream;
  private readonly owner: TlsStageOwner;
  private readonly deadline: Deadline<TlsStage>;
  private context: TlsContext;
  private ssl: SslConnection | undefined = undefined;
  private rejected = false;
  private refusedAlready = false;
  private leaving = false;

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
    let error = SSL_ERROR_WANT_READ;
    let at = 0;
    while (error === SSL_ERROR_WANT_READ) {
      if (at >= bytes.length || stream.closed) return;
      ssl.receive(bytes.subarray(at, at + MOST_BYTES));
      at += MOST_BYTES;
      error = ssl.handshake();
      for (let output = ssl.takeOutput(); output !== undefined; output = ssl.takeOutput()) stream.write(output);
    }
    if (error === 0) {
      this.complete(ssl, bytes.subarray(at));
      return;
    }
    ssl.drop();
    if (isCleanEnd(error)) this.refuse("info", "peer closed connection in SSL handshake");
    else if (this.rejected) this.refuse("info", "handshake rejected");
    else this.failed(tlsError("SSL_do_handshake()", error));
  }

  private failed(error: StreamError): void {
    this.refuse(error.crit ? "crit" : "info", error.sentence ?? error.message);
  }

  private complete(ssl: SslConnection, rest: Buffer): void {
    clearDeadline(this.deadline);
    ssl.helloHandler = undefined;
    if (this.context.handshakeOnly) {
      ssl.drop();
      this.refusedAlready = true;
      this.leave();
      return;
    }
    this.ssl = undefined;
    const secured = new TlsStream(this.stream, ssl, this, this.context.recordSize);
    this.stream.handler = secured;
    this.owner.secured(secured, rest);
  }

  onClientHello(name: string | undefined): number {
    const { ssl } = this;
    if (ssl === undefined) return SSL_AD_INTERNAL_ERROR;
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

  onDrain(): void {}

  onSent(): void {
    if (this.leaving) this.stream.destroy();
  }

  onEnd(): void {
    if (this.leaving) return;
    this.refuse(
      "info",
      this.ssl === undefined ? "client closed connection" : "peer closed connection in SSL handshake",
    );
  }

  onClose(_stream: Stream, error: StreamError | undefined): void {
    clearDeadline(this.deadline);
    if (error !== undefined && !this.refusedAlready) {
      this.owner.refused("info", failureText(this.ssl === undefined ? "recv" : "SSL_do_handshake", error) + DURING);
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

function expired(stage: TlsStage): void {
  stage.expire();
}
