/** As much of DNS (RFC 1035) as the addresses of a name and of its services need: a query, and the records in its answer. */

export const TYPE_A = 1;
export const TYPE_AAAA = 28;
export const TYPE_SRV = 33;
/** Response codes (RFC 1035 section 4.1.1): the least error, and the greatest that a resolver knows. */
export const FORMERR = 1;
export const REFUSED = 5;

const TYPE_CNAME = 5;
const CLASS_IN = 1;

/** Bytes of a message before its question. */
export const HEADER = 12;
/** The longest name with its dots, as in nginx. */
const MOST_NAME = 255;
/** Further records of an answer are ignored. */
const MOST_RECORDS = 256;
/** The most compression pointers followed in a name. */
const MOST_POINTERS = 64;

/** Where a service is to be found (RFC 2782). */
export interface ServiceRecord {
  /** In lower case. */
  readonly name: string;
  readonly port: number;
  /** Those with the lowest are to be used first. */
  readonly priority: number;
  readonly weight: number;
}

/** An answer to a query. */
export interface Answer {
  /** The response code. */
  readonly code: number;
  /** The records do not fit into a datagram; those read are what is left of them. */
  readonly truncated: boolean;
  /** 4 or 16 bytes each, views of the datagram. */
  readonly addresses: readonly Buffer[];
  readonly services: readonly ServiceRecord[];
  /** The target of the name's CNAME, in lower case. */
  readonly cname: string | undefined;
  /** The least TTL of these records, in seconds; Infinity if there are none. */
  readonly ttl: number;
}

/** A recursive query (RFC 1035 section 4.1), without its id. The name must be valid. */
export function encodeQuestion(name: string, type: number): Buffer {
  const bytes = Buffer.alloc(HEADER + name.length + 2 + 4);
  bytes[2] = 1; // RD
  bytes.writeUInt16BE(1, 4);
  let at = HEADER;
  for (const label of name.split(".")) {
    bytes[at++] = label.length;
    at += bytes.write(label, at, "latin1");
  }
  bytes.writeUInt16BE(type, at + 1);
  bytes.writeUInt16BE(CLASS_IN, at + 3);
  return bytes;
}

/**
 * What a datagram received for `question`, a query of type A, AAAA or SRV for `name`, answers to it. Undefined: it is not
 * an answer to that query, or malformed. As in nginx every record counts, whatever name it is of: a server that follows
 * CNAMEs adds them.
 */
export function readAnswer(bytes: Buffer, question: Buffer, name: string): Answer | undefined {
  const end = question.length;
  if (bytes.length < end || bytes.readUInt16BE(0) !== question.readUInt16BE(0)) return undefined;
  const flags = bytes.readUInt16BE(2);
  // A response (QR) with opcode 0 that repeats the question, case-insensitively: toLowerCase() leaves the length bytes
  // alone, since none is as great as a letter.
  if ((flags & 0xf800) !== 0x8000 || bytes.readUInt16BE(4) !== 1) return undefined;
  if (bytes.latin1Slice(HEADER, end).toLowerCase() !== question.latin1Slice(HEADER, end)) return undefined;
  const code = flags & 15;

  const wanted = question.readUInt16BE(end - 4);
  const truncated = (flags & 0x200) !== 0;
  const addresses: Buffer[] = [];
  const services: ServiceRecord[] = [];
  let cname: string | undefined;
  let ttl = Number.POSITIVE_INFINITY;
  let at = end;
  for (let left = Math.min(bytes.readUInt16BE(6), MOST_RECORDS); left > 0; left--) {
    const record = readRecord(bytes, at);
    if (record === undefined) {
      // Some servers truncate within a record.
      if (truncated) break;
      return undefined;
    }
    const { type, data, next } = record;
    if (type === wanted) {
      if (type === TYPE_SRV) {
        const service = readService(bytes, data, next);
        if (service === undefined) return undefined;
        services.push(service);
      } else {
        if (next - data !== (type === TYPE_A ? 4 : 16)) return undefined;
        addresses.push(bytes.subarray(data, next));
      }
      ttl = Math.min(ttl, record.ttl);
    } else if (type === TYPE_CNAME) {
      ttl = Math.min(ttl, record.ttl);
      if (cname === undefined && readName(bytes, at) === name) {
        cname = readName(bytes, data);
        if (cname === undefined || skipName(bytes, data) !== next) return undefined;
      }
    }
    at = next;
  }
  return { code, truncated, addresses, services, cname, ttl };
}

interface RecordPlace {
  /** 0 of another class than IN. */
  readonly type: number;
  readonly ttl: number;
  /** Where its data begins, and the record after it. */
  readonly data: number;
  readonly next: number;
}

function readRecord(bytes: Buffer, from: number): RecordPlace | undefined {
  const fixed = skipName(bytes, from);
  if (fixed === undefined || fixed + 10 > bytes.length) return undefined;
  const data = fixed + 10;
  const next = data + bytes.readUInt16BE(fixed + 8);
  if (next > bytes.length) return undefined;
  const type = bytes.readUInt16BE(fixed + 2) === CLASS_IN ? bytes.readUInt16BE(fixed) : 0;
  // A TTL with the highest bit set counts as zero (RFC 2181 section 8).
  return { type, ttl: Math.max(0, bytes.readInt32BE(fixed + 4)), data, next };
}

function readService(bytes: Buffer, data: number, next: number): ServiceRecord | undefined {
  if (data + 7 > next) return undefined;
  const name = readName(bytes, data + 6);
  if (name === undefined || skipName(bytes, data + 6) !== next) return undefined;
  return {
    name,
    port: bytes.readUInt16BE(data + 4),
    priority: bytes.readUInt16BE(data),
    weight: bytes.readUInt16BE(data + 2),
  };
}

/** The offset after the name that starts at `from`. */
function skipName(bytes: Buffer, from: number): number | undefined {
  for (let at = from; at < bytes.length; ) {
    const length = bytes[at];
    if (length === 0) return at + 1;
    if (length >= 0xc0) return at + 2;
    if (length > 63) return undefined;
    at += 1 + length;
  }
  return undefined;
}

/**
 * A name in lower case, with compression pointers followed (RFC 1035 section 4.1.4). Each must point further back than
 * the one before, which rules out loops.
 */
function readName(bytes: Buffer, from: number): string | undefined {
  let name = "";
  let limit = from;
  let pointers = 0;
  for (let at = from; at < bytes.length; ) {
    const length = bytes[at];
    if (length === 0) return name.toLowerCase();
    if (length >= 0xc0) {
      if (at + 1 >= bytes.length || ++pointers > MOST_POINTERS) return undefined;
      at = ((length & 0x3f) << 8) | bytes[at + 1];
      if (at < HEADER || at >= limit) return undefined;
      limit = at;
      continue;
    }
    if (length > 63 || at + 1 + length > bytes.length) return undefined;
    const label = bytes.latin1Slice(at + 1, at + 1 + length);
    if (label.includes(".")) return undefined;
    name = name === "" ? label : `${name}.${label}`;
    if (name.length > MOST_NAME) return undefined;
    at += 1 + length;
  }
  return undefined;
}
