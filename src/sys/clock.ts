/**
 * Cached time, like ngx_times.c: the clock is read once an event, and time strings are made once a second. Reading it
 * costs some 60 ns, and a proxied request needs it a dozen times. An engine (net/) calls `enterEvent` before it handles
 * I/O and `leaveEvent` after; outside of an event the clock is read each time.
 */

// The global is a getter, which costs half as much as the clock itself.
const { performance } = globalThis;

let inEvent = false;
let monotonic = 0;
/** The time of day less the monotonic clock; measured anew every MEASURE_MS, since the time of day may be set. */
let offset = Date.now() - performance.now();
let measured = performance.now();
const MEASURE_MS = 200;

/** Caches the time until `leaveEvent`. */
export function enterEvent(): void {
  monotonic = performance.now();
  if (monotonic - measured > MEASURE_MS) {
    measured = monotonic;
    offset = Date.now() - monotonic;
  }
  inEvent = true;
}

export function leaveEvent(): void {
  inEvent = false;
}

/** The monotonic clock (performance.now()), ms. */
export function now(): number {
  return inEvent ? monotonic : performance.now();
}

/** The clock itself, also within an event: for how long work takes. */
export function clockNow(): number {
  return performance.now();
}

/** performance.now() counts from the start of the process; CLOCK_MONOTONIC has one origin for all. */
const ORIGIN = Number(process.hrtime.bigint()) / 1e6 - performance.now();

/** The monotonic clock as all processes of this system read it, ms. */
export function sharedNow(): number {
  return now() + ORIGIN;
}

/** The time of day, whole ms since 1970. */
export function wallNow(): number {
  return inEvent ? Math.floor(monotonic + offset) : Date.now();
}

/** The time of day at a time of the monotonic clock, whole ms since 1970. */
export function wallAt(time: number): number {
  return Math.floor(time + offset);
}

const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const DAYS = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];

/** RFC 9110 section 5.6.7 (IMF-fixdate) of a time in ms: `Sun, 22 Nov 2026 13:06:26 GMT`. */
export function httpDateOf(ms: number): string {
  const date = new Date(ms);
  const day = DAYS[date.getUTCDay()];
  const clock = `${two(date.getUTCHours())}:${two(date.getUTCMinutes())}:${two(date.getUTCSeconds())}`;
  return `${day}, ${two(date.getUTCDate())} ${MONTHS[date.getUTCMonth()]} ${date.getUTCFullYear()} ${clock} GMT`;
}

/** The value of `Date` now. */
/** The form for cookies: old clients know years of two digits alone, up to 2037. */
export function cookieDateOf(ms: number): string {
  return httpDateOf(ms).replace(/ (\w{3}) (\d\d)(\d\d) /, (_, month, century, year) => {
    return `-${month}-${Number(century + year) > 2037 ? century : ""}${year} `;
  });
}

export const httpDate: () => string = perSecond((second) => httpDateOf(second * 1000));

/** `$time_local`: `22/Nov/2026:13:06:26 +0000` in the local time zone. */
export const logTime: () => string = perSecond((second) => {
  const date = new Date(second * 1000);
  const day = `${two(date.getDate())}/${MONTHS[date.getMonth()]}/${date.getFullYear()}`;
  return `${day}:${clockOf(date)} ${zone(date, "")}`;
});

/** `$time_iso8601`: `2026-11-22T13:06:26+00:00` in the local time zone. */
export const iso8601: () => string = perSecond((second) => {
  const date = new Date(second * 1000);
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}T${clockOf(date)}${zone(date, ":")}`;
});

/** The time of an error log line: `2026/11/22 13:06:26`, local time zone. */
export const errorTime: () => string = perSecond((second) => {
  const date = new Date(second * 1000);
  return `${date.getFullYear()}/${two(date.getMonth() + 1)}/${two(date.getDate())} ${clockOf(date)}`;
});

/** The time of a syslog line (RFC 3164): `Nov 22 13:06:26`, the day padded with a space, local time zone. */
export const syslogTime: () => string = perSecond((second) => {
  const date = new Date(second * 1000);
  return `${MONTHS[date.getMonth()]} ${String(date.getDate()).padStart(2)} ${clockOf(date)}`;
});

/** Caches the result of `make` for a second. */
function perSecond(make: (second: number) => string): () => string {
  let from = 0;
  let text = "";
  return () => {
    const now = wallNow();
    // The clock may be set back, hence the lower bound.
    if (now < from || now >= from + 1000) {
      const second = Math.floor(now / 1000);
      from = second * 1000;
      text = make(second);
    }
    return text;
  };
}

function clockOf(date: Date): string {
  return `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
}

function zone(date: Date, separator: string): string {
  const minutes = -date.getTimezoneOffset();
  const size = Math.abs(minutes);
  return `${minutes < 0 ? "-" : "+"}${two(Math.floor(size / 60))}${separator}${two(size % 60)}`;
}

function two(value: number): string {
  return value < 10 ? `0${value}` : String(value);
}
