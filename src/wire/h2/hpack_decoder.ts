import { INVALID_NAME, PLAIN_LINE, SPAN, UNDERSCORE } from "../http1/field_scan.ts";
import { numberOf } from "../http1/known_fields.ts";
import { byteString } from "../latin1.ts";
import { decodeHuffman } from "./huffman.ts";
import { STATIC_TABLE } from "./static_table.ts";

/** What an entry of the dynamic table counts beside its texts (RFC 7541 section 4.1). */
const ENTRY_BYTES = 32;
/** What the dynamic table may hold: SETTINGS_HEADER_TABLE_SIZE, which is left at its default. */
const TABLE_BYTES = 4096;

/** What is wrong with a header block. */
export interface HeaderBlockError {
  /** As the error log says it. */
  readonly sentence: string;
  readonly kind: "compression" | "size" | "large";
}

const INCOMPLETE: HeaderBlockError = { sentence: "client sent header block with incorrect length", kind: "size" };
const BAD_INDEX: HeaderBlockError = { sentence: "client sent invalid hpack table index", kind: "compression" };
const BAD_INTEGER: HeaderBlockError = {
  sentence: "client sent header block with too long length value",
  kind: "compression",
};
const BAD_CODE: HeaderBlockError = { sentence: "client sent invalid encoded header field", kind: "compression" };
const BAD_UPDATE: HeaderBlockError = { sentence: "client sent invalid table size update", kind: "compression" };
const NO_NAME: HeaderBlockError = { sentence: "client sent zero header name length", kind: "compression" };
const LONG_FIELD: HeaderBlockError = { sentence: "client sent too large header field", kind: "large" };
const LONG_HEAD: HeaderBlockError = { sentence: "client sent too large header", kind: "large" };

/** Beside the scanner's flags: the request is malformed (RFC 9113 section 8.2.1), for its name or for its value. */
export const BAD_NAME = 0x10;
export const BAD_VALUE = 0x20;
/** A pseudo-header field. */
export const PSEUDO = 0x40;

/** A name and a value as bytes, one behind the other. */
interface Entry {
  readonly bytes: Uint8Array;
  readonly nameLength: number;
  /** Of its name (known_fields.ts). */
  readonly number: number;
  readonly flags: number;
}

function makeEntry(bytes: Uint8Array, nameLength: number): Entry {
  let flags = PLAIN_LINE;
  let at = 0;
  if (bytes[0] === COLON) {
    flags |= PSEUDO;
    at = 1;
  }
  for (; at < nameLength; at++) flags |= NAME_FLAGS[bytes[at]];
  for (; at < bytes.length; at++) {
    const byte = bytes[at];
    if (byte === 0 || byte === 0x0a || byte === 0x0d) flags |= BAD_VALUE;
  }
  return { bytes, nameLength, number: numberOf(byteString(bytes, 0, nameLength)), flags };
}

const COLON = 0x3a;
/** What a byte of a name says of it (ngx_http_v2_validate_header). */
const NAME_FLAGS = new Uint8Array(256);
for (let byte = 0; byte < 256; byte++) {
  const plain = (byte >= 0x61 && byte <= 0x7a) || (byte >= 0x30 && byte <= 0x39) || byte === 0x2d;
  const bad = byte <= 0x20 || byte === 0x7f || byte === COLON || (byte >= 0x41 && byte <= 0x5a);
  NAME_FLAGS[byte] = plain ? 0 : byte === 0x5f ? UNDERSCORE : bad ? BAD_NAME : INVALID_NAME;
}

function entryOf(name: string, value: string): Entry {
  return makeEntry(Buffer.from(name + value, "latin1"), name.length);
}

const STATIC: readonly Entry[] = STATIC_TABLE.map(([name, value]) => entryOf(name, value));

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
  /** The dynamic table: the newest entry is the last. */
  readonly #entries: Entry[] = [];
  #bytes = 0;
  #most = TABLE_BYTES;
  #pos = 0;

  /** The lines of the block decoded last by any decoder. */
  get lines(): Buffer {
    return sharedLines;
  }

  /** SPAN numbers for each of its fields, as FieldScanner.usual writes them; of the flags there are more. */
  get spans(): Int32Array {
    return sharedSpans;
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
      let entry: Entry | undefined;
      let indexed = false;
      if (first >= 0x80) {
        const index = this.#integer(block, 7);
        if (typeof index !== "number") return index;
        entry = this.#entry(index);
        if (entry === undefined) return BAD_INDEX;
      } else if (first >= 0x20 && first < 0x40) {
        const size = this.#integer(block, 5);
        if (typeof size !== "number") return size;
        if (size > TABLE_BYTES || this.count > 0) return BAD_UPDATE;
        this.#most = size;
        this.#evict(0);
        continue;
      } else {
        indexed = first >= 0x40;
        const read = this.#literal(block, indexed ? 6 : 4, field);
        if ("sentence" in read) return read;
        entry = read;
      }
      left -= entry.bytes.length;
      if (left < 0) return LONG_HEAD;
      if (indexed) this.#add(entry);
      this.#write(entry);
    }
    return undefined;
  }

  #entry(index: number): Entry | undefined {
    if (index <= STATIC.length) return STATIC[index - 1];
    return this.#entries[this.#entries.length - (index - STATIC.length)];
  }

  /** An integer with a prefix of so many bits (RFC 7541 section 5.1). */
  #integer(block: Uint8Array, bits: number): number | HeaderBlockError {
    const mask = (1 << bits) - 1;
    let value = block[this.#pos++] & mask;
    if (value < mask) return value;
    for (let shift = 0; ; shift += 7) {
      if (this.#pos >= block.length) return INCOMPLETE;
      // As nginx: four octets behind the prefix are enough for anything.
      if (shift > 21) return BAD_INTEGER;
      const byte = block[this.#pos++];
      value += (byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
  }

  #literal(block: Uint8Array, bits: number, most: number): Entry | HeaderBlockError {
    const index = this.#integer(block, bits);
    if (typeof index !== "number") return index;
    let name: Uint8Array;
    if (index > 0) {
      const entry = this.#entry(index);
      if (entry === undefined) return BAD_INDEX;
      name = entry.bytes.subarray(0, entry.nameLength);
    } else {
      const read = this.#string(block, most);
      if ("sentence" in read) return read;
      if (read.length === 0) return NO_NAME;
      name = read;
    }
    const value = this.#string(block, most);
    if ("sentence" in value) return value;
    const bytes = new Uint8Array(name.length + value.length);
    bytes.set(name);
    bytes.set(value, name.length);
    return makeEntry(bytes, name.length);
  }

  /** A string (RFC 7541 section 5.2): a part of the block, or decoded. */
  #string(block: Uint8Array, most: number): Uint8Array | HeaderBlockError {
    if (this.#pos >= block.length) return INCOMPLETE;
    const coded = block[this.#pos] >= 0x80;
    const length = this.#integer(block, 7);
    if (typeof length !== "number") return length;
    const start = this.#pos;
    const end = start + length;
    if (length > most) return LONG_FIELD;
    if (end > block.length) return INCOMPLETE;
    this.#pos = end;
    if (!coded) return block.subarray(start, end);
    const room = Math.ceil((length * 8) / 5);
    const decoded = new Uint8Array(room);
    const written = decodeHuffman(block, start, end, decoded, 0);
    if (written < 0) return BAD_CODE;
    return written > most ? LONG_FIELD : decoded.subarray(0, written);
  }

  #add(entry: Entry): void {
    const size = entry.bytes.length + ENTRY_BYTES;
    this.#evict(size);
    if (size > this.#most) return;
    this.#entries.push(entry);
    this.#bytes += size;
  }

  /** Makes room for so many bytes. */
  #evict(size: number): void {
    let gone = 0;
    while (this.#bytes + size > this.#most && gone < this.#entries.length) {
      this.#bytes -= this.#entries[gone++].bytes.length + ENTRY_BYTES;
    }
    if (gone > 0) this.#entries.splice(0, gone);
  }

  #write({ bytes, nameLength, number, flags }: Entry): void {
    const at = this.length;
    const valueAt = at + nameLength + 2;
    const end = valueAt + bytes.length - nameLength;
    const lines = roomFor(end + 2);
    lines.set(bytes.subarray(0, nameLength), at);
    lines[at + nameLength] = 0x3a;
    lines[at + nameLength + 1] = 0x20;
    lines.set(bytes.subarray(nameLength), valueAt);
    lines[end] = 0x0d;
    lines[end + 1] = 0x0a;
    this.length = end + 2;
    const to = this.count++ * SPAN;
    const spans = spansFor(to + SPAN);
    spans[to] = at;
    spans[to + 1] = at + nameLength;
    spans[to + 2] = valueAt;
    spans[to + 3] = end;
    spans[to + 4] = number;
    spans[to + 5] = flags;
  }
}

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
