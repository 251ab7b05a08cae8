import { scanned } from "../../wire/head_text.ts";
import { parseHttpTime } from "../../wire/http_time.ts";
import * as known from "../../wire/http1/known_fields.ts";
import type { AnswerHead } from "../core/upstream.ts";

/** What an answer's fields say about keeping it (ngx_http_upstream_process_cache_control and its kin). Seconds since 1970. */
export interface Freshness {
  /** It may be kept. */
  readonly keep: boolean;
  /** Until when it is fresh; 0: the fields do not say. */
  readonly valid: number;
  /** For how long it may be sent after that while it is updated, or if servers fail. */
  readonly updating: number;
  readonly error: number;
  readonly vary: string;
}

/** The longest that a time may be away, as in nginx on 64 bits, where it is 2^63-1. */
const FOREVER = Number.MAX_SAFE_INTEGER;
/** NGX_HTTP_CACHE_VARY_LEN */
const MOST_VARY = 128;
/** The response depends on more than fields. */
const ANYTHING = scanned("*");

/** `ignored`: the fields, in lower case, whose meaning is ignored (…_ignore_headers). `now`: seconds since 1970. */
export function freshnessOf({ headers }: AnswerHead, ignored: ReadonlySet<string>, now: number): Freshness {
  let keep = true;
  let valid = 0;
  let updating = 0;
  let error = 0;
  let noCache = false;
  let expired = false;
  let accel = false;
  for (let i = 0; i < headers.count; i++) {
    switch (headers.number(i)) {
      case known.SET_COOKIE:
        if (!ignored.has("set-cookie")) keep = false;
        break;
      case known.X_ACCEL_EXPIRES: {
        accel = true;
        if (ignored.has("x-accel-expires")) break;
        const until = accelExpires(headers.value(i), now);
        if (until === 0) keep = false;
        if (until === undefined || until === 0) break;
        valid = until;
        noCache = false;
        expired = false;
        break;
      }
      case known.EXPIRES: {
        if (ignored.has("expires") || valid !== 0) break;
        const until = parseHttpTime(headers.value(i));
        if (until < now) expired = true;
        else valid = until;
        break;
      }
      case known.CACHE_CONTROL: {
        if (ignored.has("cache-control")) break;
        const value = headers.value(i);
        if (!(valid !== 0 && accel)) {
          if (/no-cache|no-store|private/i.test(value)) {
            noCache = true;
            break;
          }
          const age = seconds(value, "s-maxage=") ?? seconds(value, "max-age=");
          if (age === INVALID) {
            keep = false;
            break;
          }
          if (age === 0) {
            noCache = true;
            break;
          }
          if (age !== undefined) {
            valid = Math.min(now + age, FOREVER);
            expired = false;
          }
        }
        const whileUpdating = seconds(value, "stale-while-revalidate=");
        const ifError = seconds(value, "stale-if-error=");
        if (whileUpdating === INVALID || ifError === INVALID) keep = false;
        if (whileUpdating !== undefined) updating = error = whileUpdating;
        if (ifError !== undefined) error = ifError;
      }
    }
  }
  const named = ignored.has("vary") ? [] : headers.getAll("vary");
  const vary = named.join(", ");
  if (named.includes(ANYTHING) || vary.length > MOST_VARY) keep = false;
  return { keep: keep && !noCache && !expired, valid, updating, error, vary };
}

const INVALID = -1;

/** The delta-seconds of a directive; INVALID where they are none, undefined where it is not there. */
function seconds(value: string, directive: string): number | undefined {
  const at = value.toLowerCase().indexOf(directive);
  if (at < 0) return undefined;
  const digits = /^[^,; ]*/.exec(value.slice(at + directive.length))?.[0] ?? "";
  if (!/^[0-9]*$/.test(digits)) return INVALID;
  return Math.min(Number(digits), FOREVER);
}

/** X-Accel-Expires: seconds, or `@` and seconds since 1970. 0: it is not to be kept; undefined: it is no number. */
function accelExpires(value: string, now: number): number | undefined {
  const absolute = value.startsWith("@");
  const digits = absolute ? value.slice(1) : value;
  if (!/^[0-9]+$/.test(digits)) return undefined;
  const number = Math.min(Number(digits), FOREVER);
  if (absolute || number === 0) return number;
  return Math.min(now + number, FOREVER);
}
