/**
 * The records of FastCGI 1.0 as a web server writes and reads them: one request at a time on a connection, always with
 * id 1, as in nginx. This splits the application's records; what they contain (a CGI response) is parsed elsewhere.
 */

/** Record types of the specification, section 8. */
const BEGIN_REQUEST = 1;
const END_REQUEST = 3;
const PARAMS = 4;
const STDIN = 5;
const STDOUT = 6;
const STDERR = 7;

const VERSION = 1;
const REQUEST_ID = 1;
const RESPONDER = 1;
const KEEP_CONN = 1;
const HEADER = 8;
/** The most that one record holds: its length has two bytes. */
const MAX_CONTENT = 65_535;

// Writing. Everything is a byte string.

/** Begins a request to a responder. `keepConn`: the application keeps the connection open after the request. */
export function beginRequest(keepConn: boolean): string {
  return record(BEGIN_REQUEST, String.fromCharCode(0, RESPONDER, keepConn ? KEEP_CONN : 0, 0, 0, 0, 0, 0));
}

/** A name-value pair, for `params`. */
export function param(name: string, value: string): string {
  return PAIR.before(name, value.length) + value;
}

/** The same in parts. */
export const PAIR = {
  before: (name: string, length: number): string => pairLength(name.length) + pairLength(length) + name,
  after: "",
};

/** The whole stream of parameters, in as many records as needed, and its end. `pairs`: results of `param`, joined. */
export function params(pairs: string): string {
  const { length } = pairs;
  if (length <= MAX_CONTENT && length > 0) return recordHeader(PARAMS, length) + pairs + PARAMS_ENDS[paddingOf(length)];
  let records = "";
  for (let at = 0; at < length; at += MAX_CONTENT) records += record(PARAMS, pairs.slice(at, at + MAX_CONTENT));
  return records + PARAMS_END;
}

/**
 * Framing of a request's body, one record for each piece of 1 to MAX_CONTENT bytes: what precedes and follows a piece,
 * and what follows the last.
 */
export const STDIN_STREAM = {
  before: (length: number): string => recordHeader(STDIN, length),
  after: (length: number, last: boolean): string => (last ? STDIN_ENDS : PADDING)[paddingOf(length)],
  end: recordHeader(STDIN, 0),
  none: recordHeader(STDIN, 0),
};

const PARAMS_END = recordHeader(PARAMS, 0);

function record(type: number, content: string): string {
  return recordHeader(type, content.length) + content + PADDING[paddingOf(content.length)];
}

function recordHeader(type: number, length: number): string {
  return String.fromCharCode(VERSION, type, 0, REQUEST_ID, length >> 8, length & 0xff, paddingOf(length), 0);
}

/** By its length. */
const PADDING: readonly string[] = Array.from({ length: 8 }, (_, length) => "\0".repeat(length));

/** What follows the parameters where one record has them all, by its padding. */
const PARAMS_ENDS = PADDING.map((padding) => padding + PARAMS_END);

/** What follows the last piece of a body, by its padding. */
const STDIN_ENDS = PADDING.map((padding) => padding + STDIN_STREAM.end);

/** Records are padded to a multiple of 8 bytes, as the specification recommends. */
function paddingOf(length: number): number {
  return -length & 7;
}

/** One byte up to 127, else four with the top bit set (section 3.4). */
function pairLength(length: number): string {
  if (length < 128) return String.fromCharCode(length);
  return String.fromCharCode((length >>> 24) | 0x80, (length >>> 16) & 0xff, (length >>> 8) & 0xff, length & 0xff);
}

// Reading: what `next` returns.

/** All bytes were read; more are needed. */
export const MORE = 0;
/** `dataStart..dataEnd` belongs to the response; call `next` again at `pos`. */
export const OUT = 1;
/** The response is over; END follows. */
export const OUT_END = 2;
/**
 * `dataStart..dataEnd` belongs to the error stream, and `left` bytes of the record follow; call `next` again at `pos`.
 */
export const ERR = 3;
/** The request is over and its last record was read completely, padding included; `protocolStatus` is set. */
export const END = 4;
/** Not valid FastCGI; `error` says why. */
export const INVALID = 5;

/**
 * Splits an application's records (ngx_http_fastcgi_process_record); can stop and resume at any byte. Nothing is copied
 * or kept. Reused: `reset` before each response.
 */
export class RecordReader {
  dataStart = 0;
  dataEnd = 0;
  /** Where to continue; after INVALID, the offending byte. */
  pos = 0;
  /** Bytes of the current record's content that have not come yet. */
  left = 0;
  /** After END: 0 if the request is complete, else the application refused it (section 5.5); -1 if it does not say. */
  protocolStatus = -1;
  /** nginx's message after INVALID (level error). */
  error = "";
  private type = 0;
  private padding = 0;
  /** Bytes read of the record's header. */
  private header = 0;
  /** Bytes read of an END_REQUEST's content. */
  private ended = 0;

  reset(): void {
    this.left = 0;
    this.protocolStatus = -1;
    this.error = "";
    this.padding = 0;
    this.header = 0;
    this.ended = 0;
  }

  /** A record has begun, and its content is not complete. */
  get within(): boolean {
    return this.left > 0 || (this.header > 0 && this.header < HEADER);
  }

  /** Of the content that `next` returned last, the last `count` bytes were not used: `next` returns them again. */
  giveBack(count: number): void {
    this.left += count;
    this.pos -= count;
  }

  /** Reads on in `bytes[from..end)`. */
  next(bytes: Uint8Array, from: number, end: number): number {
    let p = from;
    for (;;) {
      if (this.header === 0 && end - p >= HEADER && this.takeWholeHeader(bytes, p)) {
        p += HEADER;
        this.pos = p;
        if (this.type === STDOUT && this.left === 0) return OUT_END;
      }
      while (this.header < HEADER) {
        this.pos = p;
        if (p === end) return MORE;
        if (!this.takeHeader(bytes[p])) return INVALID;
        p++;
        if (++this.header === HEADER && this.type === STDOUT && this.left === 0) {
          this.pos = p;
          return OUT_END;
        }
      }
      if (this.left > 0) {
        if (p === end) break;
        const to = Math.min(end, p + this.left);
        this.left -= to - p;
        if (this.type !== END_REQUEST) {
          this.dataStart = p;
          this.dataEnd = to;
          this.pos = to;
          return this.type === STDOUT ? OUT : ERR;
        }
        // The application's own status (four bytes) precedes the protocol status.
        if (this.ended <= 4 && this.ended + to - p > 4) this.protocolStatus = bytes[p + 4 - this.ended];
        this.ended += to - p;
        p = to;
        if (this.left > 0) break;
      }
      const skipped = Math.min(this.padding, end - p);
      this.padding -= skipped;
      p += skipped;
      if (this.padding > 0) break;
      this.header = 0;
      if (this.type === END_REQUEST) {
        this.pos = p;
        return END;
      }
    }
    this.pos = end;
    return MORE;
  }

  /** Takes a record's header in one step, as nearly all come. False, and nothing taken, if it is not valid. */
  private takeWholeHeader(bytes: Uint8Array, at: number): boolean {
    const type = bytes[at + 1];
    if (bytes[at] !== VERSION || bytes[at + 2] !== REQUEST_ID >> 8 || bytes[at + 3] !== REQUEST_ID) return false;
    if (type !== STDOUT && type !== STDERR && type !== END_REQUEST) return false;
    this.type = type;
    this.left = (bytes[at + 4] << 8) | bytes[at + 5];
    this.padding = bytes[at + 6];
    this.header = HEADER;
    return true;
  }

  private takeHeader(byte: number): boolean {
    switch (this.header) {
      case 0:
        return byte === VERSION || this.refuse(`unsupported FastCGI protocol version: ${byte}`);
      case 1:
        this.type = byte;
        if (byte === STDOUT || byte === STDERR || byte === END_REQUEST) return true;
        return this.refuse(`invalid FastCGI record type: ${byte}`);
      case 2:
        return byte === REQUEST_ID >> 8 || this.refuse(`unexpected FastCGI request id high byte: ${byte}`);
      case 3:
        return byte === REQUEST_ID || this.refuse(`unexpected FastCGI request id low byte: ${byte}`);
      case 4:
        this.left = byte << 8;
        return true;
      case 5:
        this.left |= byte;
        return true;
      case 6:
        this.padding = byte;
        return true;
      default:
        return true;
    }
  }

  private refuse(what: string): false {
    this.error = `upstream sent ${what}`;
    return false;
  }
}
