import { defer } from "../../../sys/guard.ts";
import { bodyWritable, passBody, takesMore } from "../../core/filters.ts";
import type { Request } from "../../core/request.ts";

/** What a filter passes on in one turn of the event loop, before others have theirs. */
const PER_TURN = 1024 * 1024;
/** Pieces are gathered up to this size. */
const GATHER = 64 * 1024;
/** From this length on a piece is passed on as it is. */
const LARGE = 16 * 1024;

/** The buffer to gather in. Whoever uses it takes it away meanwhile: to pass bytes on may lead to another response. */
let spare: Buffer | undefined;

/** Passes the many small pieces of a filter's output on in larger ones, and says when it has to stop. */
export class Gatherer {
  /** Between `begin` and `end`. */
  busy = false;
  /** More may be put. */
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

  /** Takes a piece, which is lent for the call. */
  put(bytes: Uint8Array): void {
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
    this.buffer.set(bytes, this.length);
    this.length += length;
  }

  /** Passes on the rest. `waits`: the filter has more, and its turn comes again where it need not wait for the client. */
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

  private flush(flags: number): void {
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
