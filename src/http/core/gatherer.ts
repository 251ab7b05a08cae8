import { defer } from "../../sys/guard.ts";
import { bodyWritable, passBody, takesMore } from "./filters.ts";
import type { Request } from "./request.ts";

/** How much a filter passes on in one turn of the event loop. */
const PER_TURN = 1024 * 1024;
/** Size of the buffer that small pieces are gathered in. */
const GATHER = 64 * 1024;
/** Pieces of at least this length are passed on without copying. */
const LARGE = 16 * 1024;

/** The shared buffer. Undefined while in use: passing bytes on may start to filter another response. */
let spare: Buffer | undefined;

/** Joins the small pieces of a filter's output before passing them on, and tells it when to stop. */
export class Gatherer {
  /** Between `begin` and `end`. */
  busy = false;
  /** `put` may be called with more. */
  more = true;
  private request: Request | undefined = undefined;
  private next = 0;
  private taking = true;
  private passed = 0;
  private buffer: Buffer | undefined = undefined;
  private length = 0;

  begin(request: Request, next: number, place: number): void {
    this.busy = true;
    this.request = request;
    this.next = next;
    this.passed = 0;
    this.taking = takesMore(request, place);
    this.more = this.taking;
  }

  /** Takes a piece, lent for the call. */
  put(bytes: Uint8Array | string): void {
    const { length } = bytes;
    if (length >= LARGE || this.length + length > GATHER) this.flush(0);
    if (length >= LARGE) {
      this.pass(bytes, 0);
      return;
    }
    if (this.buffer === undefined) {
      this.buffer = spare ?? Buffer.allocUnsafeSlow(GATHER);
      spare = undefined;
    }
    if (typeof bytes === "string") this.buffer.latin1Write(bytes, this.length, length);
    else this.buffer.set(bytes, this.length);
    this.length += length;
  }

  /**
   * Passes on the rest. `waits`: the filter has more; unless the client is slow, it is called again in a later turn.
   */
  end(flags: number, waits: boolean): boolean {
    const { request } = this;
    this.flush(flags);
    if (this.buffer !== undefined) spare = this.buffer;
    this.buffer = undefined;
    this.busy = false;
    this.request = undefined;
    if (waits && this.taking && request !== undefined) defer(goOn, request);
    return this.taking;
  }

  /** Passes on what was gathered. */
  flush(flags: number): void {
    const { buffer, length } = this;
    if (buffer !== undefined && length > 0) {
      this.length = 0;
      this.pass(buffer.subarray(0, length), flags);
    } else if (flags !== 0) {
      this.pass("", flags);
    }
  }

  private pass(bytes: Uint8Array | string, flags: number): void {
    if (this.request === undefined) return;
    this.passed += bytes.length;
    this.taking = passBody(this.request, this.next, bytes, flags);
    this.more = this.taking && this.passed < PER_TURN;
  }
}

function goOn(request: Request): void {
  if (!request.finalized && !request.exchange.blocked) bodyWritable(request);
}
