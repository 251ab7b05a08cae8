/** The time of day in the forms logs and headers want. Text is made once a second (or minute) and kept. */

import { wallNow } from "./now.ts";

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

/** Keeps what `make` returned for as long as the second lasts. */
function perSecond(make: (second: number) => string): () => string {
  let from = 0;
  let text = "";
  return () => {
    const now = wallNow();
    // The clock may be set back: the lower bound is checked as well.
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
