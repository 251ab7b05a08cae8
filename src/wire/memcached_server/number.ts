/** Numbers as memcached reads them (safe_strtoull and its kin, strtoull(3)). All functions return undefined for what it refuses. */

/** Spaces, a sign, digits; then the end or a space (isspace) that ends it. */
const NUMBER = /^[\t-\r ]*([+-]?)(\d+)(?=[\t-\r ]|$)/;
const MOST_U64 = 2n ** 64n - 1n;
const MOST_I64 = 2n ** 63n - 1n;

/** 0 to 2^64-1. A negative one counts from 2^64 down, unless what comes of it is so large that it can be no mistake. */
export function parseUint64(text: string): bigint | undefined {
  const [, sign, digits] = NUMBER.exec(text) ?? [];
  if (digits === undefined) return undefined;
  const magnitude = BigInt(digits);
  if (magnitude > MOST_U64) return undefined;
  const value = BigInt.asUintN(64, sign === "-" ? -magnitude : magnitude);
  return value > MOST_I64 && text.includes("-") ? undefined : value;
}

/** The lowest 32 bits of such a number. */
export function parseUint32(text: string): number | undefined {
  const value = parseUint64(text);
  return value === undefined ? undefined : Number(BigInt.asUintN(32, value));
}

/** The lowest 32 bits of a number from -2^63 to 2^63-1. */
export function parseInt32(text: string): number | undefined {
  const [, sign, digits] = NUMBER.exec(text) ?? [];
  if (digits === undefined) return undefined;
  const value = sign === "-" ? -BigInt(digits) : BigInt(digits);
  return value > MOST_I64 || value < -MOST_I64 - 1n ? undefined : Number(BigInt.asIntN(32, value));
}
