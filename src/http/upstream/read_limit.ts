import { now } from "../../sys/clock.ts";

/**
 * proxy_limit_rate: limits how fast a server's response is read, in bytes a second. Counts as nginx's event pipe does:
 * whole seconds since the first read, the current one included.
 */
export class ReadLimit {
  /** ms to wait before the next read, after `allow`. */
  delay = 0;
  private readonly rate: number;
  private readonly startSecond: number;
  private taken = 0;
  private held: Buffer | undefined = undefined;

  constructor(rate: number) {
    this.rate = rate;
    this.startSecond = Math.floor(now() / 1000);
  }

  /** How many of `length` bytes may be taken now. */
  allow(length: number): number {
    const seconds = Math.floor(now() / 1000) - this.startSecond + 1;
    const budget = this.rate * seconds - this.taken;
    if (budget <= 0) {
      this.delay = Math.floor((-budget * 1000) / this.rate) + 1;
      return 0;
    }
    const allowed = Math.min(length, budget);
    this.taken += allowed;
    this.delay = Math.floor((allowed * 1000) / this.rate);
    return allowed;
  }

  /** Keeps a copy of bytes that were read too early. */
  hold(bytes: Buffer): void {
    this.held = this.held === undefined ? Buffer.from(bytes) : Buffer.concat([this.held, bytes]);
  }

  /** Returns the bytes kept, to be offered again. */
  release(): Buffer | undefined {
    const { held } = this;
    this.held = undefined;
    return held;
  }
}
