// Buffer has had this method since Node 0.x; it is what toString("latin1") calls after looking the encoding up, and it
// is missing from @types/node only because it is not in the manual.
declare global {
  interface Buffer {
    latin1Slice(start?: number, end?: number): string;
  }
}

/** The bytes `start..end` as a byte string. */
export const byteString: (bytes: Buffer, start: number, end: number) => string =
  typeof Buffer.prototype.latin1Slice === "function"
    ? (bytes, start, end) => bytes.latin1Slice(start, end)
    : (bytes, start, end) => bytes.toString("latin1", start, end);
