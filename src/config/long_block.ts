import { Lexer } from "./lexer.ts";
import type { Directive } from "./types.ts";

/** Directives without blocks that stand one behind the other in one file, as the text from `at` to `end`. */
export interface Run {
  readonly file: string;
  readonly text: string;
  readonly at: number;
  readonly end: number;
  /** The line at `at`. */
  readonly line: number;
  readonly count: number;
}

/**
 * A block of very many directives without blocks (`geo`, `map`). Kept as text, since a hundred thousand objects would take more
 * memory, and more time of the garbage collector, than the reading of their text. Each iteration makes them anew.
 */
export class LongBlock implements Iterable<Directive> {
  readonly runs: readonly Run[];
  readonly length: number;

  constructor(runs: readonly Run[]) {
    this.runs = runs;
    this.length = runs.reduce((sum, { count }) => sum + count, 0);
  }

  *[Symbol.iterator](): Iterator<Directive> {
    for (const { file, text, at, line, count } of this.runs) {
      const lexer = new Lexer(text, file, { at, line });
      for (let i = 0; i < count; i++) {
        lexer.next();
        yield statement(lexer);
      }
    }
  }
}

/** The directive that the lexer has read last. */
export function statement(lexer: Lexer): Directive {
  const { words, file, line } = lexer;
  // Destructuring would make an array with room for more, and there are many directives.
  return { name: words[0], args: words.slice(1), file, line };
}

/** From how many directives on a block is long. */
const LONG = 1000;

/** The directives of a block while it is read. */
export class OpenBlock {
  #list: Directive[] = [];
  #runs: { file: string; text: string; at: number; end: number; line: number; count: number }[] = [];
  /** Only the runs are kept. */
  #long = false;
  /** It may still become long: all directives are in runs. */
  #plain = true;

  /** Adds the directive without a block that the lexer has read. */
  addStatement(lexer: Lexer): void {
    if (!this.#long) this.#list.push(statement(lexer));
    if (!this.#plain) return;
    const last = this.#runs.at(-1);
    if (last !== undefined && last.end === lexer.start && last.file === lexer.file && last.text === lexer.text) {
      last.count++;
      last.end = lexer.at;
    } else {
      const { file, text, start: at, at: end, startLine: line } = lexer;
      this.#runs.push({ file, text, at, end, line, count: 1 });
    }
    if (this.#list.length < LONG) return;
    this.#long = true;
    this.#list = [];
  }

  /** Adds any other directive. */
  add(directive: Directive): void {
    if (this.#long) this.#list = [...new LongBlock(this.#runs)];
    this.#long = false;
    this.#plain = false;
    this.#runs = [];
    this.#list.push(directive);
  }

  get directives(): readonly Directive[] | LongBlock {
    return this.#long ? new LongBlock(this.#runs) : this.#list;
  }
}
