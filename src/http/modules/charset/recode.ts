import { decodeUtf8, INCOMPLETE, INVALID } from "../../../wire/utf8.ts";
import { BODY_FILTER, passBody } from "../../core/filters.ts";
import type { Request } from "../../core/request.ts";
import type { BodyFilter } from "../../core/types.ts";
import type { CharsetTable } from "./charsets.ts";

const QUESTION_MARK = 0x3f;
const NONE = Buffer.alloc(0);
/** How many bytes one byte of UTF-8 becomes at most: two bytes may become the seven of `&#2047;`. */
const GROWTH = 3.5;

/** Converts a body from one charset to another (ngx_http_charset_body_filter). */
export class Recoder implements BodyFilter {
  readonly place = BODY_FILTER.charset;
  private readonly table: CharsetTable;
  /** An incomplete character at the end of the last piece; dropped at the end of the body, as in nginx. */
  private kept = NONE;

  constructor(table: CharsetTable) {
    this.table = table;
  }

  push(request: Request, bytes: Uint8Array | string, flags: number, next: number): boolean {
    return passBody(request, next, bytes.length === 0 ? bytes : this.recode(bytes), flags);
  }

  /** Converts a piece; the result may be the piece itself. */
  recode(data: Uint8Array | string): Uint8Array {
    const { table } = this;
    const bytes = typeof data === "string" ? Buffer.from(data, "latin1") : data;
    switch (table.kind) {
      case "bytes":
        return byBytes(bytes, table.bytes);
      case "to utf-8":
        return toUtf8(bytes, table.sequences);
      case "from utf-8":
        return this.fromUtf8(bytes, table.pages);
    }
  }

  private fromUtf8(data: Uint8Array, pages: readonly (Uint8Array | undefined)[]): Uint8Array {
    const { kept } = this;
    if (kept.length === 0 && isAscii(data)) return data;
    const bytes = kept.length === 0 ? data : Buffer.concat([kept, data]);
    const { length } = bytes;
    this.kept = NONE;
    const out = Buffer.allocUnsafe(Math.ceil(length * GROWTH));
    let to = 0;
    for (let at = 0; at < length; ) {
      const byte = bytes[at];
      if (byte < 0x80) {
        out[to++] = byte;
        at++;
        continue;
      }
      const { code, end } = decodeUtf8(bytes, at, length);
      if (code === INCOMPLETE) {
        this.kept = Buffer.from(bytes.subarray(at));
        break;
      }
      at = end;
      const known = code === INVALID ? QUESTION_MARK : code < 0x10000 ? (pages[code >> 8]?.[code & 255] ?? 0) : 0;
      if (known !== 0) out[to++] = known;
      else to += out.write(`&#${code};`, to, "latin1");
    }
    return out.subarray(0, to);
  }
}

function isAscii(bytes: Uint8Array): boolean {
  for (let i = 0; i < bytes.length; i++) if (bytes[i] >= 0x80) return false;
  return true;
}

function byBytes(bytes: Uint8Array, table: Uint8Array): Uint8Array {
  const { length } = bytes;
  const out = Buffer.allocUnsafe(length);
  for (let i = 0; i < length; i++) out[i] = table[bytes[i]];
  return out;
}

function toUtf8(bytes: Uint8Array, sequences: readonly Uint8Array[]): Uint8Array {
  let length = 0;
  for (let i = 0; i < bytes.length; i++) length += sequences[bytes[i]].length;
  const out = Buffer.allocUnsafe(length);
  let to = 0;
  for (let i = 0; i < bytes.length; i++) {
    const sequence = sequences[bytes[i]];
    for (let j = 0; j < sequence.length; j++) out[to++] = sequence[j];
  }
  return out;
}
