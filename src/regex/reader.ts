import { RegexSyntaxError } from "./syntax.ts";

/** Where the parser is, and the options in force there. */
export interface RegexReader {
  readonly text: string;
  at: number;
  readonly utf: boolean;
  caseless: boolean;
  multiline: boolean;
  dotAll: boolean;
  extended: boolean;
  /** `(?xx)`: blanks inside a class are ignored too. */
  extendedMore: boolean;
  ungreedy: boolean;
  noAutoCapture: boolean;
  duplicateNames: boolean;
  /** The number of capturing groups opened so far. */
  captures: number;
}

export function wrong(reader: RegexReader, message: string, at = reader.at): never {
  throw new RegexSyntaxError(message, at);
}

export function highestCode(reader: RegexReader): number {
  return reader.utf ? 0x10ffff : 0xff;
}

/** The next character, taken; a whole code point when the pattern is UTF. */
export function takeCode(reader: RegexReader): number {
  const code = reader.text.codePointAt(reader.at) ?? 0;
  reader.at += code > 0xffff ? 2 : 1;
  return code;
}
