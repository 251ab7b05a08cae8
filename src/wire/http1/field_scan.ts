/**
 * Reads field lines out of raw bytes, shared by requests, responses and trailers. Only positions come out; strings are
 * made once the head is whole. Reading can stop and resume at any byte, so no byte is read twice. The rules are those of nginx and RFC 9112 section 5: no white space before the colon, no line
 * folding (a line may not begin with one), no NUL, a bare LF may end a line.
 */

import { BYTES, FIELD_NUMBERS, fieldNumber, LOWER, STARTS, UNKNOWN } from "./known_fields.ts";

/** What `next` returns. */
const AGAIN = 0;
export const FIELD = 1;
export const END = 2;
export const INVALID = 3;

/** Bits of `flags`. */
export const UNDERSCORE = 1;
export const INVALID_NAME = 2;
/** The line is `Name: value CR LF` to the byte: it may be passed on as it is. */
export const PLAIN_LINE = 4;

/** Numbers a line takes in a list of positions. */
export const SPAN = 6;

const LF = 0x0a;
const CR = 0x0d;
const COLON_BYTE = 0x3a;

const START = 0;
const NAME = 1;
const BEFORE_VALUE = 2;
const VALUE = 3;
const ALMOST_DONE = 4;
const END_ALMOST_DONE = 5;
const IGNORE_LINE = 6;

// Classes of a byte in a name; PLAIN is a letter, a digit or a hyphen.
const PLAIN = 5;
const OTHER = 0;
const LOW_LINE = 1;
const COLON = 2;
const LINE_END = 3;
const BAD = 4;

const NAME_CLASS = new Uint8Array(256);
/** A byte of the class PLAIN in lower case; 0 for any other. */
const FOLDED = new Uint8Array(256);
/**
 * 1 where a value stops being plain: line ends, and NUL, which may not be there. Other control bytes are kept, whoever
 * sends them, as nginx does and RFC 9110 section 5.5 allows: what a server sets in a cookie comes back from its client.
 */
const VALUE_STOP = new Uint8Array(256);

for (let c = 0; c < 256; c++) {
  const lower = c | 0x20;
  if ((lower >= 0x61 && lower <= 0x7a && c < 0x80) || (c >= 0x30 && c <= 0x39) || c === 0x2d) NAME_CLASS[c] = PLAIN;
  else if (c === 0x5f) NAME_CLASS[c] = LOW_LINE;
  else if (c === 0x3a) NAME_CLASS[c] = COLON;
  else if (c === CR || c === LF) NAME_CLASS[c] = LINE_END;
  else if (c <= 0x20 || c === 0x7f) NAME_CLASS[c] = BAD;
  else NAME_CLASS[c] = OTHER;
  if (NAME_CLASS[c] === PLAIN) FOLDED[c] = lower;
  VALUE_STOP[c] = c === CR || c === LF || c === 0 ? 1 : 0;
}

/** Bytes from this one on are plain in a value; those of VALUE_STOP are all below it. */
const PLAIN_VALUE = 14;

/**
 * By a field's number, that of the field which followed it last time: heads of a kind have their fields in the same order,
 * and to compare a name costs less than to hash it and to look it up.
 */
const afterInRequests = new Uint8Array(FIELD_NUMBERS);
const afterInResponses = new Uint8Array(FIELD_NUMBERS);

export class FieldScanner {
  /** After FIELD: where name and value lie in the bytes, spaces around the value left out. */
  nameStart = 0;
  nameEnd = 0;
  valueStart = 0;
  valueEnd = 0;
  /** Hash of the name, for `fieldNumber`. */
  hash = 0;
  flags = 0;
  /** Where reading goes on after FIELD and END; the offending byte after INVALID. */
  pos = 0;
  private state = START;
  private readonly upstream: boolean;
  private readonly following: Uint8Array;

  /** `upstream`: stray status lines among the fields are passed over, as by nginx. */
  constructor(upstream: boolean) {
    this.upstream = upstream;
    this.following = upstream ? afterInResponses : afterInRequests;
  }

  reset(): void {
    this.state = START;
  }

  /** True between lines: nothing of the next line was seen. */
  get betweenLines(): boolean {
    return this.state === START;
  }

  /** The bytes have moved: every position is now smaller by `by`. */
  shift(by: number): void {
    this.nameStart -= by;
    this.nameEnd -= by;
    this.valueStart -= by;
    this.valueEnd -= by;
    this.pos -= by;
  }

  /**
   * Reads whole lines of the usual shape (`Name: value CR LF`) as long as they come and `spans` has room, writing each
   * into `spans` from `at` on: name start and end, value start and end, less `base`, then the field's number and flags.
   * Stops before any other line, which is left unread. Returns how far `spans` was filled; `pos` is where reading goes on.
   */
  usual(bytes: Uint8Array, from: number, end: number, spans: Int32Array, at: number, base: number): number {
    this.pos = from;
    if (this.state !== START) return at;
    const { following } = this;
    const stop = VALUE_STOP;
    const room = spans.length - SPAN;
    let filled = at;
    let number = UNKNOWN;
    let line = from;
    while (filled <= room) {
      const previous = number;
      number = following[previous];
      let p = line + nameLength(bytes, line, end, number);
      if (p === line) {
        let hash = 0;
        for (; p < end; p++) {
          const byte = FOLDED[bytes[p]];
          if (byte === 0) break;
          hash = (Math.imul(hash, 31) + byte) | 0;
        }
        // At least a colon and CR LF must follow.
        if (p + 3 > end || p === line || bytes[p] !== COLON_BYTE) break;
        number = fieldNumber(bytes, line, p, hash);
        following[previous] = number;
      }
      const nameEnd = p++;
      if (bytes[p] === 0x20) p++;
      const valueStart = p;
      if (bytes[p] === 0x20) break;
      p = plainEnd(bytes, p, end);
      while (p < end && stop[bytes[p]] === 0) p++;
      if (p + 1 >= end || bytes[p] !== CR || bytes[p + 1] !== LF) break;
      if (p > valueStart && bytes[p - 1] === 0x20) break;
      spans[filled] = line - base;
      spans[filled + 1] = nameEnd - base;
      spans[filled + 2] = valueStart - base;
      spans[filled + 3] = p - base;
      spans[filled + 4] = number;
      spans[filled + 5] = valueStart - nameEnd === 2 ? PLAIN_LINE : 0;
      filled += SPAN;
      line = p + 2;
    }
    this.pos = line;
    return filled;
  }

  /** Writes the line just read as `usual` does. */
  write(bytes: Uint8Array, spans: Int32Array, at: number, base: number): void {
    spans[at] = this.nameStart - base;
    spans[at + 1] = this.nameEnd - base;
    spans[at + 2] = this.valueStart - base;
    spans[at + 3] = this.valueEnd - base;
    spans[at + 4] = fieldNumber(bytes, this.nameStart, this.nameEnd, this.hash);
    spans[at + 5] = this.flags;
  }

  /** Reads on at `from`. AGAIN: everything up to `end` was read and the line is not over. */
  next(bytes: Uint8Array, from: number, end: number): number {
    let p = from;
    if (this.state === START) {
      if (p >= end) return AGAIN;
      const byte = bytes[p];
      this.nameStart = p;
      if (byte === LF) {
        this.pos = p + 1;
        return END;
      }
      if (byte === CR) {
        this.state = END_ALMOST_DONE;
        p++;
      } else {
        this.state = NAME;
        this.hash = 0;
        this.flags = 0;
      }
    }
    if (this.state === NAME) {
      let hash = this.hash;
      for (;;) {
        if (p >= end) {
          this.hash = hash;
          return AGAIN;
        }
        const byte = bytes[p];
        const kind = NAME_CLASS[byte];
        if (kind === PLAIN) {
          hash = (Math.imul(hash, 31) + (byte | LOWER)) | 0;
          p++;
          continue;
        }
        if (kind === COLON && p !== this.nameStart) break;
        this.hash = hash;
        if (kind === OTHER || kind === LOW_LINE) {
          if (kind === OTHER && this.upstream && this.isStatusLine(bytes, p)) {
            this.state = IGNORE_LINE;
            break;
          }
          this.flags |= kind === OTHER ? INVALID_NAME : UNDERSCORE;
          hash = (Math.imul(hash, 31) + (byte | LOWER)) | 0;
          p++;
          continue;
        }
        if (kind === LINE_END) {
          // A name without a colon: a field with an empty value, as nginx takes it.
          this.nameEnd = this.valueStart = this.valueEnd = p;
          this.state = VALUE;
          break;
        }
        this.pos = p;
        return INVALID;
      }
      if (this.state === NAME) {
        this.hash = hash;
        this.nameEnd = p++;
        this.state = BEFORE_VALUE;
      }
    }
    if (this.state === BEFORE_VALUE) {
      while (p < end && bytes[p] === 0x20) p++;
      if (p >= end) return AGAIN;
      this.valueStart = p;
      this.state = VALUE;
    }
    if (this.state === VALUE) {
      const stop = VALUE_STOP;
      while (p < end && stop[bytes[p]] === 0) p++;
      if (p >= end) return AGAIN;
      const byte = bytes[p];
      if (byte !== LF && byte !== CR) {
        this.pos = p;
        return INVALID;
      }
      let last = p;
      const first = this.valueStart;
      while (last > first && bytes[last - 1] === 0x20) last--;
      this.valueEnd = last;
      p++;
      if (byte === LF) {
        this.pos = p;
        this.state = START;
        return FIELD;
      }
      this.state = ALMOST_DONE;
    }
    return this.lineEnd(bytes, p, end);
  }

  private lineEnd(bytes: Uint8Array, from: number, end: number): number {
    let p = from;
    if (this.state === IGNORE_LINE) {
      while (p < end && bytes[p] !== LF) p++;
      if (p >= end) return AGAIN;
      this.state = START;
      return this.next(bytes, p + 1, end);
    }
    if (this.state === ALMOST_DONE) while (p < end && bytes[p] === CR) p++;
    if (p >= end) return AGAIN;
    if (bytes[p] !== LF) {
      // The invalid byte is the carriage return.
      this.pos = p - 1;
      return INVALID;
    }
    const code = this.state === ALMOST_DONE ? FIELD : END;
    this.pos = p + 1;
    this.state = START;
    return code;
  }

  /** IIS may send a second `HTTP/1.1 …` line among the fields. */
  private isStatusLine(bytes: Uint8Array, p: number): boolean {
    const at = this.nameStart;
    return (
      bytes[p] === 0x2f &&
      p - at === 4 &&
      bytes[at] === 0x48 &&
      bytes[at + 1] === 0x54 &&
      bytes[at + 2] === 0x54 &&
      bytes[at + 3] === 0x50
    );
  }
}

/** The length of the name of that number where a line begins with it and a colon; else 0. */
function nameLength(bytes: Uint8Array, start: number, end: number, number: number): number {
  const key = STARTS[number];
  const length = STARTS[number + 1] - key;
  if (start + length + 3 > end || bytes[start + length] !== COLON_BYTE) return 0;
  for (let i = 0; i < length; i++) if (FOLDED[bytes[start + i]] !== BYTES[key + i]) return 0;
  return length;
}

/** Passes over plain bytes of a value, four at a time. */
function plainEnd(bytes: Uint8Array, start: number, end: number): number {
  const last = end - 4;
  let p = start;
  while (
    p <= last &&
    ((bytes[p] - PLAIN_VALUE) |
      (bytes[p + 1] - PLAIN_VALUE) |
      (bytes[p + 2] - PLAIN_VALUE) |
      (bytes[p + 3] - PLAIN_VALUE)) >=
      0
  ) {
    p += 4;
  }
  return p;
}
