/**
 * Escaping and unescaping (ngx_string.c). All strings are byte strings: one char is one byte; a char above 255 counts as
 * its low byte.
 */

import { HEX } from "./latin1.ts";

const PERCENT = 0x25;
const QUESTION = 0x3f;

/**
 * What `escapeUri` escapes: bytes not allowed in a path, or in arguments, or all but RFC 3986's unreserved ones, or those
 * not allowed in a URI that stands in HTML, or in a key of memcached, or in the URL of a page that refreshes itself.
 */
export const ESCAPE_URI = 0;
export const ESCAPE_ARGS = 1;
export const ESCAPE_COMPONENT = 2;
export const ESCAPE_HTML = 3;
export const ESCAPE_MEMCACHED = 4;
export const ESCAPE_REFRESH = 5;
type EscapeKind = 0 | 1 | 2 | 3 | 4 | 5;

/** Besides what each kind adds, but the last two: control bytes, bytes from 127 on, and what RFC 3986 does not allow anywhere. */
const NEVER = ' "<>\\^`{|}';
const ESCAPED: readonly Uint8Array[] = [
  escapeTable(`${NEVER}#%?`),
  escapeTable(`${NEVER}#%&+;?`),
  escapeTable(`${NEVER}#%?!$&'()*+,/:;=@[]`),
  escapeTable(`${NEVER}#%'`),
  escapeTable(" %", 256),
  escapeTable(" \"'<>\\^`{|~"),
];

/** `high`: from which byte on all are escaped, beside `chars`. */
function escapeTable(chars: string, high = 0x7f): Uint8Array {
  const table = new Uint8Array(256);
  for (let c = 0; c < 256; c++) if (c < 0x20 || c >= high || chars.includes(String.fromCharCode(c))) table[c] = 1;
  return table;
}

const ENCODED: string[] = [];
for (let c = 0; c < 256; c++) ENCODED.push(`%${c.toString(16).toUpperCase().padStart(2, "0")}`);

/** Percent-encodes (ngx_escape_uri). Text that needs no escapes is returned as it is. */
export function escapeUri(text: string, kind: EscapeKind): string {
  const table = ESCAPED[kind];
  const length = text.length;
  let from = 0;
  let result = "";
  for (let i = 0; i < length; i++) {
    const code = text.charCodeAt(i) & 0xff;
    if (table[code] === 0) continue;
    result += text.substring(from, i) + ENCODED[code];
    from = i + 1;
  }
  return from === 0 ? text : result + text.substring(from);
}

/** What `unescapeUri` decodes: a whole path, or the Location of a redirect. */
export const UNESCAPE_ALL = 0;
export const UNESCAPE_REDIRECT = 1;
type UnescapeKind = 0 | 1;

/**
 * Decodes percent-encoding (ngx_unescape_uri): malformed escapes lose their `%`. UNESCAPE_REDIRECT does not decode what
 * follows a `?`, nor bytes that must be encoded in a URI.
 */
export function unescapeUri(text: string, kind: UnescapeKind): string {
  if (!text.includes("%")) return text;
  const length = text.length;
  let result = "";
  let from = 0;
  for (let i = 0; i < length; i++) {
    const char = text.charCodeAt(i);
    if (char === QUESTION && kind !== UNESCAPE_ALL) break;
    if (char !== PERCENT) continue;
    result += text.substring(from, i);
    from = ++i;
    const first = i < length ? HEX[text.charCodeAt(i) & 0xff] : -1;
    // `%z` becomes `z`, whatever that is.
    if (first < 0) continue;
    const second = ++i < length ? HEX[text.charCodeAt(i) & 0xff] : -1;
    from = Math.min(i + 1, length);
    // `%az`, and an incomplete escape at the end, are removed.
    if (second < 0) continue;
    const code = (first << 4) | second;
    const stays = kind === UNESCAPE_REDIRECT && code !== QUESTION && (code <= PERCENT || code >= 0x7f);
    result += stays ? text.substring(i - 2, i + 1) : String.fromCharCode(code);
    if (code === QUESTION && kind !== UNESCAPE_ALL) break;
  }
  return result + text.substring(from);
}

const HTML_CHARS = /[<>&"]/;

/** Escapes text for HTML (ngx_escape_html). */
export function escapeHtml(text: string): string {
  if (!HTML_CHARS.test(text)) return text;
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll('"', "&quot;");
}

/** Escapes text for a JSON string (ngx_escape_json): bytes above 127 stay as they are. */
export function escapeJson(text: string): string {
  let from = 0;
  let result = "";
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code > 0x1f && code !== 0x22 && code !== 0x5c) continue;
    result += text.substring(from, i) + jsonEscape(code);
    from = i + 1;
  }
  return from === 0 ? text : result + text.substring(from);
}

function jsonEscape(code: number): string {
  switch (code) {
    case 0x0a:
      return "\\n";
    case 0x0d:
      return "\\r";
    case 0x09:
      return "\\t";
    case 0x08:
      return "\\b";
    case 0x0c:
      return "\\f";
    case 0x22:
      return '\\"';
    case 0x5c:
      return "\\\\";
    default:
      return `\\u00${code.toString(16).toUpperCase().padStart(2, "0")}`;
  }
}
