import type { Mapping } from "../../sys/memory.ts";

/**
 * Bytes that go to the kernel with the next `enter`, of all streams, one piece behind the other. A socket that has room takes
 * them there and then; what it does not take is copied to where it can stay. So this is empty again after each turn.
 */
export class Outbox {
  static readonly size = 256 * 1024;
  readonly bytes: Buffer;
  private readonly low: number;
  private readonly high: number;
  private used = 0;
  private pieces = 0;

  constructor({ buffer, address }: Mapping) {
    this.bytes = Buffer.from(buffer);
    this.low = Number(address & 0xffffffffn);
    this.high = Number(address >> 32n);
  }

  /** The halves of the address of what is at a place. */
  addressLow(at: number): number {
    return (this.low + at) >>> 0;
  }

  addressHigh(at: number): number {
    return this.low + at > 0xffffffff ? this.high + 1 : this.high;
  }

  /** Begins a piece. Returns where; -1 if there is no room. */
  begin(length: number): number {
    if (this.pieces === 0) this.used = 0;
    const at = this.used;
    if (at + length > Outbox.size) return -1;
    this.used = at + length;
    this.pieces++;
    return at;
  }

  /** Adds to the piece that ends at `end`. False if others follow, or there is no room. */
  extend(end: number, length: number): boolean {
    if (end !== this.used || end + length > Outbox.size) return false;
    this.used = end + length;
    return true;
  }

  /** A piece is not needed any more. */
  end(): void {
    this.pieces--;
  }

  put(data: Uint8Array | string, at: number): void {
    if (typeof data === "string") this.bytes.latin1Write(data, at, data.length);
    else this.bytes.set(data, at);
  }
}
