import type { Stream, StreamError, StreamHandler } from "../../../net/stream.ts";
import { clearDeadline, Deadline, setDeadline } from "../../../sys/timers.ts";
import { PREFACE } from "../../../wire/h2/frames.ts";

/** The connection whose protocol is found out. */
export interface PrefaceOwner {
  /** `rest`: what has come, lent for the call; of HTTP/2 the preface is in it. */
  protocolFound(stream: Stream, http2: boolean, rest: Buffer): void;
  prefaceFailed(sentence: string): void;
  closed(): void;
  onFault(error: unknown): void;
}

/** Finds out whether a client without TLS begins with HTTP/2 (RFC 9113 section 3.3). */
export class PrefaceStage implements StreamHandler {
  readonly #stream: Stream;
  readonly #owner: PrefaceOwner;
  readonly #deadline: Deadline<PrefaceStage>;
  #waiting: Buffer = Buffer.alloc(0);

  constructor(stream: Stream, owner: PrefaceOwner, timeout: number) {
    this.#stream = stream;
    this.#owner = owner;
    this.#deadline = new Deadline<PrefaceStage>(this, expired);
    setDeadline(this.#deadline, timeout);
  }

  onData(stream: Stream, bytes: Buffer): void {
    const all = this.#waiting.length === 0 ? bytes : Buffer.concat([this.#waiting, bytes]);
    const count = Math.min(all.length, PREFACE.length);
    const matches = all.latin1Slice(0, count) === PREFACE.slice(0, count);
    if (matches && count < PREFACE.length) {
      this.#waiting = Buffer.from(all);
      return;
    }
    clearDeadline(this.#deadline);
    this.#owner.protocolFound(stream, matches, all);
  }

  onDrain(): void {}

  onEnd(stream: Stream): void {
    this.#owner.prefaceFailed("client closed connection while waiting for request");
    stream.destroy();
  }

  onClose(_stream: Stream, _error: StreamError | undefined): void {
    clearDeadline(this.#deadline);
    this.#owner.closed();
  }

  onFault(error: unknown): void {
    this.#owner.onFault(error);
  }

  expire(): void {
    this.#owner.prefaceFailed("client timed out (110: Connection timed out) while waiting for request");
    this.#stream.destroy();
  }
}

function expired(stage: PrefaceStage): void {
  stage.expire();
}
