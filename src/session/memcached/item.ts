/** An item as a zone's records keep it: numbers, then its value. All numbers are little-endian; times are wall-clock ms. */

const FORMAT = 1;
const STATE = 1;
const FLAGS = 2;
const GENERATION = 6;
const EXPIRES = 10;
const STORED = 16;
const CAS = 22;
const HEADER = 29;

// Bits of its state.

/** md with I, or ms with I and an old cas unique, have marked it: clients are told that its value is old (ITEM_STALE). */
const STALE = 1;
/** A client has been told that it is the one to store it anew (ITEM_TOKEN_SENT). */
const WON = 2;
/** Its key is not text, and was sent in Base64 (ITEM_KEY_BINARY). */
const BINARY = 4;

export interface Item {
  /** The client's. */
  readonly flags: number;
  /** When it ends; 0: never. */
  readonly expires: number;
  /** When it was written. */
  readonly stored: number;
  /** Its cas unique: another one after each change. At most 2^53. */
  readonly cas: number;
  readonly stale: boolean;
  readonly won: boolean;
  readonly binary: boolean;
  readonly data: Buffer;
}

/** `generation`: how often all had been flushed when it was written. */
export function itemBytes(item: Item, generation: number): Buffer {
  const bytes = Buffer.allocUnsafe(HEADER + item.data.length);
  bytes[0] = FORMAT;
  bytes[STATE] = (item.stale ? STALE : 0) | (item.won ? WON : 0) | (item.binary ? BINARY : 0);
  bytes.writeUInt32LE(item.flags, FLAGS);
  bytes.writeUInt32LE(generation, GENERATION);
  bytes.writeUIntLE(item.expires, EXPIRES, 6);
  bytes.writeUIntLE(item.stored, STORED, 6);
  bytes.writeUInt32LE(item.cas % 2 ** 32, CAS);
  bytes.writeUIntLE(Math.floor(item.cas / 2 ** 32), CAS + 4, 3);
  item.data.copy(bytes, HEADER);
  return bytes;
}

/** The item that these bytes are; undefined for what is none of ours, or of another version of this format. */
export function readItem(bytes: Buffer | undefined): Item | undefined {
  if (bytes === undefined || bytes.length < HEADER || bytes[0] !== FORMAT) return undefined;
  const state = bytes[STATE];
  return {
    flags: bytes.readUInt32LE(FLAGS),
    expires: bytes.readUIntLE(EXPIRES, 6),
    stored: bytes.readUIntLE(STORED, 6),
    cas: bytes.readUIntLE(CAS + 4, 3) * 2 ** 32 + bytes.readUInt32LE(CAS),
    stale: (state & STALE) !== 0,
    won: (state & WON) !== 0,
    binary: (state & BINARY) !== 0,
    data: bytes.subarray(HEADER),
  };
}

export function generationOf(bytes: Buffer): number {
  return bytes.readUInt32LE(GENERATION);
}

/** Items without an end give way after all that have one, those that were written first before others. */
const NO_END = 2 ** 47;

/** When its record ends. */
export function recordEnd({ expires, stored }: Item): number {
  return expires === 0 ? NO_END + stored : expires;
}

const SECOND = 1000;
/** REALTIME_MAXDELTA: a time that is longer is one of the wall clock. Seconds. */
const MOST_RELATIVE = 30 * 24 * 3600;

/** When something ends whose time a client has sent, in seconds; 0: never. */
export function endOf(exptime: number, now: number): number {
  if (exptime === 0) return 0;
  if (exptime < 0) return 1;
  return exptime > MOST_RELATIVE ? exptime * SECOND : now + exptime * SECOND;
}

/** Whole seconds until it ends, as clients are told them; -1: it does not. */
export function secondsLeft({ expires }: Item, now: number): number {
  return expires === 0 ? -1 : Math.max(0, Math.ceil((expires - now) / SECOND));
}

/** Whether it is there. */
export function isLiving({ expires }: Item, now: number): boolean {
  return expires === 0 || expires > now;
}
