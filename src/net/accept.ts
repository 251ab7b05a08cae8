import type { FaultOwner } from "../sys/guard.ts";
import { clearDeadline, Deadline, setDeadline } from "../sys/timers.ts";
import { PROXY_ERROR, PROXY_MORE, type ProxyProtocol, ProxyProtocolReader } from "./proxy_protocol.ts";
import { failureText, type Stream, type StreamError, type StreamHandler } from "./stream.ts";

/**
 * The stages between accept() and a connection's protocol: raw stream → PROXY protocol (if the listener has it) → …
 * A stage is the handler of the stream until it is complete. It then passes to its owner its result, the stream to
 * continue with (a new one if the stage wraps the stream, as TLS does) and the bytes received behind its own; the owner
 * starts the next stage or the protocol and makes it the handler. Each stage has its own deadline.
 */
export interface AcceptOwner extends FaultOwner {
  /** Logs why the connection is closed, in nginx's words with " while …"; the owner adds the client. */
  refused(level: "info" | "error" | "crit", sentence: string): void;
  /** The stream is closed. The last call. */
  closed(): void;
}

export interface ProxyProtocolOwner extends AcceptOwner {
  /** The header is read; undefined if it has no addresses. `rest` is valid during the call only. */
  proxyProtocolRead(stream: Stream, header: ProxyProtocol | undefined, rest: Buffer): void;
}

const DURING = " while reading PROXY protocol";

/** Reads the header of the PROXY protocol from the start of a stream. */
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
    if (error !== undefined) this.owner.refused("info", failureText("recv", error) + DURING);
    this.owner.closed();
  }

  expire(): void {
    this.refuse("info", "client timed out (110: Connection timed out)");
  }

  /** Also called for exceptions of the protocol while it handles `rest`. */
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
