import type { StreamError } from "../../net/stream.ts";
import type { AnswerSink, ServerExchange } from "./server_exchange.ts";

/**
 * A response that waits for a hook of the head: holds what has come of the answer. Meanwhile nothing is read from the server,
 * and none of its timeouts runs.
 */
export class HeadWait implements AnswerSink {
  readonly doing = "reading upstream";
  readonly connection: ServerExchange;
  /** The answer's head, and what has come behind it. */
  readonly bytes: Buffer;
  /** The hook to go on with; 0 while the hooks are called. */
  next = 0;
  /** An engine may report the server's end all the same: the receiver of the body learns of it. */
  private ended = false;
  private closed = false;
  private error: StreamError | undefined = undefined;

  /** `bytes` were lent. */
  constructor(connection: ServerExchange, bytes: Buffer) {
    this.connection = connection;
    this.bytes = Buffer.from(bytes);
    connection.passTo(this);
    connection.pause();
    connection.disarm();
  }

  /** The wait is over: somebody else gets what follows. */
  end(): void {
    this.connection.resume();
  }

  /** Has the receiver of the body learn what became of the server meanwhile. */
  replay(): void {
    const { connection } = this;
    if (this.ended) connection.missedEnd();
    if (this.closed) connection.missedClose(this.error);
  }

  /** Not while reading is paused. */
  onServerData(): void {}
  onServerRead(): void {}

  onServerEnd(): void {
    this.ended = true;
    this.connection.keepalive = false;
  }

  onServerClose(error: StreamError | undefined): void {
    this.closed = true;
    this.connection.keepalive = false;
    this.error = error;
  }

  /** No deadline is armed. */
  onTimeout(): void {}
}
