/**
 * Records of a table that nodes share, as they go over the bus and lie in the store. Numbers are little-endian.
 *
 *     a batch      version (a byte) · records
 *     a record     flags (a byte) · stamp (a float) · ms that it lasts still (a float) · lengths of key (16 bits) and value (32 bits)
 *                  · key · value
 *     in the store when it ends, ms since 1970 of the store's clock (a float) · version (a byte) · a record
 *
 * Flag 1: the key was removed. Who changes the layout keeps version, flags and stamp where they are: scripts in stores compare stamps.
 */
const VERSION = 1;
const HEAD = 23;
const REMOVED = 1;

/** Keys and values are byte strings. */
export interface TableRecord {
  readonly key: string;
  /** undefined: it was removed. */
  readonly value: string | undefined;
  /** When it ends, ms since 1970 of this node's clock. */
  readonly ends: number;
  /** Of two changes of a key the one of the greater stamp counts. */
  readonly stamp: number;
}

/** The longest life of a record, ms. */
const MOST_LEFT = 100 * 366 * 86_400_000;
/** By how much another node's clock may be ahead, ms. */
const MOST_AHEAD = 3_600_000;

export function recordBytes({ key, value = "" }: TableRecord): number {
  return HEAD + key.length + value.length;
}

function write(record: TableRecord, now: number, into: Buffer, from: number): number {
  const { key, value = "", stamp, ends } = record;
  into[from] = record.value === undefined ? REMOVED : 0;
  into.writeDoubleLE(stamp, from + 1);
  into.writeDoubleLE(Math.min(Math.max(ends - now, 1), MOST_LEFT), from + 9);
  into.writeUInt16LE(key.length, from + 17);
  into.writeUInt32LE(value.length, from + 19);
  into.latin1Write(key, from + HEAD, key.length);
  into.latin1Write(value, from + HEAD + key.length, value.length);
  return from + HEAD + key.length + value.length;
}

/** `now`: this node's clock. */
export function encodeRecords(records: readonly TableRecord[], now: number): Buffer {
  const bytes = Buffer.allocUnsafe(records.reduce((sum, record) => sum + recordBytes(record), 1));
  bytes[0] = VERSION;
  let at = 1;
  for (const record of records) at = write(record, now, bytes, at);
  return bytes;
}

/** undefined where it is no batch, or one of another version. */
export function decodeRecords(bytes: Buffer, now: number): readonly TableRecord[] | undefined {
  if (bytes[0] !== VERSION) return undefined;
  const records: TableRecord[] = [];
  for (let at = 1; at < bytes.length; ) {
    if (at + HEAD > bytes.length) return undefined;
    const flags = bytes[at];
    const stamp = bytes.readDoubleLE(at + 1);
    const left = bytes.readDoubleLE(at + 9);
    const keyEnd = at + HEAD + bytes.readUInt16LE(at + 17);
    const end = keyEnd + bytes.readUInt32LE(at + 19);
    const isSound = stamp > 0 && stamp <= now + MOST_AHEAD && left > 0 && left <= MOST_LEFT;
    if (end > bytes.length || keyEnd === at + HEAD || !isSound) return undefined;
    records.push({
      key: bytes.latin1Slice(at + HEAD, keyEnd),
      value: (flags & REMOVED) === 0 ? bytes.latin1Slice(keyEnd, end) : undefined,
      ends: now + left,
      stamp,
    });
    at = end;
  }
  return records;
}

/** A record out of the store. `clock`: the store's. undefined where it is none. */
export function decodeStored(bytes: Buffer, clock: number, now: number): TableRecord | undefined {
  if (bytes.length < 8) return undefined;
  const ends = now + bytes.readDoubleLE(0) - clock;
  const records = decodeRecords(bytes.subarray(8), now);
  return records?.length === 1 && ends > now && ends <= now + MOST_LEFT ? { ...records[0], ends } : undefined;
}

/**
 * Puts records into a hash unless what is there has a later stamp, or the same one and ends later; and when each ends into a sorted
 * set beside it. Removes what has ended. Arguments: for each record its key, version and record, and the ms that it lasts. Both vanish
 * with the last of the records.
 */
export const PUT_RECORDS = `local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
for i = 1, #ARGV, 3 do
  local ends = now + ARGV[i + 2]
  local there = redis.call('HGET', KEYS[1], ARGV[i])
  local stamp = struct.unpack('<d', ARGV[i + 1], 3)
  local before = there and #there > 17 and struct.unpack('<d', there, 11) or 0
  if before < stamp or (before == stamp and struct.unpack('<d', there) < ends) then
    redis.call('HSET', KEYS[1], ARGV[i], struct.pack('<d', ends) .. ARGV[i + 1])
    redis.call('ZADD', KEYS[2], ends, ARGV[i])
  end
end
local over = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now, 'LIMIT', 0, 1000)
if #over > 0 then
  redis.call('HDEL', KEYS[1], unpack(over))
  redis.call('ZREM', KEYS[2], unpack(over))
end
local last = redis.call('ZREVRANGE', KEYS[2], 0, 0, 'WITHSCORES')[2]
if last then
  local left = math.ceil(last - now) + 1000
  redis.call('PEXPIRE', KEYS[1], left)
  redis.call('PEXPIRE', KEYS[2], left)
end
return 1`;
