import type { Stream, StreamHandler } from "../../net/stream.ts";
import { logFault } from "../../sys/guard.ts";
import { clearDeadline, Deadline, setDeadline } from "../../sys/timers.ts";

/** How long a server has for what it says behind its answer, ms, and how many bytes that may be. */
const PATIENCE = 5000;
const MOST = 64 * 1024;

/** Closes a connection that no request needs any more when its server does, or with its patience at an end. */
export function awaitClose(stream: Stream): void {
  stream.handler = new ServerClose(stream);
}

class ServerClose implements StreamHandler {
  private readonly stream: Stream;
  private readonly deadline: Deadline<ServerClose>;
  private left = MOST;

  constructor(stream: Stream) {
    this.stream = stream;
    this.deadline = new Deadline<ServerClose>(this, close);
    setDeadline(this.deadline, PATIENCE);
  }

  onData(_stream: Stream, bytes: Buffer): void {
    this.left -= bytes.length;
    if (this.left < 0) this.close();
  }

  onDrain(): void {}

  onEnd(): void {
    this.close();
  }

  onClose(): void {
    clearDeadline(this.deadline);
  }

  onFault(error: unknown): void {
    logFault(error, " on a connection that a server is to close");
    this.close();
  }

  close(): void {
    clearDeadline(this.deadline);
    this.stream.destroy();
  }
}

function close(waiting: ServerClose): void {
  waiting.close();
}
