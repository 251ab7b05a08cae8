/*
 * Common field names, each with a number. They are found by the hash that the scanner computes while it reads a name in any
 * casing, so that a common field takes no string, no lower-casing and no lookup by name.
 */

/** The number of a name that is not in the table. */
export const UNKNOWN = 0;

// Indexes in NAMES, of the names that are referred to.
export const HOST = 1;
export const CONNECTION = 2;
export const CONTENT_LENGTH = 3;
export const TRANSFER_ENCODING = 4;
export const EXPECT = 6;
export const UPGRADE = 7;
export const IF_MODIFIED_SINCE = 8;
export const IF_UNMODIFIED_SINCE = 9;
export const IF_MATCH = 10;
export const IF_NONE_MATCH = 11;
export const IF_RANGE = 12;
export const CONTENT_TYPE = 15;
export const CONTENT_RANGE = 16;
export const AUTHORIZATION = 18;
export const PROXY_AUTHORIZATION = 19;
export const DATE = 25;
export const SERVER = 26;
export const LAST_MODIFIED = 27;
export const ETAG = 28;
export const LOCATION = 29;
export const REFRESH = 30;
export const SET_COOKIE = 31;
export const CACHE_CONTROL = 32;
export const EXPIRES = 33;
export const ACCEPT_RANGES = 36;
export const STATUS = 37;
export const X_ACCEL_EXPIRES = 38;
export const X_ACCEL_REDIRECT = 39;
export const X_ACCEL_LIMIT_RATE = 40;
export const X_ACCEL_BUFFERING = 41;
export const X_ACCEL_CHARSET = 42;
export const CONTENT_DISPOSITION = 43;

/** In their usual casing, in the order of their numbers; the first is UNKNOWN's. */
const NAMES: readonly string[] = [
  "",
  "Host",
  "Connection",
  "Content-Length",
  "Transfer-Encoding",
  "User-Agent",
  "Expect",
  "Upgrade",
  "If-Modified-Since",
  "If-Unmodified-Since",
  "If-Match",
  "If-None-Match",
  "If-Range",
  "Range",
  "Referer",
  "Content-Type",
  "Content-Range",
  "Accept-Encoding",
  "Authorization",
  "Proxy-Authorization",
  "Keep-Alive",
  "X-Forwarded-For",
  "Cookie",
  "Via",
  "TE",
  "Date",
  "Server",
  "Last-Modified",
  "ETag",
  "Location",
  "Refresh",
  "Set-Cookie",
  "Cache-Control",
  "Expires",
  "Vary",
  "Content-Encoding",
  "Accept-Ranges",
  "Status",
  "X-Accel-Expires",
  "X-Accel-Redirect",
  "X-Accel-Limit-Rate",
  "X-Accel-Buffering",
  "X-Accel-Charset",
  "Content-Disposition",
  "Accept",
  "Accept-Language",
  "Accept-Charset",
  "Access-Control-Allow-Credentials",
  "Access-Control-Allow-Headers",
  "Access-Control-Allow-Methods",
  "Access-Control-Allow-Origin",
  "Access-Control-Expose-Headers",
  "Access-Control-Max-Age",
  "Access-Control-Request-Headers",
  "Access-Control-Request-Method",
  "Age",
  "Allow",
  "Alt-Svc",
  "CF-Connecting-IP",
  "CF-Ray",
  "Content-Language",
  "Content-Location",
  "Content-Security-Policy",
  "Cross-Origin-Embedder-Policy",
  "Cross-Origin-Opener-Policy",
  "Cross-Origin-Resource-Policy",
  "DNT",
  "Depth",
  "Destination",
  "Forwarded",
  "Link",
  "Max-Forwards",
  "Origin",
  "Origin-Agent-Cluster",
  "Overwrite",
  "Permissions-Policy",
  "Pragma",
  "Priority",
  "Proxy-Authenticate",
  "Proxy-Connection",
  "Referrer-Policy",
  "Retry-After",
  "Sec-CH-UA",
  "Sec-CH-UA-Mobile",
  "Sec-CH-UA-Platform",
  "Sec-Fetch-Dest",
  "Sec-Fetch-Mode",
  "Sec-Fetch-Site",
  "Sec-Fetch-User",
  "Sec-GPC",
  "Sec-WebSocket-Accept",
  "Sec-WebSocket-Extensions",
  "Sec-WebSocket-Key",
  "Sec-WebSocket-Protocol",
  "Sec-WebSocket-Version",
  "Server-Timing",
  "Strict-Transport-Security",
  "Timing-Allow-Origin",
  "Trailer",
  "Upgrade-Insecure-Requests",
  "WWW-Authenticate",
  "Warning",
  "X-Content-Type-Options",
  "X-DNS-Prefetch-Control",
  "X-Download-Options",
  "X-Forwarded-Host",
  "X-Forwarded-Port",
  "X-Forwarded-Proto",
  "X-Frame-Options",
  "X-Permitted-Cross-Domain-Policies",
  "X-Powered-By",
  "X-Real-IP",
  "X-Request-ID",
  "X-Requested-With",
  "X-XSS-Protection",
];

/** How many numbers there are. */
export const FIELD_NUMBERS = NAMES.length;

const KEYS: readonly string[] = NAMES.map((name) => name.toLowerCase());
const numbers = new Map(KEYS.map((key, number) => [key, number]));
numbers.delete("");

/** Sets the bit that tells the cases of a letter apart; no other two bytes allowed in a name become equal by it. */
export const LOWER = 0x20;

/** The hash of a name, as the scanner makes it byte by byte. */
function hashName(key: string): number {
  let hash = 0;
  for (let i = 0; i < key.length; i++) hash = (Math.imul(hash, 31) + (key.charCodeAt(i) | LOWER)) | 0;
  return hash;
}

const SLOTS = 4096;
const table = new Uint8Array(SLOTS);
/** All keys one after another: names are compared by bytes, in one array that stays in the cache. */
export const BYTES = Buffer.from(KEYS.join(""), "latin1");
/** Where in BYTES each key begins; one more for the end of the last. */
export const STARTS = new Uint16Array(FIELD_NUMBERS + 1);

for (let number = 0; number < FIELD_NUMBERS; number++) {
  const key = KEYS[number];
  STARTS[number + 1] = STARTS[number] + key.length;
  if (number === UNKNOWN) continue;
  let slot = hashName(key) & (SLOTS - 1);
  while (table[slot] !== UNKNOWN) slot = (slot + 1) & (SLOTS - 1);
  table[slot] = number;
}

/** The number of the field whose name is the bytes `start..end`, which hash to `hash`. */
export function fieldNumber(bytes: Uint8Array, start: number, end: number, hash: number): number {
  const length = end - start;
  probe: for (let slot = hash & (SLOTS - 1); ; slot = (slot + 1) & (SLOTS - 1)) {
    const number = table[slot];
    if (number === UNKNOWN) return UNKNOWN;
    const at = STARTS[number];
    if (STARTS[number + 1] - at !== length) continue;
    for (let i = 0; i < length; i++) if ((bytes[start + i] | LOWER) !== BYTES[at + i]) continue probe;
    return number;
  }
}

/** The number of a lower-case name. */
export function numberOf(key: string): number {
  return numbers.get(key) ?? UNKNOWN;
}

/** The lower-case name of a known field; always the same string. */
export function keyOf(number: number): string {
  return KEYS[number];
}

/** The lower-case key of any name; the table's own string for a usual one. */
export function fieldKey(name: string): string {
  const key = name.toLowerCase();
  const number = numberOf(key);
  return number === UNKNOWN ? key : KEYS[number];
}
