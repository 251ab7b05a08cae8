/**
 * Keys with a number each, as nodes tell each other of limits: a byte with the version, then for each key
 *
 *     u32  the number
 *     u16  bytes of the key, a byte string, which follows
 */
const VERSION = 1;
const HEAD = 6;

/** Puts keys together until there are enough for one batch. */
export class KeyCountsWriter {
  #bytes: Buffer;
  #end = 1;
  readonly #enough: number;

  /** `enough`: bytes. A batch may be longer by one key, which has up to 65,535 bytes. */
  constructor(enough: number) {
    this.#enough = enough;
    this.#bytes = Buffer.allocUnsafe(enough);
    this.#bytes[0] = VERSION;
  }

  /** Returns whether there are enough. */
  add(key: string, count: number): boolean {
    const end = this.#end + HEAD + key.length;
    if (end > this.#bytes.length) {
      const longer = Buffer.allocUnsafe(end);
      this.#bytes.copy(longer, 0, 0, this.#end);
      this.#bytes = longer;
    }
    this.#bytes.writeUInt32BE(count, this.#end);
    this.#bytes.writeUInt16BE(key.length, this.#end + 4);
    this.#bytes.write(key, this.#end + HEAD, "latin1");
    this.#end = end;
    return end >= this.#enough;
  }

  get empty(): boolean {
    return this.#end === 1;
  }

  /** What was put together: the next one begins. */
  take(): Buffer {
    const taken = Buffer.from(this.#bytes.subarray(0, this.#end));
    this.#end = 1;
    return taken;
  }
}

/** Calls `each` for each key; nothing is called unless all is well-formed. Returns false where it is not. */
export function readKeyCounts(bytes: Buffer, each: (key: string, count: number) => void): boolean {
  if (bytes[0] !== VERSION) return false;
  for (let at = 1; at !== bytes.length; at += HEAD + bytes.readUInt16BE(at + 4)) {
    if (at + HEAD > bytes.length || at + HEAD + bytes.readUInt16BE(at + 4) > bytes.length) return false;
  }
  for (let at = 1; at < bytes.length; ) {
    const key = at + HEAD;
    const end = key + bytes.readUInt16BE(at + 4);
    each(bytes.latin1Slice(key, end), bytes.readUInt32BE(at));
    at = end;
  }
  return true;
}
