declare const checked: unique symbol;

/**
 * Text without CR, LF or NUL, which is safe in a head. Everything that heads are written of has this type, so that text
 * from variables or modules cannot get there unchecked; names and values parsed from a head have it already.
 */
export type HeadText = string & { readonly [checked]: "text" | "word" };

/** Text that is safe in a request line: without control characters and spaces. */
export type HeadWord = HeadText & { readonly [checked]: "word" };

const BREAKS = /[\r\n\0]/;
const UNSAFE = /[\0-\x20\x7f]/;

/** Makes any text safe for a head: CR, LF and NUL become spaces (RFC 9110 section 5.5). */
export function headText(text: string): HeadText {
  return scanned(BREAKS.test(text) ? text.replace(/[\r\n\0]/g, " ") : text);
}

/**
 * Makes any text safe for a request line: control characters and spaces are percent-encoded. nginx sends them as they
 * are.
 */
export function headWord(text: string): HeadWord {
  return scannedWord(UNSAFE.test(text) ? text.replace(/[\0-\x20\x7f]/g, escaped) : text);
}

function escaped(byte: string): string {
  return `%${byte.charCodeAt(0).toString(16).toUpperCase().padStart(2, "0")}`;
}

/** For parsers and parts of a HeadText: the text is known to have no CR, LF or NUL. */
export function scanned(text: string): HeadText {
  return text as HeadText;
}

/** For the parser of request lines. */
export function scannedWord(text: string): HeadWord {
  return text as HeadWord;
}

// Lines of a request's head; an empty line ends it.

/** `rest`: what follows the target, the end of the line included. */
export function requestLine(method: HeadWord, target: HeadWord, rest: string): string {
  return `${method} ${target}${rest}`;
}

export function fieldLine(name: HeadText, value: HeadText): string {
  return `${name}: ${value}\r\n`;
}
