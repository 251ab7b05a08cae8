const NOTHING = Buffer.alloc(0);

/** What has come of a header block that comes in several frames. */
export class BlockParts {
  length = 0;
  #bytes: Buffer = NOTHING;

  /** There is twice the room each time it does not do: a block in frames of a byte is not copied with each of them. */
  add(part: Buffer): void {
    const length = this.length + part.length;
    if (length > this.#bytes.length) {
      const larger = Buffer.allocUnsafeSlow(Math.max(length, 2 * this.#bytes.length));
      this.#bytes.copy(larger, 0, 0, this.length);
      this.#bytes = larger;
    }
    part.copy(this.#bytes, this.length);
    this.length = length;
  }

  /** The parts as one; the next block begins anew. */
  take(): Buffer {
    const whole = this.#bytes.subarray(0, this.length);
    this.#bytes = NOTHING;
    this.length = 0;
    return whole;
  }
}
