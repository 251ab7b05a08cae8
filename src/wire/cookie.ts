import { lowercase } from "./latin1.ts";

/**
 * A cookie's value out of one Cookie field (ngx_http_parse_cookie_lines). `name` is in lower case; names are compared
 * without regard to case, as nginx does.
 */
export function cookieValue(field: string, name: string): string | undefined {
  const at = cookieAt(field, name, 0);
  return at < 0 ? undefined : valueAt(field, at);
}

/** Up to `most` values of cookies of that name, in their order: a browser says of several neither whose they are nor which is newer. */
export function cookieValues(field: string, name: string, most: number): string[] {
  const values: string[] = [];
  let at = cookieAt(field, name, 0);
  while (at >= 0 && values.length < most) {
    values.push(valueAt(field, at));
    at = cookieAt(field, name, nextAt(field, at));
  }
  return values;
}

/** Where the value of a cookie of that name begins, at or after `from`, where a cookie begins; -1 where there is none. */
function cookieAt(field: string, name: string, from: number): number {
  let at = from;
  while (at < field.length) {
    if (lowercase(field.slice(at, at + name.length)) === name) {
      at = behindSpaces(field, at + name.length);
      // As in nginx, what stands here in place of "=" is passed over, even if it is the ";" before the next cookie.
      if (field[at++] === "=") return behindSpaces(field, at);
    }
    at = nextAt(field, at);
  }
  return -1;
}

/** Where the next cookie begins. */
function nextAt(field: string, from: number): number {
  const semicolon = field.indexOf(";", from);
  return semicolon < 0 ? field.length : behindSpaces(field, semicolon + 1);
}

function valueAt(field: string, at: number): string {
  const end = field.indexOf(";", at);
  return end < 0 ? field.slice(at) : field.slice(at, end);
}

function behindSpaces(text: string, from: number): number {
  let at = from;
  while (text[at] === " ") at++;
  return at;
}
