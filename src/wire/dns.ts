/** As much of DNS (RFC 1035) as c-ares leaves out: a query, and the CNAME in its answer. */

/** A CNAME record: the target in lower case, the TTL in seconds. */
export interface Alias {
  readonly target: string;
  readonly ttl: number;
}

export const TYPE_A = 1;
export const TYPE_AAAA = 28;
const TYPE_CNAME = 5;
const CLASS_IN = 1;

const NXDOMAIN = 3;
/** Bytes of a message before its question. */
export const HEADER = 12;
/** The longest name with its dots, as in nginx. */
const MOST_NAME = 255;
/** Further records of an answer are ignored. */
const MOST_RECORDS = 64;

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
 * The CNAME of `name` in a datagram received for `question`. "none": the answer has none; "failed": a response code other
 * than NXDOMAIN; undefined: not an answer to that query, malformed, or truncated before the CNAME.
 */
export function readAlias(bytes: Buffer, question: Buffer, name: string): Alias | "none" | "failed" | undefined {
  const end = question.length;
  if (bytes.length < end || bytes.readUInt16BE(0) !== question.readUInt16BE(0)) return undefined;
  const flags = bytes.readUInt16BE(2);
  // A response (QR) with opcode 0 that repeats the question, case-insensitively: toLowerCase() leaves the length bytes
  // alone, since none is as great as a letter.
  if ((flags & 0xf800) !== 0x8000 || bytes.readUInt16BE(4) !== 1) return undefined;
  if (bytes.latin1Slice(HEADER, end).toLowerCase() !== question.latin1Slice(HEADER, end)) return undefined;
  const code = flags & 15;
  if (code !== 0) return code === NXDOMAIN ? "none" : "failed";

  const records = Math.min(bytes.readUInt16BE(6), MOST_RECORDS);
  let at = end;
  for (let i = 0; i < records; i++) {
    const fixed = skipName(bytes, at);
    if (fixed === undefined || fixed + 10 > bytes.length) return undefined;
    const data = fixed + 10;
    const next = data + bytes.readUInt16BE(fixed + 8);
    if (next > bytes.length) return undefined;
    if (
      bytes.readUInt16BE(fixed) === TYPE_CNAME &&
      bytes.readUInt16BE(fixed + 2) === CLASS_IN &&
      readName(bytes, at) === name
    ) {
      const target = readName(bytes, data);
      // A value with the highest bit set counts as none (RFC 2181 section 8).
      return target === undefined || skipName(bytes, data) !== next
        ? undefined
        : { target, ttl: Math.max(0, bytes.readInt32BE(fixed + 4)) };
    }
    at = next;
  }
  return (flags & 0x200) === 0 ? "none" : undefined;
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
  for (let at = from; at < bytes.length; ) {
    const length = bytes[at];
    if (length === 0) return name.toLowerCase();
    if (length >= 0xc0) {
      if (at + 1 >= bytes.length) return undefined;
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
