import { type Slab, takeSlab } from "../../../net/slabs.ts";
import type { Stream } from "../../../net/stream.ts";
import { defer } from "../../../sys/guard.ts";
import { DEFAULT_WINDOW, NO_TABLE } from "../../../wire/h2/frames.ts";

/** A stream that has sent something. */
export interface SentStream {
  /** In the list of those that are told. */
  awaitsSent: boolean;
  /** `written` of the connection after its last byte. */
  readonly mark: number;
  /** The kernel has all that was sent. */
  onSent(): void;
}

/**
 * What is sent on a connection to a server. Frames are put one behind the other while a turn of the event loop lasts, whatever
 * stream they are of, and written together at its end.
 */
export class ServerOutput {
  stream: Stream;
  /** Bytes put so far. */
  written = 0;
  /** How much may be sent on all streams together, and on a new one. */
  window = DEFAULT_WINDOW;
  initialWindow = DEFAULT_WINDOW;
  /** How much of requests was put: bytes of DATA, and BYTES_OF_FRAME for each of their frames. */
  requested = 0;
  /** The server has set the size of its table, and the next block has to say that none is used (RFC 7541 section 4.2). */
  tableChanged = false;
  private slab: Slab | undefined = undefined;
  private scheduled = false;
  /** The socket takes no more for now. */
  private full = false;
  private awaiting: SentStream[] = [];
  private told: SentStream[] = [];

  constructor(stream: Stream) {
    this.stream = stream;
  }

  /** The kernel does not have all that was put. */
  get sending(): boolean {
    return this.slab !== undefined || this.stream.sending;
  }

  get unsent(): number {
    return this.stream.unsent + (this.slab === undefined ? 0 : this.slab.end);
  }

  /** How many bytes the kernel has. */
  get taken(): number {
    return this.written - this.unsent;
  }

  /** False when the server takes no more for now: `onDrain` of the stream follows. */
  put(bytes: Uint8Array | string): boolean {
    const { length } = bytes;
    this.written += length;
    let { slab } = this;
    if (slab !== undefined && slab.end + length > slab.bytes.length) {
      this.flush();
      slab = undefined;
    }
    if (slab === undefined) {
      slab = takeSlab();
      if (length > slab.bytes.length) {
        slab.release();
        this.full = !this.stream.write(bytes);
        return !this.full;
      }
      this.slab = slab;
      if (!this.scheduled) {
        this.scheduled = true;
        defer(endTurn, this);
      }
    }
    if (typeof bytes === "string") slab.bytes.latin1Write(bytes, slab.end, length);
    else slab.bytes.set(bytes, slab.end);
    slab.end += length;
    return !this.full;
  }

  get more(): boolean {
    return !this.full;
  }

  /** What the next header block begins with. */
  blockStart(): string {
    if (!this.tableChanged) return "";
    this.tableChanged = false;
    return NO_TABLE;
  }

  /** Calls `onSent` of the stream when the kernel has all that was put so far. */
  awaitSent(stream: SentStream): void {
    if (stream.awaitsSent) return;
    stream.awaitsSent = true;
    this.awaiting.push(stream);
  }

  flush(): void {
    const { slab } = this;
    if (slab === undefined) return;
    this.slab = undefined;
    const { bytes, end } = slab;
    this.full = !this.stream.write(end === bytes.length ? bytes : bytes.subarray(0, end));
    slab.release();
  }

  endTurn(): void {
    this.scheduled = false;
    this.flush();
    this.tellSent();
  }

  onDrain(): void {
    this.full = false;
    this.tellSent();
  }

  /** Tells the streams whose last byte the kernel has: others may keep the connection busy for long. */
  tellSent(): void {
    const { awaiting } = this;
    if (awaiting.length === 0) return;
    const { taken } = this;
    this.awaiting = this.told;
    this.told = awaiting;
    for (const stream of awaiting) {
      if (stream.mark > taken) {
        this.awaiting.push(stream);
        continue;
      }
      stream.awaitsSent = false;
      stream.onSent();
    }
    awaiting.length = 0;
  }

  /** The connection is closed. */
  close(): void {
    this.slab?.release();
    this.slab = undefined;
    this.awaiting.length = 0;
  }
}

function endTurn(output: ServerOutput): void {
  output.endTurn();
}
