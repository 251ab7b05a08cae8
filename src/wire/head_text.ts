declare const checked: unique symbol;

/**
 * Text that may stand in a head: it holds no CR, LF or NUL. Whatever a head is written of has this type, so that text out
 * of variables or modules cannot get there unchecked; names and values that were parsed out of a head have it already.
 */
export type HeadText = string & { readonly [checked]: "text" | "word" };

/** Text that may stand in a request line: no control byte and no space either. */
export type HeadWord = HeadText & { readonly [checked]: "word" };

const BREAKS = /[\r\n\0]/;
const UNSAFE = /[\0-\x20\x7f]/;

/** Any text, made safe for a head: CR, LF and NUL become spaces (RFC 9110 section 5.5). */
export function headText(text: string): HeadText {
  return scanned(BREAKS.test(text) ? text.replace(/[\r\n\0]/g, " ") : text);
}

/** Any text, made safe for a request line: control characters and spaces are percent-encoded. nginx sends them as they are. */
export function headWord(text: string): HeadWord {
  return scannedWord(UNSAFE.test(text) ? text.replace(/[\0-\x20\x7f]/g, escaped) : text);
}

function escaped(byte: string): string {
  return `%${byte.charCodeAt(0).toString(16).toUpperCase().padStart(2, "0")}`;
}

/** For parsers, and for parts of a HeadText: text known to hold no CR, LF or NUL. */
export function scanned(text: string): HeadText {
  return text as HeadText;
}

/** For the parser of request lines. */
export function scannedWord(text: string): HeadWord {
  return text as HeadWord;
}

// The head of a request to a server is written of these, line by line; a blank line ends it.

/** `rest`: what follows the target, with the end of the line. */
export function requestLine(method: HeadWord, target: HeadWord, rest: string): string {
  return `${method} ${target}${rest}`;
}

export function fieldLine(name: HeadText, value: HeadText): string {
  return `${name}: ${value}\r\n`;
}
