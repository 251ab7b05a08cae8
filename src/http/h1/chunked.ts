import { scanned } from "../head_text.ts";
import { HEX } from "../hex.ts";
import { END, FIELD, FieldScanner } from "./field_scan.ts";
import type { HeaderList } from "./header_list.ts";
import { fieldKey } from "./known_fields.ts";
import { byteString } from "./latin1.ts";

/** Everything up to `end` was read; no data in it is left. */
export const MORE = 0;
/** `dataStart..dataEnd` is body; call `next` again at `dataEnd`. */
export const DATA = 1;
/** The body is over; what follows begins at `decoder.pos`. */
export const CHUNKED_DONE = 2;
/** The framing is broken. */
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

/** A chunk extension means nothing to a proxy; this bounds what one chunk may waste on it (RFC 9112 section 7.1.1). */
const EXTENSION_LIMIT = 4096;
/** Bytes of all trailers, where nothing else is said. */
const TRAILER_LIMIT = 32768;

/**
 * Takes the chunked coding off a body (RFC 9112 section 7.1; ngx_http_parse_chunked) without copying: data comes out as
 * ranges of the bytes that went in. Every line must end with CR LF. Reused: `reset` before each body.
 */
export class ChunkedDecoder {
  dataStart = 0;
  dataEnd = 0;
  /** After CHUNKED_DONE: the first byte behind the body. After ERROR: the offending one. */
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

  /** Bytes of the current chunk still to come. */
  get announced(): number {
    return this.size;
  }

  /** The least number of bytes that are still to come: what a read may ask for without reading too far. */
  get remaining(): number {
    if (this.state === OVER) return 0;
    return this.size + (this.state < TRAILER ? 5 : 1);
  }

  /** Reads on at `start`. Call again at `dataEnd` after DATA, with new bytes after MORE. */
  next(bytes: Buffer, start: number, end: number): number {
    let p = start;
    while (p < end) {
      const byte = bytes[p];
      switch (this.state) {
        case CHUNK_DATA: {
          const take = Math.min(this.size, end - p);
          this.dataStart = p;
          this.dataEnd = p + take;
          this.size -= take;
          if (this.size === 0) this.state = AFTER_DATA;
          return DATA;
        }
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
            // Zeros before a size: bounded as an extension is.
            if (++this.extension > EXTENSION_LIMIT) return this.broken(p);
          } else if (byte === CR) this.state = EXTENSION_ALMOST_DONE;
          else if (byte === 0x3b || byte === 0x20 || byte === 0x09) this.state = EXTENSION;
          else return this.broken(p);
          break;
        }
        case EXTENSION:
          if (byte === CR) this.state = EXTENSION_ALMOST_DONE;
          else if ((byte < 0x20 && byte !== 0x09) || byte === 0x7f) return this.broken(p);
          else if (++this.extension > EXTENSION_LIMIT) return this.broken(p);
          break;
        case EXTENSION_ALMOST_DONE:
          if (byte !== LF) return this.broken(p);
          this.state = this.size === 0 ? TRAILER : CHUNK_DATA;
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
    return MORE;
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

  private broken(p: number): number {
    this.state = BROKEN;
    this.pos = p;
    return ERROR;
  }
}

/** Trailer fields up to their blank line; false when one is no field. */
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
