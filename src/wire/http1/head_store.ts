import { SPAN } from "./field_scan.ts";

/** Positions of the head being read, shared by all heads: one that comes in one piece needs no array of its own. */
let shared = new Int32Array(64 * SPAN);

/** A head while it is read: where its fields lie, and, once it came in pieces, the bytes so far. */
export class HeadStore {
  /** Bytes of this head from earlier calls, and how many; undefined while there are none. */
  bytes: Buffer | undefined = undefined;
  length = 0;
  /** Fields read so far. */
  count = 0;
  private own: Int32Array | undefined = undefined;

  /** SPAN numbers for each field, relative to the head's start (FieldScanner.usual). */
  get spans(): Int32Array {
    return this.own ?? shared;
  }

  reset(): void {
    this.bytes = undefined;
    this.length = 0;
    this.count = 0;
    this.own = undefined;
  }

  /** Keeps the head's bytes so far, `start..end`: the caller's are only lent. The head may have `most` bytes. */
  keep(bytes: Buffer, start: number, end: number, most: number): void {
    const length = end - start;
    const kept = Buffer.allocUnsafe(Math.min(most, Math.max(512, length * 2)));
    bytes.copy(kept, 0, start, end);
    this.bytes = kept;
    this.length = length;
    if (this.own === undefined) this.own = shared.slice(0, Math.max(16, this.count * 2) * SPAN);
  }

  /** Keeps `start..end` too; returns all that is kept. */
  add(bytes: Buffer, start: number, end: number, most: number): Buffer {
    const needed = this.length + (end - start);
    let kept = this.bytes;
    if (kept === undefined || kept.length < needed) {
      const larger = Buffer.allocUnsafe(Math.min(most, needed * 2));
      kept?.copy(larger, 0, 0, this.length);
      this.bytes = kept = larger;
    }
    bytes.copy(kept, this.length, start, end);
    this.length = needed;
    return kept;
  }

  /** Room for more fields than `spans` has. */
  more(spans: Int32Array): Int32Array {
    const larger = new Int32Array(spans.length * 2);
    larger.set(spans);
    if (this.own === undefined) shared = larger;
    else this.own = larger;
    return larger;
  }
}
