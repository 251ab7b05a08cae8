import { bindWhenUsed, cString } from "./ffi.ts";

const libc = bindWhenUsed(null, {
  // Both fill in the struct tm and return its address. Its tm_zone leads to text of the library's own.
  gmtime_r: { return: "handle", arguments: ["buffer", "buffer"] },
  localtime_r: { return: "handle", arguments: ["buffer", "buffer"] },
  strftime: { return: "uint64", arguments: ["buffer", "uint64", "buffer", "buffer"], sizes: { 0: 1 } },
});

/** sizeof(struct tm) with 64-bit pointers. */
const TM_SIZE = 56;
/** NGX_HTTP_SSI_DATE_LEN */
const MOST_TEXT = 2048;

const time = new BigInt64Array(1);
const timeBytes = Buffer.from(time.buffer);
const tm = Buffer.alloc(TM_SIZE);
const text = Buffer.alloc(MOST_TEXT);

/**
 * strftime(3) in the C locale, of a time in seconds since 1970, in UTC or the local time zone. Format and result are byte
 * strings. Undefined if the result is empty or longer than 2047 bytes.
 */
export function strftime(format: string, seconds: number, utc: boolean): string | undefined {
  time[0] = BigInt(seconds);
  if (utc) libc.gmtime_r(timeBytes, tm);
  else libc.localtime_r(timeBytes, tm);
  const length = Number(libc.strftime(text, BigInt(MOST_TEXT), cString(format), tm));
  return length === 0 ? undefined : text.latin1Slice(0, length);
}
