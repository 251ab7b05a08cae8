/** DER (X.690), as much of it as certificate requests and challenge certificates are made of. */

const TAG = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  null: 0x05,
  objectId: 0x06,
  utf8String: 0x0c,
  utcTime: 0x17,
  sequence: 0x30,
  set: 0x31,
} as const;

/** Context-specific tags. */
const CONTEXT = 0x80;
const CONSTRUCTED = 0x20;

function element(tag: number, ...parts: readonly Uint8Array[]): Buffer {
  const body = Buffer.concat(parts);
  const { length } = body;
  if (length < 0x80) return Buffer.concat([Buffer.from([tag, length]), body]);
  const size = length < 0x100 ? [0x81, length] : [0x82, length >> 8, length & 0xff];
  if (length > 0xffff) throw new RangeError("a DER element of more than 64 KiB");
  return Buffer.concat([Buffer.from([tag, ...size]), body]);
}

export const sequence = (...parts: readonly Uint8Array[]): Buffer => element(TAG.sequence, ...parts);
export const set = (...parts: readonly Uint8Array[]): Buffer => element(TAG.set, ...parts);
export const octetString = (bytes: Uint8Array): Buffer => element(TAG.octetString, bytes);
export const utf8String = (text: string): Buffer => element(TAG.utf8String, Buffer.from(text));
/** Of whole bytes. */
export const bitString = (bytes: Uint8Array): Buffer => element(TAG.bitString, Buffer.from([0]), bytes);
export const derNull = (): Buffer => element(TAG.null);
export const derTrue = (): Buffer => element(TAG.boolean, Buffer.from([0xff]));

/** `[number]` around elements, or in place of a primitive's tag. */
export const tagged = (number: number, ...parts: readonly Uint8Array[]): Buffer =>
  element(CONTEXT | CONSTRUCTED | number, ...parts);
export const implicit = (number: number, bytes: Uint8Array): Buffer => element(CONTEXT | number, bytes);

/** Of big-endian bytes, which are taken for a number that is not negative. */
export function integer(bytes: Uint8Array): Buffer {
  return element(TAG.integer, bytes[0] & 0x80 ? Buffer.from([0]) : Buffer.alloc(0), bytes);
}

/** `1.2.840.113549.1.1.11` */
export function objectId(dotted: string): Buffer {
  const [first, second, ...rest] = dotted.split(".").map(Number);
  const bytes: number[] = [];
  for (const arc of [first * 40 + second, ...rest]) {
    const groups = [arc & 0x7f];
    for (let left = arc >>> 7; left > 0; left >>>= 7) groups.unshift(0x80 | (left & 0x7f));
    bytes.push(...groups);
  }
  return element(TAG.objectId, Buffer.from(bytes));
}

/** A time before 2050 (RFC 5280 section 4.1.2.5.1), in ms since 1970. */
export function utcTime(ms: number): Buffer {
  const digits = new Date(ms).toISOString().replace(/\D/g, "");
  return element(TAG.utcTime, Buffer.from(`${digits.slice(2, 14)}Z`));
}

/** An element that was read. */
export interface DerElement {
  readonly tag: number;
  readonly body: Buffer;
}

/** The elements that `bytes` consist of. What is malformed ends the list. */
export function elementsOf(bytes: Buffer): readonly DerElement[] {
  const elements: DerElement[] = [];
  for (let at = 0; at + 2 <= bytes.length; ) {
    const tag = bytes[at];
    let length = bytes[at + 1];
    let from = at + 2;
    if (length & 0x80) {
      const octets = length & 0x7f;
      if (octets === 0 || octets > 4 || from + octets > bytes.length) break;
      length = bytes.readUIntBE(from, octets);
      from += octets;
    }
    if (from + length > bytes.length) break;
    elements.push({ tag, body: bytes.subarray(from, from + length) });
    at = from + length;
  }
  return elements;
}

export const isSequence = ({ tag }: DerElement): boolean => tag === TAG.sequence;
export const isInteger = ({ tag }: DerElement): boolean => tag === TAG.integer;
/** `[number]`, constructed or primitive. */
export const isTagged = ({ tag }: DerElement, number: number): boolean => (tag & ~CONSTRUCTED) === (CONTEXT | number);
