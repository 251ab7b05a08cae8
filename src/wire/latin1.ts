/** Byte strings: text in which each character is one byte. */

// What toString("latin1") calls after it has looked the encoding up. Buffer has had it since Node 0.x; it is
// undocumented, and so missing from @types/node.
declare global {
  interface Buffer {
    latin1Slice(start?: number, end?: number): string;
    latin1Write(text: string, offset: number, length: number): number;
  }
}

/** The bytes `start..end` as a byte string. */
export function byteString(bytes: Uint8Array, start: number, end: number): string {
  return latin1Slice.call(bytes, start, end);
}

/** Works on any view of bytes; checking for a Buffer would cost a third as much as the call. */
const latin1Slice: (this: Uint8Array, start: number, end: number) => string = Buffer.prototype.latin1Slice;

const SHOWN = 1748;

/** Bytes for an error message, cut to what fits nginx's log line. The log escapes control bytes. */
export function shown(bytes: Buffer, start: number, end: number): string {
  return byteString(bytes, start, Math.min(end, start + SHOWN));
}

/** An offending byte as nginx logs it: `\x0a`. */
export function shownByte(byte: number): string {
  return `\\x${byte.toString(16).padStart(2, "0")}`;
}

/** The value of a hexadecimal digit by its byte, -1 for any other. */
export const HEX = new Int8Array(256).fill(-1);
for (let i = 0; i < 16; i++) {
  const digit = i.toString(16);
  HEX[digit.charCodeAt(0)] = i;
  HEX[digit.toUpperCase().charCodeAt(0)] = i;
}

/** Lowers ASCII letters only: the upper half of byte strings has no case. */
export function lowercase(text: string): string {
  return /[A-Z]/.test(text) ? text.replace(/[A-Z]+/g, (letters) => letters.toLowerCase()) : text;
}
