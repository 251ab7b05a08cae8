import type { LongBlock } from "./long_block.ts";
import type { HalfSealedBlock, SealedBlock } from "./sealed_block.ts";

/** A parsed nginx.conf. */

/** A directive as written. All strings are byte strings (latin1): a character is a byte of the file. */
export interface Directive {
  readonly name: string;
  /** The arguments after unquoting and unescaping, without the name. */
  readonly args: readonly string[];
  /** The path of the file as nginx would print it. */
  readonly file: string;
  /** The line of the terminating `;` or `{`, as nginx counts it. */
  readonly line: number;
  /** The directives between `{` and `}`; absent for a directive that ends with `;`. */
  readonly block?: Block;
  /** The line of the closing `}`; absent without a block, and after a syntax error inside it. */
  readonly endLine?: number;
  /** An `include` of a file that cannot be read. */
  readonly failed?: ConfigError;
}

/** The directives of a block. */
export type Block = readonly Directive[] | LongBlock | SealedBlock | HalfSealedBlock;

/** A whole configuration. */
export interface ConfigTree {
  /** The files in the order read, each once: what `-T` dumps. */
  readonly files: readonly { readonly path: string; readonly text: string }[];
  readonly directives: readonly Directive[];
}

/** Contexts of directives. As in nginx's documentation `if` is two: in a server and in a location. */
export type Context =
  | "main"
  | "events"
  | "http"
  | "server"
  | "location"
  | "if in server"
  | "if in location"
  | "limit_except"
  | "upstream"
  | "acme_issuer"
  | "session_listen"
  | "cluster";

/**
 * An error in the configuration, in nginx's words. `toString` appends ` in FILE:LINE` to the message. Thrown while a
 * configuration is read or built; start, `-t` and reload log it as [emerg].
 */
export class ConfigError extends Error {
  readonly file: string | undefined;
  readonly line: number | undefined;
  /** The directive (or whatever has a file and line) that it is about. */
  readonly place: object | undefined;
  /** nginx finds it only after the end of the http block. */
  readonly stage: "complete" | undefined;
  /** The other errors of the configuration. */
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
    return this.file === undefined ? this.message : `${this.message} in ${placeText(this.file, this.line)}`;
  }
}

/** What stands behind "in". The `-g` option has no lines: "… in command line". */
export function placeText(file: string, line: number | undefined): string {
  return line ? `${file}:${line}` : file;
}
