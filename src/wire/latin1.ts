import { byteString } from "../net/byte_string.ts";

export { byteString };

const SHOWN = 1748;

/** Bytes for an error sentence: as they are, no longer than nginx's log line allows. The log escapes control bytes. */
export function shown(bytes: Buffer, start: number, end: number): string {
  return byteString(bytes, start, Math.min(end, start + SHOWN));
}

/** A byte as nginx shows the one that does not belong: `\x0a`. */
export function shownByte(byte: number): string {
  return `\\x${byte.toString(16).padStart(2, "0")}`;
}
