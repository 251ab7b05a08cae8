import { parseSec } from "../../../config/values.ts";

/** The value of `expires` (ngx_http_parse_expires). `seconds` counts from now, from Last-Modified or from midnight. */
export type Expires =
  | { readonly kind: "off" | "epoch" | "max" }
  | { readonly kind: "access" | "modified" | "daily"; readonly seconds: number };

const DAY = 24 * 60 * 60;

/** Reads a value; a string is an error. */
export function parseExpires(text: string, modified: boolean): Expires | string {
  if (!modified && (text === "epoch" || text === "max" || text === "off")) return { kind: text };
  const sign = text.charAt(0);
  if (sign === "@") {
    if (modified) return 'daily time cannot be used with "modified" parameter';
    const seconds = parseSec(text.slice(1));
    if (seconds === undefined) return "invalid value";
    if (seconds > DAY) return "daily time value must be less than 24 hours";
    return { kind: "daily", seconds };
  }
  const seconds = parseSec(sign === "+" || sign === "-" ? text.slice(1) : text);
  if (seconds === undefined) return "invalid value";
  return { kind: modified ? "modified" : "access", seconds: sign === "-" ? -seconds : seconds };
}

/** The next time, in seconds since 1970, that is `seconds` after local midnight (ngx_next_time). */
export function nextTimeOfDay(seconds: number, now: number): number {
  const date = new Date(now * 1000);
  date.setHours(0, 0, seconds, 0);
  const today = date.getTime() / 1000;
  if (today > now) return today;
  // A calendar day, not 24 hours: daylight saving time may begin or end.
  date.setDate(date.getDate() + 1);
  return date.getTime() / 1000;
}
