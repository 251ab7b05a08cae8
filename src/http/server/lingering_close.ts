import type { Stream, StreamError, StreamHandler } from "../../net/stream.ts";
import { logFault } from "../../sys/guard.ts";
import { clearDeadline, Deadline, setDeadline } from "../../sys/timers.ts";
import type { CoreSettings } from "../core/location.ts";

export type LingeringSettings = Pick<CoreSettings, "lingeringTime" | "lingeringTimeout" | "sendTimeout">;

/**
 * Closes a connection whose client may still be sending (`lingering_close`): half-closes, and drops what comes, because
 * a reset could destroy the response before the client has read it. `owner.onClose` follows.
 */
export class LingeringClose implements StreamHandler {
  private readonly stream: Stream;
  private readonly core: LingeringSettings;
  private readonly owner: StreamHandler;
  private readonly deadline: Deadline<LingeringClose>;
  private readonly until: number;
  private unsent = -1;

  constructor(stream: Stream, core: LingeringSettings, owner: StreamHandler) {
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
    // lingering_time is over: the connection stays open only as long as the client reads the response.
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
    // The client still reads the response: send_timeout restarts.
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
