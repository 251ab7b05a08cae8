/** Reads a status line (RFC 9112 section 4, as lenient as nginx); can stop and resume at any byte. */

export const AGAIN = 0;
export const LINE = 1;
const INVALID = 2;

const START = 0;
const MAJOR_START = 5;
const MAJOR = 6;
const MINOR_START = 7;
const MINOR = 8;
const STATUS = 9;
const AFTER_STATUS = 10;
const TEXT = 11;
const ALMOST_DONE = 12;

const LF = 0x0a;
const CR = 0x0d;
const SPACE = 0x20;
const PREFIX = Buffer.from("HTTP/", "latin1");

export class StatusLine {
  /** Positions in the bytes handed to `next`: of the line, of its code, of its end. */
  start = -1;
  statusStart = 0;
  end = -1;
  /** After LINE: the byte after the line feed. */
  pos = 0;
  status = 0;
  /** 1000, 1001 … */
  version = 0;
  /** The line is known to have no NUL, which is allowed in the text after the code. */
  plain = false;
  private state = START;
  private digits = 0;
  private major = 0;
  private minor = 0;

  reset(): void {
    this.start = -1;
    this.end = -1;
    this.plain = false;
    this.status = 0;
    this.version = 0;
    this.state = START;
    this.digits = 0;
  }

  /** The bytes have moved: every position is now smaller by `by`. */
  shift(by: number): void {
    this.start -= by;
    this.statusStart -= by;
    this.end -= by;
    this.pos -= by;
  }

  next(bytes: Uint8Array, from: number, end: number): number {
    if (this.state === START) {
      this.start = from;
      if (this.usual(bytes, from, end)) return LINE;
    }
    for (let p = from; p < end; p++) {
      const byte = bytes[p];
      switch (this.state) {
        case MAJOR_START:
          if (byte < 0x31 || byte > 0x39) return INVALID;
          this.major = byte - 0x30;
          this.state = MAJOR;
          continue;
        case MAJOR:
          if (byte === 0x2e) this.state = MINOR_START;
          else if (!isDigit(byte) || this.major > 99) return INVALID;
          else this.major = this.major * 10 + (byte - 0x30);
          continue;
        case MINOR_START:
          if (!isDigit(byte)) return INVALID;
          this.minor = byte - 0x30;
          this.state = MINOR;
          continue;
        case MINOR:
          if (byte === SPACE) this.state = STATUS;
          else if (!isDigit(byte) || this.minor > 99) return INVALID;
          else this.minor = this.minor * 10 + (byte - 0x30);
          continue;
        case STATUS:
          if (byte === SPACE) continue;
          if (!isDigit(byte)) return INVALID;
          this.status = this.status * 10 + (byte - 0x30);
          if (++this.digits === 3) {
            this.statusStart = p - 2;
            this.state = AFTER_STATUS;
          }
          continue;
        case AFTER_STATUS:
          // A dot: IIS may send 403.1.
          if (byte === SPACE || byte === 0x2e) this.state = TEXT;
          else if (byte === CR) this.almost(p);
          else if (byte === LF) return this.done(p);
          else return INVALID;
          continue;
        case TEXT:
          if (byte === CR) this.almost(p);
          else if (byte === LF) return this.done(p);
          continue;
        case ALMOST_DONE:
          return byte === LF ? this.done(p) : INVALID;
        default:
          // START and the four states after it: "HTTP/".
          if (byte !== PREFIX[this.state]) return INVALID;
          this.state++;
      }
    }
    return AGAIN;
  }

  /** Reads a complete `HTTP/1.x NNN text CR LF`; false leaves the line to the state machine. */
  private usual(bytes: Uint8Array, from: number, end: number): boolean {
    if (
      from + 14 > end ||
      bytes[from] !== 0x48 ||
      bytes[from + 1] !== 0x54 ||
      bytes[from + 2] !== 0x54 ||
      bytes[from + 3] !== 0x50 ||
      bytes[from + 4] !== 0x2f ||
      bytes[from + 5] !== 0x31 ||
      bytes[from + 6] !== 0x2e ||
      bytes[from + 8] !== SPACE ||
      bytes[from + 12] !== SPACE
    ) {
      return false;
    }
    const minor = bytes[from + 7] - 0x30;
    const a = bytes[from + 9] - 0x30;
    const b = bytes[from + 10] - 0x30;
    const c = bytes[from + 11] - 0x30;
    if (minor < 0 || minor > 9 || a < 0 || a > 9 || b < 0 || b > 9 || c < 0 || c > 9) return false;
    let p = from + 13;
    while (p < end && bytes[p] !== CR && bytes[p] !== LF && bytes[p] !== 0) p++;
    if (p + 1 >= end || bytes[p] !== CR || bytes[p + 1] !== LF) return false;
    this.statusStart = from + 9;
    this.status = a * 100 + b * 10 + c;
    this.version = 1000 + minor;
    this.plain = true;
    this.end = p;
    this.pos = p + 2;
    return true;
  }

  private almost(p: number): void {
    this.end = p;
    this.state = ALMOST_DONE;
  }

  private done(p: number): number {
    if (this.state !== ALMOST_DONE) this.end = p;
    this.version = this.major * 1000 + this.minor;
    this.pos = p + 1;
    return LINE;
  }
}

function isDigit(byte: number): boolean {
  return byte >= 0x30 && byte <= 0x39;
}
