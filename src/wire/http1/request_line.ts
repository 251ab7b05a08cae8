/**
 * Reads a request line out of raw bytes (RFC 9112 section 3, with nginx's tolerances: blank lines before it, several
 * spaces between its parts, HTTP/0.9). A whole line of the usual shape is read in one go; anything else goes through a
 * machine that can stop and resume at any byte.
 */

import { resume, START } from "./request_line_machine.ts";
import {
  COMPLEX,
  CR,
  DOT,
  ENDS,
  HASH,
  LF,
  LINE,
  METHOD_CHAR,
  PERCENT,
  PLAIN,
  PLUS,
  QUESTION,
  QUOTED,
  SLASH,
  SPACE,
  spells,
  TARGET,
} from "./request_line_syntax.ts";

/** Positions lie in the bytes handed to `next`, and are kept across calls; -1 (0 for ends) when there is no such part. */
export class RequestLine {
  start = -1;
  /** After LINE: the byte after the line feed. */
  pos = 0;
  methodEnd = 0;
  uriStart = 0;
  uriEnd = 0;
  /** First byte of the arguments, of the extension; -1 without. Only to be trusted when `complex` is 0. */
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

  /** True while nothing but blank lines was seen. */
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

  next(bytes: Uint8Array, from: number, end: number): number {
    if (this.state === START && this.usual(bytes, from, end)) return LINE;
    return resume(this, bytes, from, end);
  }

  /** `METHOD /target HTTP/1.x`, whole, with nothing unusual about it; false leaves everything to the machine. */
  private usual(bytes: Uint8Array, from: number, end: number): boolean {
    let p = from;
    while (p < end && METHOD_CHAR[bytes[p]] === 1) p++;
    if (p === from || p + 12 > end || bytes[p] !== SPACE || bytes[p + 1] !== 0x2f) return false;
    const methodEnd = p;
    if (methodEnd - from === 7 && spells(bytes, from, methodEnd, "CONNECT")) return false;
    const uriStart = p + 1;
    let ext = -1;
    let args = -1;
    let complex = 0;
    let plus = false;
    p += 2;
    path: for (let afterSlash = true; p < end; p++) {
      switch (TARGET[bytes[p]]) {
        case PLAIN:
          afterSlash = false;
          continue;
        case SLASH:
          if (afterSlash) {
            complex = COMPLEX;
            break path;
          }
          ext = -1;
          afterSlash = true;
          continue;
        case DOT:
          if (afterSlash) {
            complex = COMPLEX;
            break path;
          }
          ext = p + 1;
          continue;
        case PERCENT:
          complex = QUOTED;
          break path;
        case PLUS:
          plus = true;
          continue;
        case QUESTION:
          args = p + 1;
          break path;
        case HASH:
          complex = COMPLEX;
          break path;
        case ENDS:
          break path;
        default:
          return false;
      }
    }
    for (; p < end; p++) {
      const kind = TARGET[bytes[p]];
      if (kind >= ENDS) break;
      if (kind === HASH) complex |= COMPLEX;
    }
    // " HTTP/1.x" and the line's end.
    if (
      p + 10 > end ||
      bytes[p] !== SPACE ||
      bytes[p + 1] !== 0x48 ||
      bytes[p + 2] !== 0x54 ||
      bytes[p + 3] !== 0x54 ||
      bytes[p + 4] !== 0x50 ||
      bytes[p + 5] !== 0x2f ||
      bytes[p + 6] !== 0x31 ||
      bytes[p + 7] !== 0x2e
    ) {
      return false;
    }
    const minor = bytes[p + 8] - 0x30;
    if (minor !== 1 && minor !== 0) return false;
    let after = p + 9;
    if (bytes[after] === CR && after + 1 < end) after++;
    if (bytes[after] !== LF) return false;
    this.start = from;
    this.methodEnd = methodEnd;
    this.uriStart = uriStart;
    this.uriEnd = p;
    this.argsStart = args;
    this.extStart = ext;
    this.complex = complex;
    this.plus = plus;
    this.protocolStart = p + 1;
    this.end = p + 9;
    this.version = 1000 + minor;
    this.pos = after + 1;
    return true;
  }
}
