/**
 * Reads a request line out of raw bytes (RFC 9112 section 3, with nginx's tolerances: blank lines before it, several
 * spaces between its parts, HTTP/0.9). A whole line of the usual shape is read in one go; anything else goes through a
 * machine that can stop and resume at any byte.
 */

export const AGAIN = 0;
export const LINE = 1;
export const INVALID_METHOD = 2;
export const INVALID_REQUEST = 3;
export const INVALID_VERSION = 4;
export const INVALID_09_METHOD = 5;

const START = 0;
const METHOD = 1;
const SPACES_BEFORE_URI = 2;
const SCHEME = 3;
const SCHEME_SLASH = 4;
const SCHEME_SLASH_SLASH = 5;
const SPACES_BEFORE_HOST = 6;
const HOST_START = 7;
const HOST = 8;
const HOST_END = 9;
const IP_LITERAL = 10;
const PORT_START = 11;
const PORT = 12;
const AFTER_SLASH = 13;
const CHECK_URI = 14;
const URI = 15;
const AFTER_URI = 16;
const PROTOCOL = 17;
const MAJOR_START = 18;
const MAJOR = 19;
const MINOR_START = 20;
const MINOR = 21;
const SPACES_AFTER = 22;
const ALMOST_DONE = 23;

const LF = 0x0a;
const CR = 0x0d;
const SPACE = 0x20;

/** Bits of `complex`: why the target's path is not simply its text. 0 when it is. */
export const COMPLEX = 1;
export const QUOTED = 2;
export const EMPTY_PATH = 4;

// Classes of a byte in a target.
const PLAIN = 0;
const SLASH = 1;
const DOT = 2;
const PERCENT = 3;
const QUESTION = 4;
const HASH = 5;
const PLUS = 6;
const ENDS = 7;
const BAD = 8;

const TARGET = new Uint8Array(256);
/** 1: may stand in a method. */
const METHOD_CHAR = new Uint8Array(256);
/** Bits: 1 a letter, digit, `-` or `.` (a name); 2 besides what may stand within [ ]. */
const HOST_CHAR = new Uint8Array(256);

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
  private state = START;
  private major = 0;
  private minor = 9;
  private connect = false;
  private get = false;

  reset(): void {
    this.state = START;
    this.clear();
  }

  private clear(): void {
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
    return this.resume(bytes, from, end);
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

  private resume(bytes: Uint8Array, from: number, end: number): number {
    for (let p = from; p < end; p++) {
      const byte = bytes[p];
      switch (this.state) {
        case START:
          if (byte === CR || byte === LF) continue;
          this.clear();
          this.start = p;
          if (METHOD_CHAR[byte] === 0) return INVALID_METHOD;
          this.state = METHOD;
          continue;

        case METHOD:
          if (METHOD_CHAR[byte] === 1) continue;
          if (byte !== SPACE) return INVALID_METHOD;
          this.methodEnd = p;
          this.connect = spells(bytes, this.start, p, "CONNECT");
          this.get = spells(bytes, this.start, p, "GET");
          this.state = this.connect ? SPACES_BEFORE_HOST : SPACES_BEFORE_URI;
          continue;

        case SPACES_BEFORE_URI:
          if (byte === 0x2f) {
            this.uriStart = p;
            this.state = AFTER_SLASH;
          } else if (isLetter(byte)) {
            this.schemeStart = p;
            this.state = SCHEME;
          } else if (byte !== SPACE) return INVALID_REQUEST;
          continue;

        case SCHEME:
          if (isLetter(byte) || isDigit(byte) || byte === 0x2b || byte === 0x2d || byte === 0x2e) continue;
          if (byte !== 0x3a) return INVALID_REQUEST;
          this.schemeEnd = p;
          this.state = SCHEME_SLASH;
          continue;

        case SCHEME_SLASH:
        case SCHEME_SLASH_SLASH:
          if (byte !== 0x2f) return INVALID_REQUEST;
          this.state = this.state === SCHEME_SLASH ? SCHEME_SLASH_SLASH : HOST_START;
          continue;

        case SPACES_BEFORE_HOST:
        case HOST_START:
        case HOST:
        case HOST_END:
          if (!this.inHost(byte, p)) return INVALID_REQUEST;
          continue;

        case IP_LITERAL:
          if (HOST_CHAR[byte] !== 0) continue;
          if (byte !== 0x5d) return INVALID_REQUEST;
          this.state = HOST_END;
          continue;

        case PORT_START:
        case PORT:
          if (!this.inPort(byte, p)) return INVALID_REQUEST;
          continue;

        case AFTER_SLASH:
        case CHECK_URI:
        case URI: {
          const kind = TARGET[byte];
          if (kind === PLAIN) {
            if (this.state === AFTER_SLASH) this.state = CHECK_URI;
            continue;
          }
          if (kind === BAD) return INVALID_REQUEST;
          if (kind === ENDS) {
            this.uriEnd = p;
            if (byte === SPACE) {
              this.state = AFTER_URI;
              continue;
            }
            if (byte === LF) return this.done(p);
            this.end = p;
            this.state = ALMOST_DONE;
            continue;
          }
          this.inTarget(kind, p);
          continue;
        }

        case AFTER_URI:
          if (byte === SPACE) continue;
          if (byte === LF) return this.done(p);
          if (byte === CR) {
            this.end = p;
            this.state = ALMOST_DONE;
          } else if (byte === 0x48) {
            this.protocolStart = p;
            this.state = PROTOCOL;
          } else return INVALID_REQUEST;
          continue;

        case PROTOCOL: {
          const at = p - this.protocolStart;
          if (byte !== (at === 1 || at === 2 ? 0x54 : at === 3 ? 0x50 : 0x2f)) return INVALID_REQUEST;
          if (at < 4) continue;
          if (this.connect) {
            // nginx takes this slash for the path of a CONNECT request.
            this.uriStart = p;
            this.uriEnd = p + 1;
          }
          this.state = MAJOR_START;
          continue;
        }

        case MAJOR_START:
          if (byte < 0x31 || byte > 0x39) return INVALID_REQUEST;
          this.major = byte - 0x30;
          if (this.major > 1) return INVALID_VERSION;
          this.state = MAJOR;
          continue;

        case MAJOR:
          if (byte === 0x2e) {
            this.state = MINOR_START;
            continue;
          }
          // A second digit makes at least 10.
          return isDigit(byte) ? INVALID_VERSION : INVALID_REQUEST;

        case MINOR_START:
          if (!isDigit(byte)) return INVALID_REQUEST;
          this.minor = byte - 0x30;
          this.state = MINOR;
          continue;

        case MINOR:
        case SPACES_AFTER:
          if (this.state === MINOR && isDigit(byte)) {
            if (this.minor > 99) return INVALID_REQUEST;
            this.minor = this.minor * 10 + (byte - 0x30);
          } else if (byte === LF) return this.done(p);
          else if (byte === CR) {
            this.end = p;
            this.state = ALMOST_DONE;
          } else if (byte === SPACE) this.state = SPACES_AFTER;
          else return INVALID_REQUEST;
          continue;

        default:
          if (byte !== LF) return INVALID_REQUEST;
          return this.done(p);
      }
    }
    this.pos = end;
    return AGAIN;
  }

  private inTarget(kind: number, p: number): void {
    if (kind === HASH) {
      this.complex |= COMPLEX;
      this.state = URI;
      return;
    }
    if (this.state === URI) return;
    switch (kind) {
      case SLASH:
      case DOT:
        if (this.state === AFTER_SLASH) {
          this.complex |= COMPLEX;
          this.state = URI;
        } else if (kind === DOT) this.extStart = p + 1;
        else {
          this.extStart = -1;
          this.state = AFTER_SLASH;
        }
        return;
      case PERCENT:
        this.complex |= QUOTED;
        this.state = URI;
        return;
      case QUESTION:
        this.argsStart = p + 1;
        this.state = URI;
        return;
      default:
        this.plus = true;
    }
  }

  private inHost(byte: number, p: number): boolean {
    if (this.state === SPACES_BEFORE_HOST && byte === SPACE) return true;
    if (this.state === SPACES_BEFORE_HOST || this.state === HOST_START) {
      this.hostStart = p;
      this.state = byte === 0x5b ? IP_LITERAL : HOST;
      if (byte === 0x5b) return true;
    }
    if (this.state === HOST && (HOST_CHAR[byte] & 1) !== 0) return true;
    if (byte === 0x3a) {
      this.state = PORT_START;
      return true;
    }
    // CONNECT needs a port.
    return !this.connect && this.endAuthority(byte, p);
  }

  private inPort(byte: number, p: number): boolean {
    if (isDigit(byte)) {
      this.state = PORT;
      return true;
    }
    if (!this.connect) return this.endAuthority(byte, p);
    if (this.state === PORT_START || byte !== SPACE) return false;
    this.hostEnd = p;
    this.state = AFTER_URI;
    return true;
  }

  /** The byte after the authority of an absolute target; false when it cannot stand there. */
  private endAuthority(byte: number, p: number): boolean {
    this.hostEnd = p;
    switch (byte) {
      case 0x2f:
        this.uriStart = p;
        this.state = AFTER_SLASH;
        return true;
      case 0x3f:
        this.uriStart = p;
        this.argsStart = p + 1;
        this.complex |= EMPTY_PATH;
        this.state = URI;
        return true;
      case SPACE:
        // No path at all: one of the scheme's slashes is the path.
        this.uriStart = this.schemeEnd + 1;
        this.uriEnd = this.schemeEnd + 2;
        this.state = AFTER_URI;
        return true;
      default:
        return false;
    }
  }

  private done(p: number): number {
    if (this.end < 0) this.end = p;
    this.pos = p + 1;
    this.version = this.major * 1000 + this.minor;
    this.state = START;
    return this.version === 9 && !this.get ? INVALID_09_METHOD : LINE;
  }
}

function isLetter(byte: number): boolean {
  const lower = byte | 0x20;
  return lower >= 0x61 && lower <= 0x7a;
}

function isDigit(byte: number): boolean {
  return byte >= 0x30 && byte <= 0x39;
}

function spells(bytes: Uint8Array, start: number, end: number, word: string): boolean {
  if (end - start !== word.length) return false;
  for (let i = 0; i < word.length; i++) if (bytes[start + i] !== word.charCodeAt(i)) return false;
  return true;
}
