import { scanned } from "../head_text.ts";
import { byteString, HEX } from "../latin1.ts";
import { END, FIELD, FieldScanner } from "./field_scan.ts";
import type { HeaderList } from "./header_list.ts";
import { fieldKey } from "./known_fields.ts";

/** Everything up to `end` was read, without any data in it. @internal Named by tests only. */
export const MORE = 0;
/** `dataStart..dataEnd` is body; call `next` again at `decoder.pos`. */
export const DATA = 1;
/** The body is over; what follows begins at `decoder.pos`. */
export const CHUNKED_DONE = 2;
/** The framing is malformed. */
export const ERROR = 3;

const CHUNK_START = 0;
const SIZE = 1;
const EXTENSION = 2;
const EXTENSION_ALMOST_DONE = 3;
const CHUNK_DATA = 4;
const AFTER_DATA = 5;
const AFTER_DATA_ALMOST_DONE = 6;
const TRAILER = 7;
const TRAILER_ALMOST_DONE = 8;
const TRAILER_FIELD = 9;
const TRAILER_FIELD_ALMOST_DONE = 10;
const OVER = 11;
const BROKEN = 12;

const LF = 0x0a;
const CR = 0x0d;

/** How many bytes of extensions a chunk may have; they are ignored (RFC 9112 section 7.1.1). */
const EXTENSION_LIMIT = 4096;
/** Up to this size a loop is faster than copyWithin. */
const SHORT = 32;
/** The digits of an ordinary chunk size. */
const DIGITS = 7;
/** Default bound of the trailers in bytes. */
const TRAILER_LIMIT = 32768;

/**
 * Decodes a chunked body (RFC 9112 section 7.1; ngx_http_parse_chunked). The data of all chunks in one read becomes one
 * range of the input bytes: that of the first chunk stays in place, and that of the following ones is moved down to it,
 * over the framing in between. So one read yields one range, however small the chunks are. Every line must end with CR
 * LF. Reused: `reset` before each body.
 */
export class ChunkedDecoder {
  dataStart = 0;
  dataEnd = 0;
  /** After DATA: where in the range the last chunk begins, and its length from there on. */
  chunkStart = 0;
  chunkSize = 0;
  /**
   * After DATA: where to continue. After CHUNKED_DONE: the first byte behind the body. After ERROR: the offending byte.
   */
  pos = 0;
  private state = CHUNK_START;
  private size = 0;
  private extension = 0;
  private trailerLength = 0;
  private trailerLimit = TRAILER_LIMIT;
  private trailers: HeaderList | undefined;
  private kept: Buffer[] = [];

  /** `trailers` collects the trailer fields, else they are dropped. All of them may have `trailerLimit` bytes. */
  reset(trailers?: HeaderList, trailerLimit = TRAILER_LIMIT): void {
    this.state = CHUNK_START;
    this.size = 0;
    this.extension = 0;
    this.trailerLength = 0;
    this.trailerLimit = trailerLimit;
    this.trailers = trailers;
    this.kept = [];
  }

  /** True once the last chunk and the trailers were read. */
  get over(): boolean {
    return this.state === OVER;
  }

  /**
   * Reads on at `start`; bytes behind it are moved, those from `pos` on are left alone. Call again at `pos` after DATA,
   * with new bytes after MORE. The range ends with the chunk whose size makes it longer than `room`.
   */
  next(bytes: Buffer, start: number, end: number, room = Number.POSITIVE_INFINITY): number {
    let p = start;
    this.dataStart = start;
    this.dataEnd = start;
    while (p < end) {
      const byte = bytes[p];
      switch (this.state) {
        case CHUNK_DATA:
          p = this.takeData(bytes, p, end, room);
          if (this.chunkStart - this.dataStart + this.chunkSize > room) return this.found(p);
          continue;
        case AFTER_DATA:
          if (byte !== CR) return this.broken(p);
          this.state = AFTER_DATA_ALMOST_DONE;
          break;
        case AFTER_DATA_ALMOST_DONE:
          if (byte !== LF) return this.broken(p);
          this.state = CHUNK_START;
          break;
        case CHUNK_START: {
          const digit = HEX[byte];
          if (digit < 0) return this.broken(p);
          this.size = digit;
          this.extension = 0;
          this.state = SIZE;
          break;
        }
        case SIZE: {
          const digit = HEX[byte];
          if (digit >= 0) {
            if (this.size > Number.MAX_SAFE_INTEGER / 16 - 1) return this.broken(p);
            this.size = this.size * 16 + digit;
            // Leading zeros are bounded as extensions are.
            if (++this.extension > EXTENSION_LIMIT) return this.broken(p);
          } else if (byte === CR) this.state = EXTENSION_ALMOST_DONE;
          else if (byte === 0x3b || byte === 0x20 || byte === 0x09) this.state = EXTENSION;
          else return this.broken(p);
          break;
        }
        case EXTENSION: {
          const at = extensionEnd(bytes, p, end);
          this.extension += at - p;
          if (this.extension > EXTENSION_LIMIT) return this.broken(p);
          p = at;
          if (p === end) continue;
          if (bytes[p] !== CR) return this.broken(p);
          this.state = EXTENSION_ALMOST_DONE;
          break;
        }
        case EXTENSION_ALMOST_DONE:
          if (byte !== LF) return this.broken(p);
          if (this.size > 0) {
            this.state = CHUNK_DATA;
            break;
          }
          this.state = TRAILER;
          if (this.dataEnd > this.dataStart) return this.found(p + 1);
          break;
        case OVER:
          this.pos = p;
          return CHUNKED_DONE;
        case BROKEN:
          return this.broken(p);
        default: {
          const code = this.inTrailers(bytes, p, end);
          if (code !== MORE) return code;
          p = end;
          continue;
        }
      }
      p++;
    }
    return this.dataEnd > this.dataStart ? this.found(end) : MORE;
  }

  /** Appends the data at `start` to the range, and further chunks of the usual form; returns where it stopped. */
  private takeData(bytes: Buffer, start: number, end: number, room: number): number {
    if (this.dataEnd === this.dataStart) {
      this.dataStart = start;
      this.dataEnd = start;
    }
    const before = this.dataStart;
    let p = start;
    let to = this.dataEnd;
    let { size } = this;
    for (;;) {
      const length = size < end - p ? size : end - p;
      if (to !== p) {
        if (length > SHORT) bytes.copyWithin(to, p, p + length);
        else for (let i = 0; i < length; i++) bytes[to + i] = bytes[p + i];
      }
      this.chunkStart = to;
      this.chunkSize = size;
      const tooLong = to - before + size > room;
      to += length;
      p += length;
      size -= length;
      if (size > 0 || tooLong || end - p < 5 || bytes[p] !== CR || bytes[p + 1] !== LF) break;
      // Of the form "\r\n", a size of few digits, "\r\n" and data; everything else is left to `next`, which reads the
      // same `\r\n` again.
      const last = p + 2 + DIGITS < end - 2 ? p + 2 + DIGITS : end - 2;
      let at = p + 2;
      for (; at < last; at++) {
        const digit = HEX[bytes[at]];
        if (digit < 0) break;
        size = size * 16 + digit;
      }
      if (size === 0 || bytes[at] !== CR || bytes[at + 1] !== LF || at + 2 >= end) {
        size = 0;
        break;
      }
      p = at + 2;
    }
    this.dataEnd = to;
    this.size = size;
    if (size === 0) this.state = AFTER_DATA;
    return p;
  }

  private found(pos: number): number {
    this.pos = pos;
    return DATA;
  }

  private inTrailers(bytes: Buffer, start: number, end: number): number {
    let p = start;
    for (; p < end && this.state !== OVER; p++) {
      const byte = bytes[p];
      if (++this.trailerLength > this.trailerLimit) return this.broken(p);
      switch (this.state) {
        case TRAILER:
          if (byte === LF) return this.broken(p);
          this.state = byte === CR ? TRAILER_ALMOST_DONE : TRAILER_FIELD;
          break;
        case TRAILER_FIELD:
          if (byte === CR) this.state = TRAILER_FIELD_ALMOST_DONE;
          else if (byte === LF || byte === 0) return this.broken(p);
          break;
        default:
          if (byte !== LF) return this.broken(p);
          this.state = this.state === TRAILER_ALMOST_DONE ? OVER : TRAILER;
      }
    }
    if (this.trailers !== undefined) {
      this.kept.push(Buffer.from(bytes.subarray(start, p)));
      if (this.state === OVER) {
        const whole = Buffer.concat(this.kept);
        this.kept = [];
        if (!readTrailers(whole, this.trailers)) return this.broken(p);
      }
    }
    if (this.state !== OVER) return MORE;
    this.pos = p;
    return CHUNKED_DONE;
  }

  /** Data before the error is returned first. */
  private broken(p: number): number {
    this.state = BROKEN;
    this.pos = p;
    return this.dataEnd > this.dataStart ? DATA : ERROR;
  }
}

/** The first byte from `start` on that is not allowed in an extension. */
function extensionEnd(bytes: Buffer, start: number, end: number): number {
  let p = start;
  while (p < end && ((bytes[p] >= 0x20 && bytes[p] !== 0x7f) || bytes[p] === 0x09)) p++;
  return p;
}

/** Reads trailer fields up to the empty line; false if one is malformed. */
function readTrailers(bytes: Buffer, into: HeaderList): boolean {
  const scanner = new FieldScanner(true);
  let code = scanner.next(bytes, 0, bytes.length);
  while (code === FIELD) {
    const name = scanned(byteString(bytes, scanner.nameStart, scanner.nameEnd));
    into.add(name, fieldKey(name), scanned(byteString(bytes, scanner.valueStart, scanner.valueEnd)));
    code = scanner.next(bytes, scanner.pos, bytes.length);
  }
  return code === END;
}
