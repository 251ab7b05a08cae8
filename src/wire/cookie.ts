import { lowercase } from "./latin1.ts";

/**
 * A cookie's value out of one Cookie field (ngx_http_parse_cookie_lines). `name` is in lower case; names are compared
 * without regard to case, as nginx does.
 */
export function cookieValue(field: string, name: string): string | undefined {
  let at = 0;
  while (at < field.length) {
    if (lowercase(field.slice(at, at + name.length)) === name) {
      at = behindSpaces(field, at + name.length);
      // As in nginx, what stands here in place of "=" is passed over, even if it is the ";" before the next cookie.
      if (field[at++] === "=") {
        at = behindSpaces(field, at);
        const end = field.indexOf(";", at);
        return end < 0 ? field.slice(at) : field.slice(at, end);
      }
    }
    const semicolon = field.indexOf(";", at);
    if (semicolon < 0) return undefined;
    at = behindSpaces(field, semicolon + 1);
  }
  return undefined;
}

function behindSpaces(text: string, from: number): number {
  let at = from;
  while (text[at] === " ") at++;
  return at;
}
