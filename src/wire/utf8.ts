/** Not valid UTF-8. */
export const INVALID = -1;
/** More bytes are needed to tell. */
export const INCOMPLETE = -2;

const result = { code: 0, end: 0 };

/**
 * Decodes one character of two or more bytes at `at`: its code point, INVALID or INCOMPLETE, and where the next
 * character begins. As lenient as nginx (ngx_utf8_decode): any byte from 0x80 on continues a sequence, and the byte
 * that breaks a sequence off is consumed with it. The result is overwritten by the next call.
 */
export function decodeUtf8(
  bytes: Uint8Array,
  at: number,
  end: number,
): { readonly code: number; readonly end: number } {
  const lead = bytes[at];
  result.end = at + 1;
  result.code = INVALID;
  if (lead < 0xc2 || lead >= 0xf8) return result;
  const more = lead >= 0xf0 ? 3 : lead >= 0xe0 ? 2 : 1;
  if (end - at - 1 < more) {
    result.code = INCOMPLETE;
    result.end = at;
    return result;
  }
  let code = lead & (more === 3 ? 0x07 : more === 2 ? 0x0f : 0x1f);
  for (let i = 1; i <= more; i++) {
    const byte = bytes[at + i];
    result.end = at + i + 1;
    if (byte < 0x80) return result;
    code = (code << 6) | (byte & 0x3f);
  }
  // Overlong, or beyond U+10FFFF.
  if (code > (more === 3 ? 0xffff : more === 2 ? 0x7ff : 0x7f) && code <= 0x10ffff) result.code = code;
  return result;
}
