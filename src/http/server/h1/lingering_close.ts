import type { Stream, StreamError, StreamHandler } from "../../../net/stream.ts";
import { logFault } from "../../../sys/guard.ts";
import { clearDeadline, Deadline, setDeadline } from "../../../sys/timers.ts";
import type { CoreSettings } from "../../core/location.ts";

/**
 * The end of a connection whose client may still be sending (`lingering_close`): our side is closed, what comes is
 * dropped, so that the client gets to read the answer instead of a reset. `owner.onClose` follows.
 */
export class LingeringClose implements StreamHandler {
  private readonly stream: Stream;
  private readonly core: CoreSettings;
  private readonly owner: StreamHandler;
  private readonly deadline: Deadline<LingeringClose>;
  private readonly until: number;
  private unsent = -1;

  constructor(stream: Stream, core: CoreSettings, owner: StreamHandler) {
    this.stream = stream;
    this.core = core;
    this.owner = owner;
    this.deadline = new Deadline<LingeringClose>(this, expired);
    this.until = performance.now() + core.lingeringTime;
    stream.handler = this;
    stream.end();
    this.arm();
    stream.resume();
  }

  private arm(): void {
    const left = this.until - performance.now();
    if (left > 0) setDeadline(this.deadline, Math.min(left, this.core.lingeringTimeout));
    else if (!this.stream.sending) this.stream.destroy();
    // lingering_time is over: the connection stays open only while the client reads the answer.
    else if (!this.deadline.armed) setDeadline(this.deadline, this.core.sendTimeout);
  }

  onData(): void {
    this.arm();
  }

  onDrain(): void {}

  onEnd(): void {
    if (!this.stream.sending) this.stream.destroy();
  }

  onClose(stream: Stream, error: StreamError | undefined): void {
    clearDeadline(this.deadline);
    this.owner.onClose(stream, error);
  }

  onFault(error: unknown): void {
    logFault(error, " while lingering close");
    this.stream.destroy();
  }

  expire(): void {
    const { stream } = this;
    // The client still reads the answer: send_timeout starts anew.
    if (stream.sending && this.unsent !== stream.unsent) {
      this.unsent = stream.unsent;
      setDeadline(this.deadline, this.core.sendTimeout);
    } else {
      stream.destroy();
    }
  }
}

function expired(lingering: LingeringClose): void {
  lingering.expire();
}
