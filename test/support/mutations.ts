/** Changes to recorded bytes of TLS, the same for the same seed. */

/** Numbers at random that are the same each time (mulberry32). */
export class Chance {
  #state: number;

  constructor(seed: number) {
    this.#state = seed | 0;
  }

  /** From 0 to below `limit`. */
  below(limit: number): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0;
    let t = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return Math.floor((((t ^ (t >>> 14)) >>> 0) / 2 ** 32) * limit);
  }

  bytes(length: number): Buffer {
    const bytes = Buffer.alloc(length);
    for (let i = 0; i < length; i++) bytes[i] = this.below(256);
    return bytes;
  }
}

const RECORD_HEADER = 5;

/** The records of a flight; what is behind the last whole one comes last. */
function recordsOf(flight: Buffer): Buffer[] {
  const records: Buffer[] = [];
  let at = 0;
  while (at + RECORD_HEADER <= flight.length) {
    const end = at + RECORD_HEADER + flight.readUInt16BE(at + 3);
    if (end > flight.length) break;
    records.push(flight.subarray(at, end));
    at = end;
  }
  if (at < flight.length) records.push(flight.subarray(at));
  return records;
}

type Change = (bytes: Buffer, chance: Chance) => Buffer;

/** Each gets a copy that it may change. */
const CHANGES: Readonly<Record<string, Change>> = {
  truncate: (bytes, chance) => bytes.subarray(0, chance.below(bytes.length)),
  flip(bytes, chance) {
    for (let i = chance.below(4); i >= 0; i--) bytes[chance.below(bytes.length)] ^= 1 << chance.below(8);
    return bytes;
  },
  set(bytes, chance) {
    const at = chance.below(bytes.length);
    bytes.fill(chance.below(2) === 0 ? 0 : 0xff, at, Math.min(at + 1 + chance.below(4), bytes.length));
    return bytes;
  },
  insert(bytes, chance) {
    const at = chance.below(bytes.length + 1);
    return Buffer.concat([bytes.subarray(0, at), chance.bytes(1 + chance.below(40)), bytes.subarray(at)]);
  },
  remove(bytes, chance) {
    const at = chance.below(bytes.length);
    return Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + 1 + chance.below(40))]);
  },
  repeat(bytes, chance) {
    const at = chance.below(bytes.length);
    const end = at + 1 + chance.below(bytes.length - at);
    return Buffer.concat([bytes.subarray(0, end), bytes.subarray(at)]);
  },
  "repeat a record"(bytes, chance) {
    const records = recordsOf(bytes);
    const again = records[chance.below(records.length)];
    records.splice(chance.below(records.length + 1), 0, ...Array(1 + chance.below(8)).fill(again));
    return Buffer.concat(records);
  },
  "drop a record"(bytes, chance) {
    const records = recordsOf(bytes);
    records.splice(chance.below(records.length), 1);
    return Buffer.concat(records);
  },
  reorder(bytes, chance) {
    const records = recordsOf(bytes);
    const [moved] = records.splice(chance.below(records.length), 1);
    records.splice(chance.below(records.length + 1), 0, moved);
    return Buffer.concat(records);
  },
  "another type of record"(bytes, chance) {
    recordsOf(bytes)[chance.below(recordsOf(bytes).length)][0] = [0, 20, 21, 22, 23, 24, 255][chance.below(7)];
    return bytes;
  },
  "another length of a record": (bytes, chance) => withLength(bytes, chance, 3, 2),
  "another length of a message": (bytes, chance) => withLength(bytes, chance, RECORD_HEADER + 1, 3),
  "another version"(bytes, chance) {
    const records = recordsOf(bytes);
    const record = records[chance.below(records.length)];
    if (record.length > 2) record.writeUInt16BE([0, 0x200, 0x300, 0x301, 0x303, 0x304, 0xffff][chance.below(7)], 1);
    return bytes;
  },
  "cut into records"(bytes, chance) {
    const size = 1 + chance.below(64);
    const cut = recordsOf(bytes).flatMap((record) => {
      const pieces: Buffer[] = [];
      for (let at = RECORD_HEADER; at < record.length; at += size) {
        const piece = record.subarray(at, at + size);
        pieces.push(record.subarray(0, 3), Buffer.from([0, piece.length]), piece);
      }
      return pieces;
    });
    return Buffer.concat(cut);
  },
  "records without bytes"(bytes, chance) {
    const empty = Buffer.from([[20, 21, 22, 23][chance.below(4)], 3, 3, 0, 0]);
    const records = recordsOf(bytes);
    records.splice(chance.below(records.length + 1), 0, ...Array(1 + chance.below(50)).fill(empty));
    return Buffer.concat(records);
  },
  alerts(bytes, chance) {
    const alert = Buffer.from([21, 3, 3, 0, 2, 1 + chance.below(3), chance.below(120)]);
    const records = recordsOf(bytes);
    records.splice(chance.below(records.length + 1), 0, ...Array(1 + chance.below(20)).fill(alert));
    return Buffer.concat(records);
  },
  noise: (bytes, chance) => Buffer.concat([bytes, chance.bytes(chance.below(70_000))]),
};

function withLength(bytes: Buffer, chance: Chance, at: number, size: number): Buffer {
  const records = recordsOf(bytes);
  const record = records[chance.below(records.length)];
  if (record.length < at + size) return bytes;
  const length = record.readUIntBE(at, size);
  const most = 2 ** (8 * size) - 1;
  const other = [0, 1, length - 1, length + 1, 16_384, 16_385, 18_432, 18_433, most][chance.below(9)];
  record.writeUIntBE(Math.min(Math.max(other, 0), most), at, size);
  return bytes;
}

const NAMES = Object.keys(CHANGES);

/** The bytes with some change, and its name. */
export function mutated(bytes: Buffer, chance: Chance): { readonly name: string; readonly bytes: Buffer } {
  const name = NAMES[chance.below(NAMES.length)];
  return { name, bytes: bytes.length === 0 ? bytes : CHANGES[name](Buffer.from(bytes), chance) };
}

/** Cut at random, or whole. */
export function pieces(bytes: Buffer, chance: Chance): Buffer[] {
  const cut: Buffer[] = [];
  const most = [bytes.length, bytes.length, 4096, 100, 7][chance.below(5)];
  for (let at = 0; at < bytes.length; ) {
    const end = at + 1 + chance.below(Math.max(most, Math.ceil(bytes.length / 200)));
    cut.push(bytes.subarray(at, end));
    at = end;
  }
  return cut;
}
