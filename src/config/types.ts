/** The parsed form of an nginx.conf, before any directive is given its meaning. */

/** One directive as written. Every string is a byte string (latin1): one character is one byte of the file. */
export interface Directive {
  readonly name: string;
  /** The arguments after unquoting and unescaping, without the name. */
  readonly args: readonly string[];
  /** The path of the file as nginx would print it. */
  readonly file: string;
  /** The line of the terminating `;` or `{`, as nginx counts it. */
  readonly line: number;
  /** The directives between `{` and `}`; absent for a directive that ends with `;`. */
  readonly block?: readonly Directive[];
  /** The line of the closing `}`; absent without a block, and where the file ended (in an error) before it. */
  readonly endLine?: number;
  /** Reading it failed (an `include` of a file that cannot be opened); what follows was read all the same. */
  readonly failed?: ConfigError;
}

/** A whole configuration: what `-T` dumps and what is posted to the threads. Structured-cloneable. */
export interface ConfigTree {
  /** Every file read, in the order read, each once. `text` is a byte string. */
  readonly files: readonly { readonly path: string; readonly text: string }[];
  readonly directives: readonly Directive[];
}

/** Where a directive may stand. nginx documents `if` as two contexts: in a server and in a location. */
export type Context =
  | "main"
  | "events"
  | "http"
  | "server"
  | "location"
  | "if in server"
  | "if in location"
  | "limit_except"
  | "upstream";

/**
 * An error in the configuration, in nginx's words: message is the sentence without the ` in FILE:LINE` tail, which
 * `toString` adds when a place is known. Thrown while a configuration is read or built, caught only by the front doors
 * (start, `-t`, reload), which log it as [emerg].
 */
export class ConfigError extends Error {
  readonly file: string | undefined;
  readonly line: number | undefined;
  /** The directive (or what else has a place) that it was made for. */
  readonly place: object | undefined;
  /** nginx finds it only once the whole http block has been read. */
  readonly stage: "complete" | undefined;
  /** What else is wrong with the configuration, where all of it was looked for. */
  others: readonly ConfigError[] = [];

  constructor(message: string, place?: { readonly file: string; readonly line: number }, stage?: "complete") {
    super(message);
    this.name = "ConfigError";
    this.file = place?.file;
    this.line = place?.line;
    this.place = place;
    this.stage = stage;
  }

  override toString(): string {
    if (this.file === undefined) return this.message;
    // Line 0 is the `-g` option, which has no lines: "… in command line".
    return this.line ? `${this.message} in ${this.file}:${this.line}` : `${this.message} in ${this.file}`;
  }
}
