/** Bytes as text, a char a byte: what this program calls a byte string. */

// Buffer has had this method since Node 0.x; it is what toString("latin1") calls after looking the encoding up, and it
// is missing from @types/node only because it is not in the manual.
declare global {
  interface Buffer {
    latin1Slice(start?: number, end?: number): string;
  }
}

/** The bytes `start..end` as a byte string. */
export function byteString(bytes: Uint8Array, start: number, end: number): string {
  return latin1Slice.call(bytes, start, end);
}

/** It reads any view of bytes, and to ask whether one is a Buffer costs a third as much as the call. */
const latin1Slice: (this: Uint8Array, start: number, end: number) => string = Buffer.prototype.latin1Slice;

const SHOWN = 1748;

/** Bytes for an error sentence: as they are, no longer than nginx's log line allows. The log escapes control bytes. */
export function shown(bytes: Buffer, start: number, end: number): string {
  return byteString(bytes, start, Math.min(end, start + SHOWN));
}

/** A byte as nginx shows the one that does not belong: `\x0a`. */
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

/** ASCII only: a byte string's upper half has no case. */
export function lowercase(text: string): string {
  return /[A-Z]/.test(text) ? text.replace(/[A-Z]+/g, (letters) => letters.toLowerCase()) : text;
}
