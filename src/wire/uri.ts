/**
 * Parsing of request targets (ngx_http_parse.c). All strings are byte strings; a character above 255 counts as its low
 * byte.
 */

import { UNESCAPE_ALL, unescapeUri } from "./escape.ts";
import { byteString, HEX } from "./latin1.ts";

/** The parts of a request's target. Reused by the caller. */
export interface UriParts {
  /** The path, decoded, dot segments resolved ($uri). */
  uri: string;
  /** What follows the `?`, not decoded. */
  args: string;
  /** What follows the last dot of the last segment; "" without one. */
  exten: string;
  /** Escapes were decoded. */
  quotedUri: boolean;
  /** The path held a `+`. */
  plusInUri: boolean;
}

const PERCENT = 0x25;
const HASH = 0x23;
const PLUS = 0x2b;
const DOT = 0x2e;
const SLASH = 0x2f;
const QUESTION = 0x3f;

/** Buffer in which paths are decoded; grows to the longest target seen. */
let scratch = Buffer.alloc(8192);

/**
 * Splits a target that the scanner of the request line has classified: `complex` 0 means that path and arguments are
 * slices, with `argsAt` and `extAt` from the scanner (RequestHead). False: answer 400.
 */
export function splitTarget(
  raw: string,
  complex: number,
  argsAt: number,
  extAt: number,
  plus: boolean,
  mergeSlashes: boolean,
  into: UriParts,
): boolean {
  if (complex !== 0) return parseComplexUri(raw, mergeSlashes, into);
  const pathEnd = argsAt < 0 ? raw.length : argsAt - 1;
  into.uri = argsAt < 0 ? raw : raw.substring(0, pathEnd);
  into.args = argsAt < 0 ? "" : raw.substring(argsAt);
  into.exten = extAt < 0 ? "" : raw.substring(extAt, pathEnd);
  into.quotedUri = false;
  into.plusInUri = plus;
  return true;
}

const USUAL = 0;
const AFTER_SLASH = 1;
const AFTER_DOT = 2;
const AFTER_DOT_DOT = 3;

/**
 * Decodes escapes, resolves `.` and `..`, merges slashes if `mergeSlashes`, and ends at `#`
 * (ngx_http_parse_complex_uri). A target that begins with `?` has the path `/`. False: answer 400.
 */
function parseComplexUri(raw: string, mergeSlashes: boolean, into: UriParts): boolean {
  const length = raw.length;
  if (scratch.length < length + 1) scratch = Buffer.alloc(length * 2);
  const out = scratch;
  let u = 0;
  let ext = -1;
  let args = -1;
  let quoted = false;
  let plus = false;
  let state = USUAL;
  if (length > 0 && raw.charCodeAt(0) === QUESTION) out[u++] = SLASH;

  let i = 0;
  while (i < length) {
    let code = raw.charCodeAt(i++) & 0xff;
    // A decoded `%`, `#` or `?` is a plain character of the path.
    let literal = false;
    if (code === PERCENT) {
      if (i + 2 > length) return false;
      const high = HEX[raw.charCodeAt(i) & 0xff];
      const low = HEX[raw.charCodeAt(i + 1) & 0xff];
      if (high < 0 || low < 0) return false;
      quoted = true;
      code = (high << 4) | low;
      if (code === 0) return false;
      i += 2;
      literal = code === PERCENT || code === HASH || code === QUESTION;
    }
    if (code === PLUS) plus = true;
    if (literal) {
      state = USUAL;
      out[u++] = code;
      continue;
    }
    if (code === QUESTION || code === HASH) {
      if (state === AFTER_DOT) u--;
      else if (state === AFTER_DOT_DOT) {
        u = parent(out, u);
        if (u < 0) return false;
      }
      state = USUAL;
      if (code === QUESTION) args = i;
      break;
    }
    if (code === SLASH) {
      switch (state) {
        case USUAL:
          ext = -1;
          out[u++] = code;
          break;
        case AFTER_SLASH:
          if (!mergeSlashes) out[u++] = code;
          break;
        case AFTER_DOT:
          u--;
          break;
        default:
          u = parent(out, u);
          if (u < 0) return false;
      }
      state = AFTER_SLASH;
      continue;
    }
    out[u++] = code;
    if (code !== DOT) state = USUAL;
    else if (state === AFTER_SLASH) state = AFTER_DOT;
    else if (state === AFTER_DOT) state = AFTER_DOT_DOT;
    else {
      // As in nginx the third dot of `/...` is an ordinary character; only a fourth begins an extension.
      if (state === USUAL) ext = u;
      state = USUAL;
    }
  }
  if (state === AFTER_DOT) u--;
  else if (state === AFTER_DOT_DOT) {
    u = parent(out, u);
    if (u < 0) return false;
  }
  into.uri = byteString(out, 0, u);
  into.exten = ext < 0 ? "" : byteString(out, ext, u);
  into.args = "";
  if (args >= 0) {
    const hash = raw.indexOf("#", args);
    into.args = hash < 0 ? raw.substring(args) : raw.substring(args, hash);
  }
  into.quotedUri = quoted;
  into.plusInUri = plus;
  return true;
}

/** For a path `…/name/..` that ends at `end`: the end of `…/`; -1 if that is above the root. */
function parent(out: Buffer, end: number): number {
  let u = end - 4;
  for (;;) {
    if (u < 0) return -1;
    if (out[u] === SLASH) return u + 1;
    u--;
  }
}

/** The extension of a path after a rewrite, as written (ngx_http_set_exten); `/.profile` has none. */
export function extenOf(path: string): string {
  for (let i = path.length - 1; i > 1; i--) {
    const code = path.charCodeAt(i);
    if (code === DOT && path.charCodeAt(i - 1) !== SLASH) return path.substring(i + 1);
    if (code === SLASH) return "";
  }
  return "";
}

/**
 * The value of the argument `name` ($arg_name), not decoded; names are case-insensitive. Undefined without it
 * (ngx_http_arg).
 */
export function argument(args: string, name: string): string | undefined {
  if (args === "" || name === "") return undefined;
  const wanted = name.toLowerCase();
  for (let at = 0; at <= args.length; ) {
    let end = args.indexOf("&", at);
    if (end < 0) end = args.length;
    const value = at + wanted.length + 1;
    if (value <= end && args.charCodeAt(value - 1) === 0x3d) {
      if (args.substring(at, value - 1).toLowerCase() === wanted) return args.substring(value, end);
    }
    at = end + 1;
  }
  return undefined;
}

/**
 * Splits a URI that comes from a backend or a field instead of a client's target: `uri` decoded, and `args`. Undefined
 * if it could lead out of the tree (ngx_http_parse_unsafe_uri: "unsafe URI \"…\" was detected").
 */
export function parseUnsafeUri(text: string): { uri: string; args: string } | undefined {
  if (text === "" || text.charCodeAt(0) === QUESTION) return undefined;
  const question = text.indexOf("?");
  const path = question < 0 ? text : text.substring(0, question);
  const args = question < 0 ? "" : text.substring(question + 1);
  if (climbs(path)) return undefined;
  if (!path.includes("%")) return { uri: path, args };
  const uri = unescapeUri(path, UNESCAPE_ALL);
  return climbs(uri) ? undefined : { uri, args };
}

function climbs(path: string): boolean {
  if (path.includes("\0") || path === ".." || path.startsWith("../")) return true;
  return path.includes("/../") || path.endsWith("/..");
}
