/** The part of RFC 1035 that asking for addresses takes: one question out, answers of types A, AAAA and CNAME in. */
export const A = 1;
const CNAME = 5;
export const AAAA = 28;

const HEADER = 12;
/** Pointers followed within one name before it is taken for a loop. */
const MOST_POINTERS = 128;
/** Characters of a name, its dots included: what fits in nginx's. */
const MOST_NAME = 255;

/**
 * A recursive query for `name`, a byte string in lower case. Undefined for what is no name: an empty label, one above
 * 63 bytes, or more than 255 characters in all.
 */
export function encodeQuery(id: number, name: string, type: number): Buffer | undefined {
  const labels = name.split(".");
  if (labels.some((label) => label.length === 0 || label.length > 63) || name.length > MOST_NAME) return undefined;
  const query = Buffer.alloc(HEADER + name.length + 2 + 4);
  query.writeUInt16BE(id, 0);
  query[2] = 1; // RD
  query.writeUInt16BE(1, 4);
  let at = HEADER;
  for (const label of labels) {
    query[at++] = label.length;
    at += query.write(label, at, "latin1");
  }
  query.writeUInt16BE(type, at + 1);
  query.writeUInt16BE(1, at + 3);
  return query;
}

/** What a response says; `error` is nginx's sentence for one that cannot be used (nobody hears of it, the query goes on). */
export interface DnsAnswer {
  readonly id: number;
  readonly code: number;
  readonly truncated: boolean;
  /** The name asked for, in lower case, and the type. */
  readonly name: string;
  readonly type: number;
  /** Answer records, those of other types included. */
  readonly count: number;
  readonly addresses: readonly string[];
  /** The last CNAME's target, in lower case. */
  readonly cname: string | undefined;
  /** Seconds, the least of all records; 0xffffffff without one. */
  readonly ttl: number;
}

class Unusable extends Error {}

const SHORT = "short DNS response";
const OUT = "name is out of DNS response";

/** Reads a response. A string is nginx's sentence for what is wrong with it. */
export function parseAnswer(bytes: Buffer): DnsAnswer | string {
  try {
    return parse(bytes);
  } catch (error) {
    if (error instanceof Unusable) return error.message;
    throw error;
  }
}

function parse(bytes: Buffer): DnsAnswer {
  if (bytes.length < HEADER) throw new Unusable(SHORT);
  const id = bytes.readUInt16BE(0);
  const flags = bytes.readUInt16BE(2);
  const count = bytes.readUInt16BE(6);
  if ((flags & 0x8000) === 0 || (flags & 0x7800) !== 0) {
    throw new Unusable(`invalid UDP DNS response ${id} fl:${hex4(flags)}`);
  }
  const base = { id, code: flags & 15, truncated: (flags & 0x200) !== 0, count };
  // A server that could not read the question may not repeat it.
  if (base.code === 1 && bytes.readUInt16BE(4) === 0) {
    return { ...base, name: "", type: 0, addresses: [], cname: undefined, ttl: 0 };
  }
  if (bytes.readUInt16BE(4) !== 1) throw new Unusable("invalid number of questions in DNS response");
  const name = readName(bytes, HEADER);
  let at = skipName(bytes, HEADER);
  if (at - HEADER < 2) throw new Unusable("zero-length domain name in DNS response");
  if (at + 4 > bytes.length) throw new Unusable(SHORT);
  const type = bytes.readUInt16BE(at);
  const asked = bytes.readUInt16BE(at + 2);
  if (asked !== 1) throw new Unusable(`unknown query class ${asked} in DNS response`);
  if (type !== A && type !== AAAA) throw new Unusable(`unknown query type ${type} in DNS response`);
  at += 4;
  if (base.truncated || base.code !== 0) return { ...base, name, type, addresses: [], cname: undefined, ttl: 0 };

  const addresses: string[] = [];
  let cname: string | undefined;
  let ttl = 0xffffffff;
  for (let i = 0; i < count; i++) {
    at = skipName(bytes, at);
    if (at + 10 > bytes.length) throw new Unusable(SHORT);
    const recordType = bytes.readUInt16BE(at);
    const recordClass = bytes.readUInt16BE(at + 2);
    if (recordClass !== 1) throw new Unusable(`unexpected RR class ${recordClass} in DNS response`);
    // A value with the highest bit set counts as none (RFC 2181 section 8).
    ttl = Math.min(ttl, Math.max(0, bytes.readInt32BE(at + 4)));
    const length = bytes.readUInt16BE(at + 8);
    at += 10;
    if (at + length > bytes.length) throw new Unusable(SHORT);
    if (recordType === A || recordType === AAAA) {
      const kind = recordType === A ? "A" : "AAAA";
      if (recordType !== type) throw new Unusable(`unexpected ${kind} record in DNS response`);
      if (length !== (recordType === A ? 4 : 16)) throw new Unusable(`invalid ${kind} record in DNS response`);
      addresses.push(recordType === A ? ipv4(bytes, at) : ipv6(bytes, at));
    } else if (recordType === CNAME) {
      cname = readName(bytes, at);
    }
    at += length;
  }
  return { ...base, name, type, addresses, cname, ttl };
}

function hex4(value: number): string {
  return value.toString(16).toUpperCase().padStart(4, "0");
}

function skipName(bytes: Buffer, from: number): number {
  let at = from;
  while (at < bytes.length) {
    const length = bytes[at];
    if ((length & 0xc0) !== 0) return at + 2;
    if (length === 0) return at + 1;
    at += 1 + length;
  }
  throw new Unusable(SHORT);
}

/** A name with its pointers followed (RFC 1035 section 4.1.4), in lower case. */
function readName(bytes: Buffer, from: number): string {
  let name = "";
  let at = from;
  for (let pointers = 0; pointers < MOST_POINTERS; ) {
    if (at >= bytes.length) throw new Unusable(OUT);
    const length = bytes[at];
    if (length === 0) return name.toLowerCase();
    if ((length & 0xc0) !== 0) {
      if ((length & 0xc0) !== 0xc0) throw new Unusable("invalid label type in DNS response");
      if (at + 1 >= bytes.length) throw new Unusable(OUT);
      at = ((length & 0x3f) << 8) | bytes[at + 1];
      pointers++;
      continue;
    }
    if (at + 1 + length > bytes.length || name.length + length > MOST_NAME) throw new Unusable(OUT);
    const label = bytes.latin1Slice(at + 1, at + 1 + length);
    name = name === "" ? label : `${name}.${label}`;
    at += 1 + length;
  }
  throw new Unusable("compression pointers loop in DNS response");
}

function ipv4(bytes: Buffer, at: number): string {
  return `${bytes[at]}.${bytes[at + 1]}.${bytes[at + 2]}.${bytes[at + 3]}`;
}

function ipv6(bytes: Buffer, at: number): string {
  const groups: string[] = [];
  for (let i = 0; i < 16; i += 2) groups.push(bytes.readUInt16BE(at + i).toString(16));
  // The short form that nginx prints.
  return new URL(`http://[${groups.join(":")}]/`).hostname.slice(1, -1);
}
