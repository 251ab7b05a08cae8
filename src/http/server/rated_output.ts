import { parseSize } from "../../config/values.ts";
import { wallAt } from "../../sys/clock.ts";
import type { Request } from "../core/request.ts";

/** sendfile_max_chunk's default: the most that is sent at once, so that the rate is visible. */
const MAX_PIECE = 2 * 1024 * 1024;

/** Output that limit_rate holds back (ngx_http_write_filter). */
export class RatedOutput {
  private readonly queue: Buffer[] = [];
  /** ms until more may be sent; 0 if more may be sent now. */
  wait = 0;

  get empty(): boolean {
    return this.queue.length === 0;
  }

  /** Queues bytes, which are lent for the call. */
  add(bytes: Uint8Array | string): void {
    this.queue.push(typeof bytes === "string" ? Buffer.from(bytes, "latin1") : Buffer.from(bytes));
  }

  /** All that is queued, whatever the rate. */
  rest(): Buffer {
    return Buffer.concat(this.queue);
  }

  /**
   * The bytes to send now, after `sent` bytes of the response; undefined if nothing is queued or it is too early. Sets
   * `wait`.
   */
  take(request: Request, sent: number): Buffer | undefined {
    const { queue } = this;
    this.wait = 0;
    if (queue.length === 0) return undefined;
    const [piece] = queue;
    const { limitRate: rate, limitRateAfter: after } = request;
    let allowed = Math.min(piece.length, MAX_PIECE);
    if (rate > 0) {
      // Whole seconds, as in nginx.
      const seconds = Math.floor(Date.now() / 1000) - Math.floor(wallAt(request.startedAt) / 1000) + 1;
      const budget = rate * seconds - (sent - after);
      if (budget <= 0) {
        this.wait = Math.floor((-budget * 1000) / rate) + 1;
        return undefined;
      }
      allowed = Math.min(allowed, budget);
      const counted = Math.max(0, sent + allowed - after) - Math.max(0, sent - after);
      this.wait = Math.floor((counted * 1000) / rate);
    }
    if (allowed === piece.length) {
      queue.shift();
      return piece;
    }
    queue[0] = piece.subarray(allowed);
    return piece.subarray(0, allowed);
  }
}

/** Sets `request.limitRate` and `limitRateAfter`, unless `set $limit_rate` has. */
export function computeRate(request: Request): void {
  const { limitRate, limitRateAfter } = request.location.core;
  if (request.limitRate < 0) request.limitRate = limitRate === undefined ? 0 : rateOf(limitRate.render(request));
  request.limitRateAfter = limitRateAfter === undefined ? 0 : rateOf(limitRateAfter.render(request));
}

function rateOf(text: string): number {
  return parseSize(text) ?? 0;
}
