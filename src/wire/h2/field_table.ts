import { INVALID_NAME, PLAIN_LINE, UNDERSCORE } from "../http1/field_scan.ts";
import { numberOf } from "../http1/known_fields.ts";
import { STATIC_TABLE } from "./static_table.ts";

/** What an entry of the dynamic table counts beside its texts (RFC 7541 section 4.1). */
const ENTRY_BYTES = 32;

/** Beside the scanner's flags: the request is malformed (RFC 9113 section 8.2.1), for its name or for its value. */
export const BAD_NAME = 0x10;
export const BAD_VALUE = 0x20;
/** A pseudo-header field. */
export const PSEUDO = 0x40;

/** A field of a table. */
export interface Entry {
  /** `name: value CR LF` */
  readonly line: Uint8Array;
  readonly nameLength: number;
  /** Of its name (known_fields.ts). */
  readonly number: number;
  readonly flags: number;
  /** The value of a pseudo-header field, once it was asked for. */
  text: string | undefined;
}

/** What a line has beside name and value. */
export const LINE_EXTRA = 4;

/** Name and value. */
export function fieldBytes({ line }: Entry): number {
  return line.length - LINE_EXTRA;
}

export function nameFlags(bytes: Uint8Array, start: number, end: number): number {
  let flags = PLAIN_LINE;
  let at = start;
  if (bytes[start] === COLON) {
    flags |= PSEUDO;
    at++;
  }
  for (; at < end; at++) flags |= NAME_FLAGS[bytes[at]];
  return flags;
}

export function valueFlags(bytes: Uint8Array, start: number, end: number): number {
  for (let at = start; at < end; at++) {
    const byte = bytes[at];
    if (byte <= CR && (byte === 0 || byte === LF || byte === CR)) return BAD_VALUE;
  }
  return 0;
}

export const LF = 0x0a;
export const CR = 0x0d;
export const COLON = 0x3a;
/** What a byte of a name says of it (ngx_http_v2_validate_header). */
const NAME_FLAGS = new Uint8Array(256);
for (let byte = 0; byte < 256; byte++) {
  const plain = (byte >= 0x61 && byte <= 0x7a) || (byte >= 0x30 && byte <= 0x39) || byte === 0x2d;
  const bad = byte <= 0x20 || byte === 0x7f || byte === COLON || (byte >= 0x41 && byte <= 0x5a);
  NAME_FLAGS[byte] = plain ? 0 : byte === 0x5f ? UNDERSCORE : bad ? BAD_NAME : INVALID_NAME;
}

export function entryOf(name: string, value: string): Entry {
  const line = Buffer.from(`${name}: ${value}\r\n`, "latin1");
  const { length } = name;
  const flags = nameFlags(line, 0, length) | valueFlags(line, length + 2, line.length - 2);
  return { line, nameLength: length, number: numberOf(name), flags, text: undefined };
}

const STATIC: readonly Entry[] = STATIC_TABLE.map(([name, value]) => entryOf(name, value));

/** The fields that header blocks name by their index (RFC 7541 section 2.3): the static table, and behind it the dynamic one. */
export class FieldTable {
  /** The newest is the last. */
  readonly #entries: Entry[] = [];
  #bytes = 0;
  /** What the dynamic table may hold as the peer was told, and as it has chosen. */
  readonly #limit: number;
  #most: number;

  constructor(limit: number) {
    this.#limit = limit;
    this.#most = limit;
  }

  at(index: number): Entry | undefined {
    if (index <= STATIC.length) return STATIC[index - 1];
    return this.#entries[this.#entries.length - (index - STATIC.length)];
  }

  /** The peer changes what it may hold. False: it may not hold that much. */
  resize(size: number): boolean {
    if (size > this.#limit) return false;
    this.#most = size;
    this.#evict(0);
    return true;
  }

  /** Adds the field whose line these bytes are. */
  add(lines: Uint8Array, start: number, end: number, nameLength: number, number: number, flags: number): void {
    const size = end - start - LINE_EXTRA + ENTRY_BYTES;
    this.#evict(size);
    if (size > this.#most) return;
    const line = new Uint8Array(end - start);
    copy(lines, start, end, line, 0);
    this.#entries.push({ line, nameLength, number, flags, text: undefined });
    this.#bytes += size;
  }

  /** Makes room for so many bytes. */
  #evict(size: number): void {
    let gone = 0;
    while (this.#bytes + size > this.#most && gone < this.#entries.length) {
      this.#bytes -= fieldBytes(this.#entries[gone++]) + ENTRY_BYTES;
    }
    if (gone > 0) this.#entries.splice(0, gone);
  }
}

/** Few bytes are copied sooner one by one. */
const FEW = 64;

export function copy(from: Uint8Array, start: number, end: number, to: Uint8Array, at: number): void {
  if (end - start > FEW) to.set(start === 0 && end === from.length ? from : from.subarray(start, end), at);
  else for (let i = start, j = at; i < end; i++, j++) to[j] = from[i];
}
