import { recordBuffer } from "./stored_session.ts";

/**
 * Copies of sessions' records by their ids, outside of V8's heap: kept objects would be traced and moved by the collector, which costs
 * more than to read them again. A copy has one place, which the id's first bytes choose; the one that was there gives way.
 */

const PLACES = 4096;
/** Bytes of a place. Longer records are not kept: what is done with them costs more than to look for them. */
const PLACE = 1024;
// In each: the epoch, the record's length, the id, the record.
const LENGTH = 8;
const ID = 16;
const ID_BYTES = 16;
const RECORD = ID + ID_BYTES;
/** No epoch. */
const EMPTY = 0;

export class SessionCopies {
  readonly #bytes = Buffer.alloc(PLACES * PLACE);
  readonly #words = new Int32Array(this.#bytes.buffer, this.#bytes.byteOffset, (PLACES * PLACE) / 4);
  readonly #epochs = new Float64Array(this.#bytes.buffer, this.#bytes.byteOffset, (PLACES * PLACE) / 8);

  /** What was kept in that epoch, copied. */
  find(id: Buffer, epoch: number): Buffer | undefined {
    const place = placeOf(id);
    if (this.#epochs[place / 8] !== epoch || !this.#isOf(place, id)) return undefined;
    const start = place + RECORD;
    const length = this.#words[(place + LENGTH) / 4];
    const record = recordBuffer(length);
    this.#bytes.copy(record, 0, start, start + length);
    return record;
  }

  /** `epoch`: not 0. */
  keep(id: Buffer, record: Buffer, epoch: number): void {
    const place = placeOf(id);
    if (record.length > PLACE - RECORD || id.length !== ID_BYTES) {
      this.drop(id);
      return;
    }
    this.#epochs[place / 8] = epoch;
    this.#words[(place + LENGTH) / 4] = record.length;
    id.copy(this.#bytes, place + ID);
    record.copy(this.#bytes, place + RECORD);
  }

  drop(id: Buffer): void {
    const place = placeOf(id);
    if (this.#isOf(place, id)) this.#epochs[place / 8] = EMPTY;
  }

  #isOf(place: number, id: Buffer): boolean {
    const words = this.#words;
    const at = (place + ID) / 4;
    for (let word = 0; word < ID_BYTES / 4; word++) {
      if (words[at + word] !== id.readInt32LE(word * 4)) return false;
    }
    return true;
  }
}

/** Ids are random. */
function placeOf(id: Buffer): number {
  return (id.readUInt32LE(0) % PLACES) * PLACE;
}
