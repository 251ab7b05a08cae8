/** What `Parser.next` returns. Nothing yet: a command goes on, or the text has ended. */
const NOTHING = 0;
/** `prefix` and `start..end` of the text are no command. */
export const TEXT = 1;
/** A command is complete: `command` and `params`. */
export const COMMAND = 2;
/** A command has an error, `error`, to be logged; the rest of it is skipped. */
export const FAULT = 3;
/** The end of a command that has one. */
export const BROKEN = 4;

/** NGX_HTTP_SSI_COMMAND_LEN, NGX_HTTP_SSI_PARAM_LEN and NGX_HTTP_SSI_MAX_PARAMS. */
const COMMAND_LENGTH = 32;
const PARAM_LENGTH = 32;
export const MOST_PARAMS = 16;

export interface Param {
  readonly key: string;
  readonly value: string;
}

const OPEN = "<!--#";
const OPEN_BYTES = Buffer.from(OPEN);
const TAB = 0x09;
const LF = 0x0a;
const CR = 0x0d;
const SPACE = 0x20;
const DOUBLE_QUOTE = 0x22;
const QUOTE = 0x27;
const DASH = 0x2d;
const EQUAL = 0x3d;
const GREATER = 0x3e;
const BACKSLASH = 0x5c;

// nginx's states, without those within `<!--#`.
const START = 0;
const PRECOMMAND = 1;
const COMMAND_NAME = 2;
const PREPARAM = 3;
const PARAM = 4;
const PREEQUAL = 5;
const PREVALUE = 6;
const VALUE = 7;
const QUOTED_SYMBOL = 8;
const POSTPARAM = 9;
const COMMENT_END0 = 10;
const COMMENT_END1 = 11;
const ERROR = 12;
const ERROR_END0 = 13;
const ERROR_END1 = 14;

function isSpace(code: number): boolean {
  return code === SPACE || code === CR || code === LF || code === TAB;
}

/**
 * Finds the commands of a page that comes in pieces, byte strings (ngx_http_ssi_parse). What it keeps between two pieces is
 * bounded: the names and values of one command.
 */
export class Parser {
  /** Where to go on in the piece. */
  at = 0;
  /** After TEXT: what looked like the beginning of a command at the end of earlier pieces, and where text is in this one. */
  prefix = "";
  start = 0;
  end = 0;
  /** After COMMAND; one more than MOST_PARAMS at most. */
  command = "";
  params: Param[] = [];
  /** After FAULT. */
  error = "";
  /** ssi_value_length */
  private readonly valueLength: number;
  private state = START;
  /** With how many characters of `<!--#` the text ended so far. */
  private begun = 0;
  private key = "";
  private value = "";
  private quote = QUOTE;

  constructor(valueLength: number) {
    this.valueLength = valueLength;
  }

  /** Up to where bytes of the page have no command, and no beginning of one. */
  skip(bytes: Buffer, from: number): number {
    if (this.state !== START || this.begun > 0) return from;
    const found = bytes.indexOf(OPEN_BYTES, from);
    return found < 0
      ? bytes.length - beginningAtEnd(bytes.latin1Slice(Math.max(from, bytes.length - OPEN.length)))
      : found;
  }

  /** Reads on at `at`, which must be within the piece. */
  next(piece: string): number {
    return this.state === START ? this.readText(piece) : this.readCommand(piece);
  }

  /** The page has ended: what looked like the beginning of a command is text. */
  rest(): string {
    const rest = OPEN.slice(0, this.begun);
    this.begun = 0;
    return rest;
  }

  private readText(piece: string): number {
    let { at, begun } = this;
    const { length } = piece;
    this.prefix = "";
    if (begun > 0) {
      while (at < length && begun < OPEN.length && piece.charCodeAt(at) === OPEN.charCodeAt(begun)) {
        at++;
        begun++;
      }
      this.at = at;
      this.begun = begun;
      if (begun === OPEN.length) return this.open(at);
      if (at === length) return NOTHING;
      this.prefix = this.rest();
    }
    const found = piece.indexOf(OPEN, at);
    this.start = at;
    if (found >= 0) {
      this.end = found;
      this.open(found + OPEN.length);
    } else {
      this.begun = beginningAtEnd(piece.slice(Math.max(at, length - OPEN.length)));
      this.end = length - this.begun;
      this.at = length;
    }
    return this.end > at || this.prefix !== "" ? TEXT : NOTHING;
  }

  private open(at: number): number {
    this.at = at;
    this.begun = 0;
    this.state = PRECOMMAND;
    return NOTHING;
  }

  private readCommand(text: string): number {
    const { length } = text;
    let { state } = this;
    for (let i = this.at; i < length; i++) {
      const code = text.charCodeAt(i);
      switch (state) {
        case PRECOMMAND:
          if (isSpace(code)) break;
          this.command = text[i];
          this.params = [];
          state = COMMAND_NAME;
          break;

        case COMMAND_NAME:
          if (isSpace(code)) state = PREPARAM;
          else if (code === DASH) state = COMMENT_END0;
          else if (this.command.length < COMMAND_LENGTH) this.command += text[i];
          else return this.fail(i, `the "${this.command}${text[i]}..." SSI command is too long`);
          break;

        case PREPARAM:
          if (isSpace(code)) break;
          if (code === DASH) {
            state = COMMENT_END0;
            break;
          }
          this.key = text[i];
          this.value = "";
          state = PARAM;
          break;

        case PARAM:
          if (isSpace(code)) state = PREEQUAL;
          else if (code === EQUAL) state = PREVALUE;
          else if (code === DASH) return this.fail(i, this.unexpected("-", "after"), ERROR_END0);
          else if (this.key.length < PARAM_LENGTH) this.key += text[i];
          else return this.fail(i, `too long "${this.key}${text[i]}..." parameter in "${this.command}" SSI command`);
          break;

        case PREEQUAL:
          if (isSpace(code)) break;
          if (code !== EQUAL) return this.fail(i, this.unexpected(text[i], "after"), afterError(code));
          state = PREVALUE;
          break;

        case PREVALUE:
          if (isSpace(code)) break;
          if (code !== DOUBLE_QUOTE && code !== QUOTE) {
            return this.fail(i, this.unexpected(text[i], "before value of"), afterError(code));
          }
          this.quote = code;
          state = VALUE;
          break;

        case VALUE: {
          const end = this.endOfRun(text, i);
          const room = this.valueLength - this.value.length;
          if (end - i > room) {
            this.value += text.slice(i, i + room);
            return this.tooLong(text, i + room);
          }
          this.value += text.slice(i, end);
          i = end;
          if (end === length) break;
          if (text.charCodeAt(end) === this.quote) {
            state = POSTPARAM;
            break;
          }
          if (this.value.length === this.valueLength) return this.tooLong(text, end);
          this.value += "\\";
          state = QUOTED_SYMBOL;
          break;
        }

        case QUOTED_SYMBOL:
          if (this.value.length === this.valueLength) return this.tooLong(text, i);
          this.value += text[i];
          state = VALUE;
          break;

        case POSTPARAM:
          if (this.params.length <= MOST_PARAMS) this.params.push({ key: this.key, value: this.value });
          if (isSpace(code)) state = PREPARAM;
          else if (code === DASH) state = COMMENT_END0;
          else return this.fail(i, this.unexpected(text[i], `after "${this.value}" value of`));
          break;

        case COMMENT_END0:
          if (code !== DASH) return this.fail(i, `unexpected "${text[i]}" symbol in "${this.command}" SSI command`);
          state = COMMENT_END1;
          break;

        case COMMENT_END1:
          if (code !== GREATER) return this.fail(i, `unexpected "${text[i]}" symbol in "${this.command}" SSI command`);
          this.state = START;
          this.at = i + 1;
          return COMMAND;

        // As in nginx, `--->` does not end it.
        case ERROR:
          if (code === DASH) state = ERROR_END0;
          break;

        case ERROR_END0:
          state = code === DASH ? ERROR_END1 : ERROR;
          break;

        case ERROR_END1:
          if (code !== GREATER) {
            state = ERROR;
            break;
          }
          this.state = START;
          this.at = i + 1;
          return BROKEN;
      }
    }
    this.state = state;
    this.at = length;
    return NOTHING;
  }

  /** Where the quote or a backslash follows, else the end of the text. */
  private endOfRun(text: string, from: number): number {
    const { quote } = this;
    let at = from;
    for (; at < text.length; at++) {
      const code = text.charCodeAt(at);
      if (code === quote || code === BACKSLASH) break;
    }
    return at;
  }

  private unexpected(char: string, where: string): string {
    return `unexpected "${char}" symbol ${where} "${this.key}" parameter in "${this.command}" SSI command`;
  }

  private tooLong(text: string, at: number): number {
    const { value, key, command } = this;
    return this.fail(at, `too long "${value}${text[at]}..." value of "${key}" parameter in "${command}" SSI command`);
  }

  /** The character at `at` must not be there. */
  private fail(at: number, error: string, state = ERROR): number {
    this.error = error;
    this.at = at + 1;
    this.state = state;
    return FAULT;
  }
}

function afterError(code: number): number {
  return code === DASH ? ERROR_END0 : ERROR;
}

/** With how many characters of `<!--#`, not all of them, a text ends. */
function beginningAtEnd(text: string): number {
  for (let count = Math.min(OPEN.length - 1, text.length); count > 0; count--) {
    if (text.endsWith(OPEN.slice(0, count))) return count;
  }
  return 0;
}
