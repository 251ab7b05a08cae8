import { ConfigError } from "./types.ts";

/** What ended a statement: `;`, `{`, a `}`, or the end of the text. */
export type Ending = "directive" | "block" | "close" | "end";

/** NGX_CONF_BUFFER: nginx reads files through a buffer of this many bytes, and a parameter must fit in it. */
const LONGEST = 4096;

const TAB = 9;
const LF = 10;
const CR = 13;
const SPACE = 32;
const DOUBLE_QUOTE = 34;
const SHARP = 35;
const DOLLAR = 36;
const SINGLE_QUOTE = 39;
const CLOSE_PAREN = 41;
const SEMICOLON = 59;
const BACKSLASH = 92;
const OPEN_BRACE = 123;
const CLOSE_BRACE = 125;

/** Bytes that mean nothing but themselves within a word. */
const PLAIN = new Uint8Array(256).fill(1);
for (const ch of [TAB, LF, CR, SPACE, DOUBLE_QUOTE, DOLLAR, SINGLE_QUOTE, SEMICOLON, BACKSLASH, OPEN_BRACE])
  PLAIN[ch] = 0;

function isSpace(ch: number): boolean {
  return ch === SPACE || ch === LF || ch === TAB || ch === CR;
}

/**
 * ngx_conf_read_token: splits a configuration text (a byte string) into statements. `next` reads one and leaves its
 * words, unquoted and unescaped, in `words`. Throws ConfigError.
 */
export class Lexer {
  words: string[] = [];
  /** The current line, from 1; always 0 for the `-g` option. */
  line: number;
  readonly file: string;
  readonly isOption: boolean;
  readonly text: string;
  /** Behind the last statement. */
  at: number;
  /** Where the last statement began, with the spaces and comments before it. */
  start = 0;
  startLine = 0;

  /** `from`: where to begin; undefined for the `-g` option. */
  constructor(text: string, file: string, from: { readonly at: number; readonly line: number } | undefined) {
    this.text = text;
    this.file = file;
    this.isOption = from === undefined;
    this.at = from?.at ?? 0;
    this.line = from?.line ?? 0;
  }

  error(message: string): ConfigError {
    return new ConfigError(message, { file: this.file, line: this.line });
  }

  next(): Ending {
    const { text } = this;
    const size = text.length;
    const limit = this.isOption ? Number.POSITIVE_INFINITY : LONGEST;
    const words: string[] = [];
    this.words = words;
    this.start = this.at;
    this.startLine = this.line;

    let start = this.at;
    let startLine = this.line;
    let between = true;
    let closed = false;
    let comment = false;
    let escaped = false;
    let hasEscape = false;
    let variable = false;
    let quote = 0;

    for (;;) {
      if (this.at >= size) {
        if (words.length > 0 || !between) throw this.endError();
        return "end";
      }
      if (this.at - start >= limit) throw this.tooLong(start, startLine, quote);

      const ch = text.charCodeAt(this.at++);
      if (ch === LF) {
        if (!this.isOption) this.line++;
        comment = false;
      }
      if (comment) continue;
      if (escaped) {
        escaped = false;
        continue;
      }

      if (closed) {
        // A closing quote must be followed by a separator; `)` begins a new word, for `if ($a = "b")`.
        if (ch === SEMICOLON) return "directive";
        if (ch === OPEN_BRACE) return "block";
        if (!isSpace(ch) && ch !== CLOSE_PAREN) throw this.error(`unexpected "${String.fromCharCode(ch)}"`);
        between = true;
        closed = false;
        if (ch !== CLOSE_PAREN) continue;
      }

      if (between) {
        start = this.at - 1;
        startLine = this.line;
        if (isSpace(ch)) continue;
        hasEscape = false;
        switch (ch) {
          case SEMICOLON:
          case OPEN_BRACE:
            if (words.length === 0) throw this.error(`unexpected "${String.fromCharCode(ch)}"`);
            return ch === OPEN_BRACE ? "block" : "directive";
          case CLOSE_BRACE:
            if (words.length > 0) throw this.error('unexpected "}"');
            return "close";
          case SHARP:
            comment = true;
            continue;
          case BACKSLASH:
            escaped = true;
            hasEscape = true;
            break;
          case DOUBLE_QUOTE:
          case SINGLE_QUOTE:
            start++;
            quote = ch;
            break;
          case DOLLAR:
            variable = true;
            break;
        }
        between = false;
        continue;
      }

      // `${name}`: the brace belongs to the word.
      if (ch === OPEN_BRACE && variable) continue;
      variable = false;
      if (ch === BACKSLASH) {
        escaped = true;
        hasEscape = true;
        continue;
      }
      if (ch === DOLLAR) {
        variable = true;
        continue;
      }
      if (quote !== 0) {
        if (ch !== quote) continue;
        quote = 0;
        closed = true;
      } else if (isSpace(ch) || ch === SEMICOLON || ch === OPEN_BRACE) {
        between = true;
      } else {
        let at = this.at;
        while (PLAIN[text.charCodeAt(at)] === 1) at++;
        this.at = at;
        continue;
      }
      const word = text.slice(start, this.at - 1);
      words.push(hasEscape ? withoutEscapes(word) : word);
      if (ch === SEMICOLON) return "directive";
      if (ch === OPEN_BRACE) return "block";
    }
  }

  private endError(): ConfigError {
    if (this.isOption) return this.error('unexpected end of parameter, expecting ";"');
    return this.error('unexpected end of file, expecting ";" or "}"');
  }

  private tooLong(start: number, startLine: number, quote: number): ConfigError {
    this.line = startLine;
    if (quote === 0) return this.error(`too long parameter "${this.text.slice(start, start + 10)}..." started`);
    return this.error(`too long parameter, probably missing terminating "${String.fromCharCode(quote)}" character`);
  }
}

const ESCAPES: Readonly<Record<string, string>> = { '"': '"', "'": "'", "\\": "\\", t: "\t", r: "\r", n: "\n" };

/** In `\"`, `\'` and `\\` the backslash is removed; `\t`, `\r` and `\n` become that byte; other escapes are kept. */
function withoutEscapes(word: string): string {
  let text = "";
  let from = 0;
  for (let at = word.indexOf("\\"); at >= 0; at = word.indexOf("\\", at + 2)) {
    const meant = ESCAPES[word[at + 1]];
    if (meant === undefined) continue;
    text += word.slice(from, at) + meant;
    from = at + 2;
  }
  return text + word.slice(from);
}
