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
  type RequestLine,
  SLASH,
  SPACE,
  START,
  spells,
  TARGET,
} from "./request_line.ts";
import { resume } from "./request_line_machine.ts";

/**
 * Reads a request line (RFC 9112 section 3, as lenient as nginx: empty lines before it, several spaces between its
 * parts, HTTP/0.9). A complete line of the usual form is read in one pass; anything else by a state machine that can
 * stop and resume at any byte. Returns AGAIN, LINE or an error.
 */
export function parseRequestLine(line: RequestLine, bytes: Uint8Array, from: number, end: number): number {
  if (line.state === START && usual(line, bytes, from, end)) return LINE;
  return resume(line, bytes, from, end);
}

/** Reads a complete `METHOD /target HTTP/1.x` without anything unusual; false leaves the line to the state machine. */
function usual(line: RequestLine, bytes: Uint8Array, from: number, end: number): boolean {
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
  line.start = from;
  line.methodEnd = methodEnd;
  line.uriStart = uriStart;
  line.uriEnd = p;
  line.argsStart = args;
  line.extStart = ext;
  line.complex = complex;
  line.plus = plus;
  line.protocolStart = p + 1;
  line.end = p + 9;
  line.version = 1000 + minor;
  line.pos = after + 1;
  return true;
}
