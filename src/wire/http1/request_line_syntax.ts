// What reading a request line comes to, and what its bytes may be.

export const AGAIN = 0;
export const LINE = 1;
export const INVALID_METHOD = 2;
export const INVALID_REQUEST = 3;
export const INVALID_VERSION = 4;
export const INVALID_09_METHOD = 5;

export const LF = 0x0a;
export const CR = 0x0d;
export const SPACE = 0x20;

/** Bits of `complex`: why the target's path is not simply its text. 0 when it is. */
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
/** 1: may stand in a method. */
export const METHOD_CHAR = new Uint8Array(256);
/** Bits: 1 a letter, digit, `-` or `.` (a name); 2 besides what may stand within [ ]. */
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

/** Whether the bytes are those of a word. */
export function spells(bytes: Uint8Array, start: number, end: number, word: string): boolean {
  if (end - start !== word.length) return false;
  for (let i = 0; i < word.length; i++) if (bytes[start + i] !== word.charCodeAt(i)) return false;
  return true;
}
