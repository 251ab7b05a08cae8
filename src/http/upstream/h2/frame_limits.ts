import { now } from "../../../sys/clock.ts";

/** How many frames a server may send one after the other, within so many ms, that carry nothing: PING, SETTINGS, empty DATA. */
const MOST_IDLE = 1000;
const PERIOD = 1000;
/** How many WINDOW_UPDATE it may send for each frame that it was sent, and how many more. */
const UPDATES = 8;
const MOST_UPDATES = 1000;

/** What a server may send besides answers. Anything beyond is work for nothing, and may come at full rate. */
export class FrameLimits {
  private idle = 0;
  /** When the first of these came. */
  private since = 0;
  private updates = 0;
  /** Bytes of DATA that the windows of streams have room for which no request has any more: the server may not know yet. */
  private late = 0;

  /** A frame has carried something. */
  useful(): void {
    this.idle = 0;
  }

  /** A frame has come that carries nothing, or `count` of them. False: that is too many. */
  idles(count: number): boolean {
    this.idle += count;
    if (this.idle <= MOST_IDLE) return true;
    // Long calls in which nothing is said have PING for days.
    const time = now();
    if (time - this.since < PERIOD) return false;
    this.since = time;
    this.idle = count;
    return count <= MOST_IDLE;
  }

  /** WINDOW_UPDATE has come; `sent`: how many frames the server was sent that use windows. */
  update(sent: number): boolean {
    return ++this.updates <= MOST_UPDATES + UPDATES * sent;
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
