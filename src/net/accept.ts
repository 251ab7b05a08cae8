import type { FaultOwner } from "../sys/guard.ts";
import { clearDeadline, Deadline, setDeadline } from "../sys/timers.ts";
import { PROXY_ERROR, PROXY_MORE, type ProxyProtocol, ProxyProtocolReader } from "./proxy_protocol.ts";
import type { Stream, StreamError, StreamHandler } from "./stream.ts";

/**
 * The stages between accept and a connection's protocol: raw stream → PROXY protocol (where the listener asks for it).
 * A stage is the stream's handler until it is over. Then it gives its owner what it found out, with the stream that the
 * next stage or the protocol is to use (another, where it wraps the one below) and the bytes that came behind its own.
 * The owner decides what follows and makes that the stream's handler. A stage has a deadline of its own.
 */
export interface AcceptOwner extends FaultOwner {
  /** Logs a sentence in nginx's words, " while …" included; the owner says whose connection it is. The stream is destroyed next. */
  refused(level: "info" | "error", sentence: string): void;
  /** The stream is gone, refused or not: nothing follows. */
  closed(): void;
}

export interface ProxyProtocolOwner extends AcceptOwner {
  /** The header was read; undefined where it names no addresses. `rest` is lent. */
  proxyProtocolRead(stream: Stream, header: ProxyProtocol | undefined, rest: Buffer): void;
}

const DURING = " while reading PROXY protocol";

/** Reads the PROXY protocol's header off the start of a stream. */
export class ProxyProtocolStage implements StreamHandler {
  private readonly stream: Stream;
  private readonly owner: ProxyProtocolOwner;
  private readonly reader = new ProxyProtocolReader();
  private readonly deadline: Deadline<ProxyProtocolStage>;

  /** `timeout`: ms for the whole header. */
  constructor(stream: Stream, owner: ProxyProtocolOwner, timeout: number) {
    this.stream = stream;
    this.owner = owner;
    this.deadline = new Deadline<ProxyProtocolStage>(this, expired);
    setDeadline(this.deadline, timeout);
  }

  onData(stream: Stream, bytes: Buffer): void {
    const { reader } = this;
    const code = reader.feed(bytes, 0, bytes.length);
    if (code === PROXY_MORE) return;
    if (code === PROXY_ERROR) {
      this.refuse("error", reader.error);
      return;
    }
    clearDeadline(this.deadline);
    this.owner.proxyProtocolRead(stream, reader.header, bytes.subarray(reader.end));
  }

  onDrain(): void {}

  onEnd(): void {
    this.refuse("info", "client closed connection");
  }

  onClose(_stream: Stream, error: StreamError | undefined): void {
    clearDeadline(this.deadline);
    if (error !== undefined) this.owner.refused("info", `recv() failed (${error.message})${DURING}`);
    this.owner.closed();
  }

  expire(): void {
    this.refuse("info", "client timed out (110: Connection timed out)");
  }

  /** Of the protocol's too, while it is given what came behind the header. */
  onFault(error: unknown): void {
    this.owner.onFault(error);
  }

  private refuse(level: "info" | "error", sentence: string): void {
    clearDeadline(this.deadline);
    this.owner.refused(level, sentence + DURING);
    this.stream.destroy();
  }
}

function expired(stage: ProxyProtocolStage): void {
  stage.expire();
}
