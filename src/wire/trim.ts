/**
 * A text without blanks at either end: spaces, and tabs where `blanks` has them. No regular expression does this in
 * bounded time: ` +$` goes through a run of spaces in the middle as often as the run is long.
 */
export function trim(text: string, blanks = " "): string {
  let start = 0;
  let end = text.length;
  while (start < end && blanks.includes(text[start])) start++;
  while (end > start && blanks.includes(text[end - 1])) end--;
  return text.slice(start, end);
}
