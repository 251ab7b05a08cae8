import { now } from "../../../sys/clock.ts";

/** How many frames that carry nothing a server may send in so many ms. Long calls in which nothing is said have PING for days. */
const MOST = 1000;
const PERIOD = 1000;
/** What it was sent is a reason for more: for one in so many bytes, and for some for each frame. */
const BYTES_FOR_ONE = 128;
export const BYTES_OF_FRAME = 1024;
/** For no more than that at a time: what is on its way at once. */
const MOST_EARNED = 128 * 1024;

/**
 * What a server may send besides answers: PING, SETTINGS, WINDOW_UPDATE, empty DATA. Honest ones answer data with some of these
 * (a WINDOW_UPDATE for each KiB, a PING for each frame to measure the line); anything far beyond is work for nothing, at full rate.
 */
export class FrameLimits {
  private left = MOST;
  private since = now();
  /** What `requested` was when it was last a reason. */
  private seen = 0;
  /** Bytes of DATA that the windows of streams have room for which no request has any more: the server may not know yet. */
  private late = 0;

  /** A frame has carried something. */
  useful(): void {
    if (this.left < MOST) this.left = MOST;
  }

  /** `count` frames have come that carry nothing, or as much work; `requested`: see ServerOutput. False: that is too many. */
  allow(count: number, requested: number): boolean {
    this.left -= count;
    if (this.left >= 0) return true;
    this.left += Math.min(Math.floor((requested - this.seen) / BYTES_FOR_ONE), MOST_EARNED);
    this.seen = requested;
    if (this.left >= 0) return true;
    const time = now();
    if (time - this.since < PERIOD) return false;
    this.since = time;
    this.left = MOST - count;
    return this.left >= 0;
  }

  /** A request has given its stream up, whose window has room for so much. */
  expectLate(room: number): void {
    this.late += room;
  }

  /** DATA of so many bytes has come on such a stream. */
  takeLate(length: number): boolean {
    this.late -= length;
    return this.late >= 0;
  }
}
