import { parseHttpTime } from "../../wire/http_time.ts";
import * as known from "../../wire/http1/known_fields.ts";
import type { AnswerHead } from "../core/upstream.ts";
import type { StoredHead, Validity } from "./entry_file.ts";
import type { CacheSettings } from "./settings.ts";

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
/** The response depends on more than fields; RFC 9110 allows it among others. */
const ANYTHING = /^(.*[, ])?\*([, ].*)?$/s;

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
        const value = headers.value(i);
        const until = accelExpires(value, now);
        if (until === undefined) break;
        if (until === 0 && !value.startsWith("@")) {
          keep = false;
          break;
        }
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
          const age = deltaSeconds(value, "s-maxage=") ?? deltaSeconds(value, "max-age=");
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
        const whileUpdating = deltaSeconds(value, "stale-while-revalidate=");
        if (whileUpdating === INVALID) {
          keep = false;
          break;
        }
        if (whileUpdating !== undefined) updating = error = whileUpdating;
        const ifError = deltaSeconds(value, "stale-if-error=");
        if (ifError === INVALID) keep = false;
        else if (ifError !== undefined) error = ifError;
      }
    }
  }
  const named = ignored.has("vary") ? [] : headers.getAll("vary");
  const vary = named.join(", ");
  if (ANYTHING.test(vary) || vary.length > MOST_VARY) keep = false;
  return { keep: keep && !noCache && !expired, valid, updating, error, vary };
}

/** Until when an answer with that status is fresh whose fields do not say: …_cache_valid. 0: it is not. */
export function validUntil(status: number, settings: CacheSettings): number {
  const period = settings.validFor(status);
  return period === 0 ? 0 : seconds() + period;
}

/**
 * How long a stored response is fresh that a 304 has confirmed, as in nginx: what the 304 says, else what the stored response
 * says when its fields are read anew, else …_cache_valid. `valid` is 0 where nothing says.
 */
export function confirmedValidity(
  said: Freshness,
  stored: AnswerHead,
  ignored: ReadonlySet<string>,
  settings: CacheSettings,
): Validity {
  const date = seconds();
  if (said.valid !== 0) return { valid: said.valid, updating: said.updating, error: said.error, date };
  const again = freshnessOf(stored, ignored, date);
  const valid = again.valid || validUntil(stored.status, settings);
  return { valid, updating: again.updating || said.updating, error: again.error || said.error, date };
}

/** The time of day, seconds since 1970. */
export function seconds(): number {
  return Math.floor(Date.now() / 1000);
}

/** How far the clocks of those who stored and who ask may be apart, in seconds. */
const SKEW = 2;

/** Whether a stored response is fresh. One of the future is not: the clock was set back, and nobody knows how old it is. */
export function isFresh({ valid, date }: Pick<StoredHead, "valid" | "date">, now: number): boolean {
  return valid >= now && date <= now + SKEW;
}

/** How old a stored response is (RFC 9111, section 4.2.3): as old as it was when it came, and since it was stored or confirmed. */
export function ageOf({ date, answer }: Pick<StoredHead, "date" | "answer">, now: number): number {
  const said = answer.headers.get("age");
  return Math.max(0, now - date) + (said !== undefined && /^[0-9]{1,9}$/.test(said) ? Number(said) : 0);
}

const INVALID = -1;

/** The delta-seconds of a directive; INVALID where they are none, undefined where it is not there. */
function deltaSeconds(value: string, directive: string): number | undefined {
  const at = value.toLowerCase().indexOf(directive);
  if (at < 0) return undefined;
  const digits = /^[^,; ]*/.exec(value.slice(at + directive.length))?.[0] ?? "";
  if (!/^[0-9]*$/.test(digits)) return INVALID;
  return Math.min(Number(digits), FOREVER);
}

/** X-Accel-Expires: seconds, or `@` and seconds since 1970. 0 seconds: it is not to be kept; undefined: it is no number. */
function accelExpires(value: string, now: number): number | undefined {
  const absolute = value.startsWith("@");
  const digits = absolute ? value.slice(1) : value;
  if (!/^[0-9]+$/.test(digits)) return undefined;
  const number = Math.min(Number(digits), FOREVER);
  if (absolute || number === 0) return number;
  return Math.min(now + number, FOREVER);
}
