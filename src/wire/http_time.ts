const MONTHS: Readonly<Record<string, number>> = {
  Jan: 0,
  Feb: 1,
  Mar: 2,
  Apr: 3,
  May: 4,
  Jun: 5,
  Jul: 6,
  Aug: 7,
  Sep: 8,
  Oct: 9,
  Nov: 10,
  Dec: 11,
};

/** The three formats of RFC 9110 section 5.6.7; the day of the week is ignored. `AUG` is taken, as by nginx. */
const IMF = /^[^, ]*, *(\d\d) ([A-Z][A-Za-z]{2}) (\d{4}) (\d\d):(\d\d):(\d\d)/;
const RFC850 = /^[^, ]*, *(\d\d)-([A-Z][A-Za-z]{2})-(\d\d) (\d\d):(\d\d):(\d\d)/;
const ASCTIME = /^[^, ]* +([A-Z][A-Za-z]{2}) {1,2}(\d{1,2}) (\d\d):(\d\d):(\d\d) (\d{4})/;

/** Parses a field such as If-Modified-Since: seconds since 1970, or -1 if it is not a date. */
export function parseHttpTime(text: string): number {
  const imf = IMF.exec(text);
  if (imf !== null) return seconds(Number(imf[3]), imf[2], Number(imf[1]), imf[4], imf[5], imf[6]);
  const old = RFC850.exec(text);
  if (old !== null) {
    const year = Number(old[3]);
    return seconds(year < 70 ? year + 2000 : year + 1900, old[2], Number(old[1]), old[4], old[5], old[6]);
  }
  const asctime = ASCTIME.exec(text);
  if (asctime === null) return -1;
  return seconds(Number(asctime[6]), asctime[1], Number(asctime[2]), asctime[3], asctime[4], asctime[5]);
}

function seconds(year: number, name: string, day: number, hours: string, minutes: string, secs: string): number {
  const month = MONTHS[name.charAt(0) + name.slice(1).toLowerCase()];
  const hour = Number(hours);
  const minute = Number(minutes);
  const second = Number(secs);
  if (month === undefined || hour > 23 || minute > 59 || second > 59) return -1;
  const date = new Date(0);
  // Not Date.UTC, which maps years below 100 to 19xx.
  date.setUTCFullYear(year, month, day);
  if (date.getUTCMonth() !== month || date.getUTCDate() !== day) return -1;
  date.setUTCHours(hour, minute, second);
  return date.getTime() / 1000;
}
