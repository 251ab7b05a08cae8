import type { BrotliCompress, ZstdCompress } from "node:zlib";
import { boundary } from "../../../sys/guard.ts";
import { ERROR } from "../../core/codes.ts";
import { finalizeRequest } from "../../core/engine.ts";
import { BODY_FILTER, bodyWritable, FLUSH, LAST, PART_END, passBody, takesMore } from "../../core/filters.ts";
import { logError } from "../../core/log_context.ts";
import type { Request } from "../../core/request.ts";
import type { CompressFilter } from "./compress.ts";

type Stream = BrotliCompress | ZstdCompress;

/**
 * So many may be at work in a process: at these levels one takes 20 to 150 MiB, for as long as its client likes. What comes
 * meanwhile is to be compressed at a lower level.
 */
const MOST_STREAMS = 8;
let streams = 0;

/** Whether another one may be made. */
export function hasThread(): boolean {
  return streams < MOST_STREAMS;
}

/**
 * Compresses a body in a thread of libuv's, by a stream of node:zlib: for levels at which one block takes longer than a turn
 * of the event loop may. The source waits while a piece is compressed.
 */
export class ThreadedFilter implements CompressFilter {
  readonly place = BODY_FILTER.gzip;
  taken = 0;
  passed = 0;
  complete = false;
  private readonly request: Request;
  private readonly make: () => Stream;
  private stream: Stream | undefined = undefined;
  private next = 0;
  /** Pieces and flushes that are not through yet. */
  private pending = 0;
  /** The flags of the last piece, once it has come. */
  private last = 0;
  /** A flush is through whose bytes wait in the stream for the client. */
  private flushing = false;
  private closed = false;

  constructor(request: Request, make: () => Stream) {
    this.request = request;
    this.make = make;
    streams++;
    request.cleanup ??= [];
    request.cleanup.push(() => this.close());
  }

  push(request: Request, bytes: Uint8Array | string, flags: number, next: number): boolean {
    if (this.closed) return passBody(request, next, bytes, flags);
    if (bytes.length === 0 && flags === 0) return takesMore(request, this.place);
    this.next = next;
    const stream = this.stream ?? this.begin();
    this.taken += bytes.length;
    request.buffered |= 1 << this.place;
    if (bytes.length > 0) {
      this.pending++;
      stream.write(
        typeof bytes === "string" ? Buffer.from(bytes, "latin1") : Buffer.from(bytes),
        boundary(request, this.through),
      );
    }
    if ((flags & (LAST | PART_END)) !== 0) {
      this.last = flags;
      stream.end();
    } else if ((flags & FLUSH) !== 0) {
      this.pending++;
      stream.flush(boundary(request, this.flushed));
    }
    return false;
  }

  drain(): boolean {
    if (this.closed) return true;
    this.stream?.resume();
    return this.settle();
  }

  private begin(): Stream {
    const { request } = this;
    const stream = this.make();
    this.stream = stream;
    stream.on("data", boundary(request, this.output));
    stream.on("end", boundary(request, this.end));
    stream.on("error", boundary(request, this.fail));
    return stream;
  }

  private readonly output = (bytes: Buffer): void => {
    if (this.closed) return;
    const { stream, request } = this;
    this.passed += bytes.length;
    const flags = this.flushing && stream?.readableLength === 0 ? FLUSH : 0;
    if (flags !== 0) this.flushing = false;
    if (!passBody(request, this.next, bytes, flags)) stream?.pause();
  };

  private readonly through = (): void => {
    this.pending--;
    this.goOn();
  };

  private readonly flushed = (): void => {
    this.pending--;
    const { stream } = this;
    if (stream !== undefined && stream.readableLength > 0) this.flushing = true;
    else if (!this.closed) passBody(this.request, this.next, "", FLUSH);
    this.goOn();
  };

  private readonly end = (): void => {
    if (this.closed) return;
    const { request } = this;
    this.complete = true;
    this.close();
    request.buffered &= ~(1 << this.place);
    passBody(request, this.next, "", this.last);
    if (!request.finalized && !request.exchange.blocked) bodyWritable(request);
  };

  private readonly fail = (error: Error): void => {
    if (this.closed) return;
    this.close();
    logError(this.request, "error", `compression failed: ${error.message}`);
    finalizeRequest(this.request, ERROR);
  };

  /** Whether the source may go on: nothing is being compressed, and the last piece has not come. */
  private settle(): boolean {
    if (this.pending > 0 || this.last !== 0) return false;
    this.request.buffered &= ~(1 << this.place);
    return true;
  }

  private goOn(): void {
    const { request, stream } = this;
    if (this.closed || request.finalized || request.exchange.blocked || stream?.isPaused() === true) return;
    if (this.settle()) bodyWritable(request);
  }

  private close(): void {
    if (this.closed) return;
    this.closed = true;
    streams--;
    this.stream?.destroy();
  }
}
