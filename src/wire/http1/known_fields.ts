import { type HeadText, headText } from "../head_text.ts";

/**
 * The field names worth knowing by heart: found by the hash the scanner makes while reading a name, so that a usual
 * field costs no string, no lower-casing and no lookup by name. Each stands in the table twice: in its usual casing and
 * in lower case. `id` tells the parsers which fields they act upon.
 */
export interface KnownField {
  /** As it stands in the message. */
  readonly name: HeadText;
  /** Lower case: the interned key. */
  readonly key: string;
  /** One of the constants below, 0 when nothing is done with the field while parsing. */
  readonly id: number;
  /** Where the name's bytes are in BYTES. */
  readonly at: number;
}

export const HOST = 1;
export const CONNECTION = 2;
export const CONTENT_LENGTH = 3;
export const TRANSFER_ENCODING = 4;
const USER_AGENT = 5;
export const EXPECT = 6;
const UPGRADE = 7;
export const IF_MODIFIED_SINCE = 8;
export const IF_UNMODIFIED_SINCE = 9;
export const IF_MATCH = 10;
export const IF_NONE_MATCH = 11;
export const IF_RANGE = 12;
const RANGE = 13;
const REFERER = 14;
export const CONTENT_TYPE = 15;
export const CONTENT_RANGE = 16;
const ACCEPT_ENCODING = 17;
export const AUTHORIZATION = 18;
export const PROXY_AUTHORIZATION = 19;
const KEEP_ALIVE = 20;
const X_FORWARDED_FOR = 21;
export const COOKIE = 22;
const VIA = 23;
const TE = 24;
export const DATE = 25;
export const SERVER = 26;
export const LAST_MODIFIED = 27;
export const ETAG = 28;
export const LOCATION = 29;
export const REFRESH = 30;
export const SET_COOKIE = 31;
const CACHE_CONTROL = 32;
export const EXPIRES = 33;
const VARY = 34;
const CONTENT_ENCODING = 35;
const ACCEPT_RANGES = 36;
export const STATUS = 37;
export const X_ACCEL_EXPIRES = 38;
export const X_ACCEL_REDIRECT = 39;
export const X_ACCEL_LIMIT_RATE = 40;
export const X_ACCEL_BUFFERING = 41;
export const X_ACCEL_CHARSET = 42;

const NAMES: readonly (readonly [string, number])[] = [
  ["Host", HOST],
  ["Connection", CONNECTION],
  ["Content-Length", CONTENT_LENGTH],
  ["Transfer-Encoding", TRANSFER_ENCODING],
  ["User-Agent", USER_AGENT],
  ["Expect", EXPECT],
  ["Upgrade", UPGRADE],
  ["If-Modified-Since", IF_MODIFIED_SINCE],
  ["If-Unmodified-Since", IF_UNMODIFIED_SINCE],
  ["If-Match", IF_MATCH],
  ["If-None-Match", IF_NONE_MATCH],
  ["If-Range", IF_RANGE],
  ["Range", RANGE],
  ["Referer", REFERER],
  ["Content-Type", CONTENT_TYPE],
  ["Content-Range", CONTENT_RANGE],
  ["Accept-Encoding", ACCEPT_ENCODING],
  ["Authorization", AUTHORIZATION],
  ["Proxy-Authorization", PROXY_AUTHORIZATION],
  ["Keep-Alive", KEEP_ALIVE],
  ["X-Forwarded-For", X_FORWARDED_FOR],
  ["Cookie", COOKIE],
  ["Via", VIA],
  ["TE", TE],
  ["Date", DATE],
  ["Server", SERVER],
  ["Last-Modified", LAST_MODIFIED],
  ["ETag", ETAG],
  ["Location", LOCATION],
  ["Refresh", REFRESH],
  ["Set-Cookie", SET_COOKIE],
  ["Cache-Control", CACHE_CONTROL],
  ["Expires", EXPIRES],
  ["Vary", VARY],
  ["Content-Encoding", CONTENT_ENCODING],
  ["Accept-Ranges", ACCEPT_RANGES],
  ["Status", STATUS],
  ["X-Accel-Expires", X_ACCEL_EXPIRES],
  ["X-Accel-Redirect", X_ACCEL_REDIRECT],
  ["X-Accel-Limit-Rate", X_ACCEL_LIMIT_RATE],
  ["X-Accel-Buffering", X_ACCEL_BUFFERING],
  ["X-Accel-Charset", X_ACCEL_CHARSET],
  ["Accept", 0],
  ["Accept-Language", 0],
  ["Accept-Charset", 0],
  ["Access-Control-Allow-Credentials", 0],
  ["Access-Control-Allow-Headers", 0],
  ["Access-Control-Allow-Methods", 0],
  ["Access-Control-Allow-Origin", 0],
  ["Access-Control-Expose-Headers", 0],
  ["Access-Control-Max-Age", 0],
  ["Access-Control-Request-Headers", 0],
  ["Access-Control-Request-Method", 0],
  ["Age", 0],
  ["Allow", 0],
  ["Alt-Svc", 0],
  ["CF-Connecting-IP", 0],
  ["CF-Ray", 0],
  ["Content-Disposition", 0],
  ["Content-Language", 0],
  ["Content-Location", 0],
  ["Content-Security-Policy", 0],
  ["Cross-Origin-Embedder-Policy", 0],
  ["Cross-Origin-Opener-Policy", 0],
  ["Cross-Origin-Resource-Policy", 0],
  ["DNT", 0],
  ["Depth", 0],
  ["Destination", 0],
  ["Forwarded", 0],
  ["Link", 0],
  ["Max-Forwards", 0],
  ["Origin", 0],
  ["Origin-Agent-Cluster", 0],
  ["Overwrite", 0],
  ["Permissions-Policy", 0],
  ["Pragma", 0],
  ["Priority", 0],
  ["Proxy-Authenticate", 0],
  ["Proxy-Connection", 0],
  ["Referrer-Policy", 0],
  ["Retry-After", 0],
  ["Sec-CH-UA", 0],
  ["Sec-CH-UA-Mobile", 0],
  ["Sec-CH-UA-Platform", 0],
  ["Sec-Fetch-Dest", 0],
  ["Sec-Fetch-Mode", 0],
  ["Sec-Fetch-Site", 0],
  ["Sec-Fetch-User", 0],
  ["Sec-GPC", 0],
  ["Sec-WebSocket-Accept", 0],
  ["Sec-WebSocket-Extensions", 0],
  ["Sec-WebSocket-Key", 0],
  ["Sec-WebSocket-Protocol", 0],
  ["Sec-WebSocket-Version", 0],
  ["Server-Timing", 0],
  ["Strict-Transport-Security", 0],
  ["Timing-Allow-Origin", 0],
  ["Trailer", 0],
  ["Upgrade-Insecure-Requests", 0],
  ["WWW-Authenticate", 0],
  ["Warning", 0],
  ["X-Content-Type-Options", 0],
  ["X-DNS-Prefetch-Control", 0],
  ["X-Download-Options", 0],
  ["X-Forwarded-Host", 0],
  ["X-Forwarded-Port", 0],
  ["X-Forwarded-Proto", 0],
  ["X-Frame-Options", 0],
  ["X-Permitted-Cross-Domain-Policies", 0],
  ["X-Powered-By", 0],
  ["X-Real-IP", 0],
  ["X-Request-ID", 0],
  ["X-Requested-With", 0],
  ["X-XSS-Protection", 0],
];

/** The hash of a name, as the scanner makes it byte by byte. */
function hashName(name: string): number {
  let hash = 0;
  for (let i = 0; i < name.length; i++) hash = (Math.imul(hash, 31) + name.charCodeAt(i)) | 0;
  return hash;
}

const SLOTS = 4096;
const NONE: KnownField = { name: headText(""), key: "", id: 0, at: 0 };
const table: KnownField[] = new Array<KnownField>(SLOTS).fill(NONE);
const byKey = new Map<string, KnownField>();
/** All names one after another: names are compared by bytes, in one array that stays in the cache. */
const BYTES = new Uint8Array(2 * NAMES.reduce((sum, [name]) => sum + name.length, 0));

function enter(name: string, key: string, id: number, at: number): KnownField {
  let slot = hashName(name) & (SLOTS - 1);
  while (table[slot] !== NONE) slot = (slot + 1) & (SLOTS - 1);
  const field = { name: headText(name), key, id, at };
  for (let i = 0; i < name.length; i++) BYTES[at + i] = name.charCodeAt(i);
  table[slot] = field;
  return field;
}

let free = 0;
for (const [name, id] of NAMES) {
  const key = name.toLowerCase();
  enter(name, key, id, free);
  byKey.set(key, enter(key, key, id, free + name.length));
  free += 2 * name.length;
}

/** The known field whose name is exactly the bytes `start..end`, which hash to `hash`. */
export function knownField(bytes: Uint8Array, start: number, end: number, hash: number): KnownField | undefined {
  const length = end - start;
  probe: for (let slot = hash & (SLOTS - 1); ; slot = (slot + 1) & (SLOTS - 1)) {
    const field = table[slot];
    if (field === NONE) return undefined;
    if (field.name.length !== length) continue;
    const at = field.at;
    for (let i = 0; i < length; i++) if (bytes[start + i] !== BYTES[at + i]) continue probe;
    return field;
  }
}

/** The known field of a lower-case name: for one in some other casing. */
export function fieldByKey(key: string): KnownField | undefined {
  return byKey.get(key);
}

/** The lower-case key of any name; the table's own string for a usual one. */
export function fieldKey(name: string): string {
  const key = name.toLowerCase();
  return byKey.get(key)?.key ?? key;
}

/** Every known name in its usual casing, for tests. */
export function knownNames(): string[] {
  return NAMES.map(([name]) => name);
}
