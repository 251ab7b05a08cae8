import type { ConnectOptions } from "../../net/engine.ts";
import { engine } from "../../net/engines.ts";
import type { ConnectHandler, Stream, StreamError } from "../../net/stream.ts";
import { startTls } from "../../net/tls/client.ts";
import type { Level } from "../../runtime/log/log.ts";
import type { FaultOwner } from "../../sys/guard.ts";
import { clientSettings, type TlsChoice } from "./tls.ts";

/** The connection that is being opened. */
export interface ConnectingOwner extends FaultOwner {
  /** Logs, with what the connection is doing. */
  log(level: Level, sentence: string): void;
  /** The handshake begins: `stream` is around the one before. */
  onHandshake(stream: Stream): void;
  /** Connected, and agreed on TLS. The stream's events are the owner's from here on. */
  onConnected(stream: Stream): void;
  /** The server failed; `condition` is a parameter of proxy_next_upstream. */
  nextUpstream(condition: string): void;
  /** This machine failed: no server counts as failed. */
  finalize(code: number): void;
}

/**
 * Connects to a server and agrees on TLS with it, and says in nginx's words what fails. The deadline is the owner's:
 * proxy_connect_timeout covers both (nginx).
 */
export class Connecting implements ConnectHandler {
  private readonly owner: ConnectingOwner;
  /** nginx's text of the server's address. */
  private readonly name: string;
  private readonly tls: TlsChoice | undefined;
  private handshaking = false;

  constructor(owner: ConnectingOwner, name: string, tls: TlsChoice | undefined) {
    this.owner = owner;
    this.name = name;
    this.tls = tls;
  }

  /** Begins. The events of the stream are this object's until `onConnected`. */
  connect(options: ConnectOptions): Stream {
    return engine().connect(options, this);
  }

  /** For the error log. */
  get doing(): string {
    return this.handshaking ? "SSL handshaking to upstream" : "connecting to upstream";
  }

  onConnect(stream: Stream): void {
    if (this.tls === undefined || this.handshaking) this.owner.onConnected(stream);
    else this.shakeHands(stream, this.tls);
  }

  /** Its end is `onConnect` with the stream over this one, or `onClose`. */
  private shakeHands(plain: Stream, choice: TlsChoice): void {
    const { owner } = this;
    const stream = startTls(plain, clientSettings(choice, this.name), this);
    if (typeof stream === "string") {
      owner.log("error", stream);
      owner.finalize(500);
      return;
    }
    this.handshaking = true;
    owner.onHandshake(stream);
  }

  onClose(stream: Stream, error: StreamError | undefined): void {
    const { owner } = this;
    if (this.handshaking) {
      owner.log(error?.crit ? "crit" : "error", error?.sentence ?? "closed");
    } else if (error?.code === "EMFILE" || error?.code === "ENFILE") {
      owner.log("alert", `socket() failed (${error.message})`);
      owner.finalize(500);
      return;
    } else {
      this.logFailure(stream, error);
    }
    owner.nextUpstream("error");
  }

  /** In nginx's words, which name a unix socket: connecting to one fails at once, or not at all. */
  private logFailure({ remote }: Stream, error: StreamError | undefined): void {
    const why = error?.message ?? "closed";
    if (remote.family !== "unix") {
      this.owner.log("error", `connect() failed (${why})`);
      return;
    }
    const busy = error?.code === "ECONNREFUSED" || error?.code === "EAGAIN";
    this.owner.log(busy ? "error" : "crit", `connect() to ${this.name} failed (${why})`);
  }

  onFault(error: unknown): void {
    this.owner.onFault(error);
  }

  // Nothing is sent or read meanwhile.
  onData(): void {}
  onDrain(): void {}
  onEnd(): void {}
}
