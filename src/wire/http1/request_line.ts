// A request line: results of reading it, positions of its parts, and which bytes are allowed in it.
// parse_request_line.ts reads it.

export const AGAIN = 0;
export const LINE = 1;
export const INVALID_METHOD = 2;
export const INVALID_REQUEST = 3;
export const INVALID_VERSION = 4;
export const INVALID_09_METHOD = 5;

/** The first state: before a line. The others are request_line_machine.ts's. */
export const START = 0;

export const LF = 0x0a;
export const CR = 0x0d;
export const SPACE = 0x20;

/** Bits of `complex`: why the path differs from the target's text. */
export const COMPLEX = 1;
export const QUOTED = 2;
export const EMPTY_PATH = 4;

// Classes of a byte in a target.
export const PLAIN = 0;
export const SLASH = 1;
export const DOT = 2;
export const PERCENT = 3;
export const QUESTION = 4;
export const HASH = 5;
export const PLUS = 6;
export const ENDS = 7;
export const BAD = 8;

export const TARGET = new Uint8Array(256);
/** 1: allowed in a method. */
export const METHOD_CHAR = new Uint8Array(256);
/** Bits: 1 for letters, digits, `-` and `.` (a name); 2 for what else is allowed within [ ]. */
export const HOST_CHAR = new Uint8Array(256);

for (let c = 0; c < 256; c++) {
  const letter = (c >= 0x41 && c <= 0x5a) || (c >= 0x61 && c <= 0x7a);
  const digit = c >= 0x30 && c <= 0x39;
  if (c < 0x20 || c === 0x7f) TARGET[c] = BAD;
  if ((c >= 0x41 && c <= 0x5a) || c === 0x5f || c === 0x2d) METHOD_CHAR[c] = 1;
  if (letter || digit || c === 0x2d || c === 0x2e) HOST_CHAR[c] = 3;
}
for (const [char, kind] of [
  ["/", SLASH],
  [".", DOT],
  ["%", PERCENT],
  ["?", QUESTION],
  ["#", HASH],
  ["+", PLUS],
  [" ", ENDS],
  ["\r", ENDS],
  ["\n", ENDS],
] as const) {
  TARGET[char.charCodeAt(0)] = kind;
}
for (const char of ":_~!$&'()*+,;=") HOST_CHAR[char.charCodeAt(0)] |= 2;

/** Positions in the bytes passed to `parseRequestLine`, kept across calls; -1 (0 for ends) if there is no such part. */
export class RequestLine {
  start = -1;
  /** After LINE: the byte after the line feed. */
  pos = 0;
  methodEnd = 0;
  uriStart = 0;
  uriEnd = 0;
  /** First byte of the arguments and of the extension; -1 without. Valid only while `complex` is 0. */
  argsStart = -1;
  extStart = -1;
  schemeStart = -1;
  schemeEnd = -1;
  /** The authority of an absolute or authority-form target, port included. */
  hostStart = -1;
  hostEnd = -1;
  protocolStart = -1;
  /** End of the line without its CR LF. */
  end = 0;
  complex = 0;
  plus = false;
  /** 9, 1000, 1001 … */
  version = 9;
  // The machine's own.
  state = START;
  major = 0;
  minor = 9;
  connect = false;
  get = false;

  reset(): void {
    this.state = START;
    this.clear();
  }

  clear(): void {
    this.start = -1;
    this.uriStart = -1;
    this.argsStart = -1;
    this.extStart = -1;
    this.schemeStart = -1;
    this.schemeEnd = -1;
    this.hostStart = -1;
    this.hostEnd = -1;
    this.protocolStart = -1;
    this.end = -1;
    this.complex = 0;
    this.plus = false;
    this.major = 0;
    this.minor = 9;
    this.connect = false;
  }

  /** True while only empty lines were read. */
  get blank(): boolean {
    return this.start < 0;
  }

  /** The bytes have moved: every position is now smaller by `by`. */
  shift(by: number): void {
    this.start -= by;
    this.pos -= by;
    this.methodEnd -= by;
    this.uriStart -= by;
    this.uriEnd -= by;
    this.end -= by;
    if (this.argsStart >= 0) this.argsStart -= by;
    if (this.extStart >= 0) this.extStart -= by;
    if (this.schemeStart >= 0) this.schemeStart -= by;
    if (this.schemeEnd >= 0) this.schemeEnd -= by;
    if (this.hostStart >= 0) this.hostStart -= by;
    if (this.hostEnd >= 0) this.hostEnd -= by;
    if (this.protocolStart >= 0) this.protocolStart -= by;
  }
}

/** Whether the bytes are those of a word. */
export function spells(bytes: Uint8Array, start: number, end: number, word: string): boolean {
  if (end - start !== word.length) return false;
  for (let i = 0; i < word.length; i++) if (bytes[start + i] !== word.charCodeAt(i)) return false;
  return true;
}
