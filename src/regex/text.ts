import type { CharacterSet } from "./program.ts";
import { ABOVE_BYTES, ASSERTIONS, AT_END } from "./program.ts";

// What our own matcher asks of the subject itself.

/** The length of the character of a set at a place, or 0. */
export function sizeAt(set: CharacterSet, subject: string, at: number): number {
  if (at >= subject.length) return 0;
  const code = subject.charCodeAt(at);
  if (code < 256) return set.bytes[code];
  const point = subject.codePointAt(at) ?? 0;
  return set.above(point) ? (point > 0xffff ? 2 : 1) : 0;
}

/** Whether a place is inside a character of two units. */
export function isTrail(subject: string, at: number): boolean {
  const code = at < subject.length ? subject.charCodeAt(at) : 0;
  return code >= 0xdc00 && code <= 0xdfff;
}

export function mayStand(table: Uint8Array, subject: string, at: number): boolean {
  if (at >= subject.length) return table[AT_END] === 1;
  const code = subject.charCodeAt(at);
  return table[code < 256 ? code : ABOVE_BYTES] === 1;
}

export function holds(assertion: number, subject: string, at: number): boolean {
  const { length } = subject;
  switch (ASSERTIONS[assertion]) {
    case "start":
      return at === 0;
    case "end":
      return at === length;
    case "finalEnd":
      return at === length || (at === length - 1 && subject.charCodeAt(at) === 0x0a);
    case "lineStart":
      return at === 0 || (at < length && subject.charCodeAt(at - 1) === 0x0a);
    case "lineEnd":
      return at === length || subject.charCodeAt(at) === 0x0a;
    case "word":
      return isWord(subject, at - 1) !== isWord(subject, at);
    case "notWord":
      return isWord(subject, at - 1) === isWord(subject, at);
  }
}

function isWord(subject: string, at: number): boolean {
  if (at < 0 || at >= subject.length) return false;
  const code = subject.charCodeAt(at);
  if (code === 0x5f || (code >= 0x30 && code <= 0x39)) return true;
  return (code >= 0x41 && code <= 0x5a) || (code >= 0x61 && code <= 0x7a);
}

export function folded(text: string, utf: boolean): string {
  return utf ? text.toLowerCase() : text.replace(/[A-Z]+/g, (letters) => letters.toLowerCase());
}
