/** Seconds since 1970 of an HTTP date in any of the three forms of RFC 9110 section 5.6.7; -1 when it is none. */
export function parseHttpDate(text: string): number {
  const ms = parse(text);
  return Number.isNaN(ms) ? -1 : Math.floor(ms / 1000);
}

const MONTHS = "JanFebMarAprMayJunJulAugSepOctNovDec";

function parse(text: string): number {
  const fixed = /^[A-Za-z]{3,9}, (\d{1,2})[ -]([A-Za-z]{3})[ -](\d{4}|\d{2}) (\d\d):(\d\d):(\d\d)/.exec(text);
  if (fixed !== null) {
    const [, day, month, year, h, m, s] = fixed;
    return date(fullYear(year), month, Number(day), h, m, s);
  }
  const asctime = /^[A-Za-z]{3} ([A-Za-z]{3}) ([ \d]\d) (\d\d):(\d\d):(\d\d) (\d{4})/.exec(text);
  if (asctime === null) return Number.NaN;
  const [, month, day, h, m, s, year] = asctime;
  return date(Number(year), month, Number(day), h, m, s);
}

/** A two-digit year before 70 lies in this century. */
function fullYear(text: string): number {
  const year = Number(text);
  return text.length === 4 ? year : year < 70 ? 2000 + year : 1900 + year;
}

function date(year: number, monthName: string, day: number, h: string, m: string, s: string): number {
  const at = MONTHS.indexOf(monthName);
  if (at < 0 || at % 3 !== 0 || day < 1 || day > 31 || Number(h) > 23 || Number(m) > 59 || Number(s) > 59)
    return Number.NaN;
  return Date.UTC(year, at / 3, day, Number(h), Number(m), Number(s));
}
