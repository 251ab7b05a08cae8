import { SPAN } from "../http1/field_scan.ts";
import { numberOf } from "../http1/known_fields.ts";
import { byteString } from "../latin1.ts";
import {
  BAD_NAME,
  BAD_VALUE,
  COLON,
  CR,
  copy,
  type Entry,
  entryOf,
  FieldTable,
  fieldBytes,
  LF,
  LINE_EXTRA,
  nameFlags,
  PSEUDO,
  valueFlags,
} from "./field_table.ts";
import { decodeHuffman } from "./huffman.ts";

/** What the dynamic table may hold: SETTINGS_HEADER_TABLE_SIZE, which clients are left at its default. */
const TABLE_BYTES = 4096;
/** The shift of the last octet that an integer may have. */
export const LAST_SHIFT = 14;

/** What is wrong with a header block; the decoder's `detail` has the number that it is about, where there is one. */
export interface HeaderBlockError {
  readonly what:
    | "end within an integer"
    | "end within a string"
    | "no such index"
    | "long index"
    | "long length"
    | "long size"
    | "bad code"
    | "bad size"
    | "no name"
    | "large field"
    | "large head";
  readonly kind: "compression" | "size" | "large" | "protocol";
}

const END_IN_INTEGER: HeaderBlockError = { what: "end within an integer", kind: "size" };
const END_IN_STRING: HeaderBlockError = { what: "end within a string", kind: "size" };
const BAD_INDEX: HeaderBlockError = { what: "no such index", kind: "compression" };
const LONG_INDEX: HeaderBlockError = { what: "long index", kind: "compression" };
export const LONG_LENGTH: HeaderBlockError = { what: "long length", kind: "compression" };
const LONG_SIZE: HeaderBlockError = { what: "long size", kind: "compression" };
const BAD_CODE: HeaderBlockError = { what: "bad code", kind: "compression" };
const BAD_SIZE: HeaderBlockError = { what: "bad size", kind: "compression" };
const NO_NAME: HeaderBlockError = { what: "no name", kind: "protocol" };
const LARGE_FIELD: HeaderBlockError = { what: "large field", kind: "large" };
const LARGE_HEAD: HeaderBlockError = { what: "large head", kind: "large" };

/** How large the fields of a head may be, bytes. */
export interface HeaderBlockLimits {
  /** large_client_header_buffers: of a name or value, and of all together. */
  readonly field: number;
  readonly all: number;
}

/**
 * Decodes the header blocks of a connection (RFC 7541). The fields come out as lines, `name: value CR LF` one behind the other,
 * and positions in them, as the parser of HTTP/1 has them: whatever is done with a head is then the same.
 */
export class HpackDecoder {
  count = 0;
  /** Where the lines end. */
  length = 0;
  /** Of an error: the index or the size of a table that there may not be. */
  detail = 0;
  readonly #table: FieldTable;
  #pos = 0;
  #error: HeaderBlockError | undefined = undefined;

  /** `limit`: what its dynamic table may hold, as the peer was told by SETTINGS_HEADER_TABLE_SIZE. */
  constructor(limit: number = TABLE_BYTES) {
    this.#table = new FieldTable(limit);
  }

  /** The lines of the block decoded last by any decoder. */
  get lines(): Buffer {
    return sharedLines;
  }

  /** SPAN numbers for each of its fields, as FieldScanner.usual writes them; of the flags there are more. */
  get spans(): Int32Array {
    return sharedSpans;
  }

  /** The value of a pseudo-header field, by its place. */
  pseudoValue(place: number): string {
    const at = place * SPAN;
    const entry = sharedPseudo[place];
    if (entry === undefined) return byteString(sharedLines, sharedSpans[at + 2], sharedSpans[at + 3]);
    entry.text ??= byteString(entry.line, entry.nameLength + 2, entry.line.length - 2);
    return entry.text;
  }

  /** Trailers may not be what was decoded: there is a pseudo-header field, or a field that no message may have (RFC 9113 section 8.1). */
  get malformedTrailers(): boolean {
    for (let at = 5; at < this.count * SPAN; at += SPAN) {
      if ((sharedSpans[at] & (BAD_NAME | BAD_VALUE | PSEUDO)) !== 0) return true;
    }
    return false;
  }

  /** Adds a field behind those that were decoded. */
  add(name: string, value: string): void {
    this.#write(entryOf(name, value));
  }

  /** Decodes a whole block. Whatever comes of it, the dynamic table is then what the client's is, unless it is an error. */
  decode(block: Uint8Array, { field, all }: HeaderBlockLimits): HeaderBlockError | undefined {
    this.count = 0;
    this.length = 0;
    this.#pos = 0;
    let left = all;
    const end = block.length;
    while (this.#pos < end) {
      const first = block[this.#pos];
      const before = this.length;
      if (first >= 0x80) {
        const index = this.#integer(block, 7, LONG_INDEX);
        if (index < 0) return this.#error;
        const entry = this.#table.at(index);
        if (entry === undefined) {
          this.detail = index;
          return BAD_INDEX;
        }
        left -= fieldBytes(entry);
        if (left < 0) return LARGE_HEAD;
        this.#write(entry);
      } else if (first >= 0x20 && first < 0x40) {
        const size = this.#integer(block, 5, LONG_SIZE);
        if (size < 0) return this.#error;
        if (this.count > 0 || !this.#table.resize(size)) {
          this.detail = size;
          return BAD_SIZE;
        }
      } else {
        const indexed = first >= 0x40;
        if (!this.#literal(block, indexed ? 6 : 4, field)) return this.#error;
        left -= this.length - before - LINE_EXTRA;
        if (left < 0) {
          this.count--;
          this.length = before;
          return LARGE_HEAD;
        }
        if (indexed) this.#add(before);
      }
    }
    return undefined;
  }

  #fail(error: HeaderBlockError): -1 {
    this.#error = error;
    return -1;
  }

  /** An integer with a prefix of so many bits (RFC 7541 section 5.1); -1: `#error` says what is wrong. */
  #integer(block: Uint8Array, bits: number, long: HeaderBlockError): number {
    const mask = (1 << bits) - 1;
    let value = block[this.#pos++] & mask;
    if (value < mask) return value;
    for (let shift = 0; ; shift += 7) {
      if (this.#pos >= block.length) return this.#fail(END_IN_INTEGER);
      // As nginx: four octets with the prefix are enough for anything.
      if (shift > LAST_SHIFT) return this.#fail(long);
      const byte = block[this.#pos++];
      value += (byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
  }

  /** Writes a literal as a line. False: `#error` says what is wrong. */
  #literal(block: Uint8Array, bits: number, most: number): boolean {
    const index = this.#integer(block, bits, LONG_INDEX);
    if (index < 0) return false;
    const start = this.length;
    let nameEnd: number;
    let flags: number;
    let number: number;
    if (index > 0) {
      const entry = this.#table.at(index);
      if (entry === undefined) {
        this.detail = index;
        return this.#fail(BAD_INDEX) >= 0;
      }
      nameEnd = start + entry.nameLength;
      copy(entry.line, 0, entry.nameLength, roomFor(nameEnd), start);
      number = entry.number;
      flags = entry.flags & ~BAD_VALUE;
    } else {
      nameEnd = this.#string(block, start, most);
      if (nameEnd < 0) return false;
      if (nameEnd === start) return this.#fail(NO_NAME) >= 0;
      number = numberOf(byteString(sharedLines, start, nameEnd));
      flags = nameFlags(sharedLines, start, nameEnd);
    }
    const valueStart = nameEnd + 2;
    const end = this.#string(block, valueStart, most);
    if (end < 0) return false;
    const lines = roomFor(end + 2);
    lines[nameEnd] = COLON;
    lines[nameEnd + 1] = 0x20;
    lines[end] = CR;
    lines[end + 1] = LF;
    flags |= valueFlags(lines, valueStart, end);
    if ((flags & PSEUDO) !== 0) sharedPseudo[this.count] = undefined;
    this.#span(nameEnd, end, number, flags);
    return true;
  }

  /** Writes a string (RFC 7541 section 5.2) to the lines from `at` on. Returns where it ends; -1: `#error` says what is wrong. */
  #string(block: Uint8Array, at: number, most: number): number {
    if (this.#pos >= block.length) return this.#fail(END_IN_INTEGER);
    const coded = block[this.#pos] >= 0x80;
    const length = this.#integer(block, 7, LONG_LENGTH);
    if (length < 0) return -1;
    const start = this.#pos;
    const end = start + length;
    if (length > most) return this.#fail(LARGE_FIELD);
    if (end > block.length) return this.#fail(END_IN_STRING);
    this.#pos = end;
    if (!coded) {
      copy(block, start, end, roomFor(at + length), at);
      return at + length;
    }
    const written = decodeHuffman(block, start, end, roomFor(at + Math.ceil((length * 8) / 5)), at);
    if (written < 0) return this.#fail(BAD_CODE);
    return written;
  }

  /** Adds the field written last, whose line begins at `start`, to the table. */
  #add(start: number): void {
    const at = (this.count - 1) * SPAN;
    const spans = sharedSpans;
    this.#table.add(sharedLines, start, this.length, spans[at + 1] - start, spans[at + 4], spans[at + 5]);
  }

  #write(entry: Entry): void {
    const { line, nameLength, number, flags } = entry;
    const at = this.length;
    const end = at + line.length;
    copy(line, 0, line.length, roomFor(end), at);
    if ((flags & PSEUDO) !== 0) sharedPseudo[this.count] = entry;
    this.#span(at + nameLength, end - 2, number, flags);
  }

  /** Notes a line that begins where the last one ended. */
  #span(nameEnd: number, end: number, number: number, flags: number): void {
    const to = this.count++ * SPAN;
    const spans = spansFor(to + SPAN);
    spans[to] = this.length;
    spans[to + 1] = nameEnd;
    spans[to + 2] = nameEnd + 2;
    spans[to + 3] = end;
    spans[to + 4] = number;
    spans[to + 5] = flags;
    this.length = end + 2;
  }
}

/** The entries that pseudo-header fields came from, by their places. */
const sharedPseudo: (Entry | undefined)[] = [];
let sharedLines: Buffer = Buffer.alloc(16 * 1024);
let sharedSpans: Int32Array = new Int32Array(64 * SPAN);

function roomFor(bytes: number): Buffer {
  if (sharedLines.length < bytes) {
    const larger = Buffer.alloc(Math.max(bytes, 2 * sharedLines.length));
    sharedLines.copy(larger);
    sharedLines = larger;
  }
  return sharedLines;
}

function spansFor(count: number): Int32Array {
  if (sharedSpans.length < count) {
    const larger = new Int32Array(2 * count);
    larger.set(sharedSpans);
    sharedSpans = larger;
  }
  return sharedSpans;
}
