import { closeSync, existsSync, fstatSync, openSync, readFileSync } from "node:fs";
import { errnoCode, errnoText } from "../sys/errno.ts";
import { fullName, osPath } from "../sys/paths.ts";
import { glob } from "./glob.ts";
import { Lexer } from "./lexer.ts";
import { OpenBlock, statement } from "./long_block.ts";
import { type Block, ConfigError, type Directive } from "./types.ts";

/** A directive whose block is being read. */
interface OpenDirective extends Directive {
  block: Block;
  endLine?: number;
}

/** The file name of `-g` directives in error messages. */
const COMMAND_LINE = "command line";

/**
 * In nginx a file that includes itself fails once no descriptor is left. Includes nested this deep fail the same way,
 * whatever the limit of this process.
 */
const DEEPEST = 1000;

/**
 * Reads configuration files into directives. What was read before a syntax error stays in `directives` and `files`, with
 * the blocks that were open, since nginx checks each directive as it reads it and may have found an error earlier.
 */
export class Parser {
  readonly files: { path: string; text: string }[] = [];
  private readonly root = new OpenBlock();
  private readonly prefix: string;
  private depth = 0;

  /** `prefix`: what relative `include` paths are relative to; ends with "/". */
  constructor(prefix: string) {
    this.prefix = prefix;
  }

  get directives(): readonly Directive[] {
    return [...this.root.directives];
  }

  /** The `-g` option's directives. */
  option(text: string): void {
    this.parse(new Lexer(text, COMMAND_LINE, undefined), this.root);
  }

  /** A file with its includes. */
  file(path: string): void {
    this.parseFile(path, this.root, undefined);
  }

  private parseFile(path: string, into: OpenBlock, from: Lexer | undefined): void {
    if (++this.depth > DEEPEST) throw failed(`open() "${path}" failed`, "EMFILE", from);
    const text = from === undefined ? readConfig(path, from) : this.included(path, into, from);
    if (text === undefined) return;
    if (!this.files.some((file) => file.path === path)) this.files.push({ path, text });
    this.parse(new Lexer(text, path, { at: 0, line: 1 }), into);
    this.depth--;
  }

  /** The text of an included file. One that cannot be read becomes a directive that is `failed`; reading goes on. */
  private included(path: string, into: OpenBlock, from: Lexer): string | undefined {
    try {
      return readConfig(path, from);
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error;
      into.add({ ...statement(from), failed: error });
      this.depth--;
      return undefined;
    }
  }

  private parse(lexer: Lexer, into: OpenBlock): void {
    const open: { readonly directive: OpenDirective; readonly block: OpenBlock }[] = [];
    try {
      this.parseBlocks(lexer, into, open);
    } finally {
      for (const { directive, block } of open) directive.block = block.directives;
    }
  }

  private parseBlocks(
    lexer: Lexer,
    into: OpenBlock,
    open: { readonly directive: OpenDirective; readonly block: OpenBlock }[],
  ): void {
    let list = into;
    for (;;) {
      switch (lexer.next()) {
        case "end":
          if (open.length > 0) throw lexer.error('unexpected end of file, expecting "}"');
          return;

        case "close": {
          const closed = open.pop();
          if (closed === undefined) throw lexer.error('unexpected "}"');
          closed.directive.block = closed.block.directives;
          closed.directive.endLine = lexer.line;
          list = open.at(-1)?.block ?? into;
          break;
        }

        case "directive":
          if (lexer.words[0] === "include" && lexer.words.length === 2) this.include(lexer.words[1], list, lexer);
          else if (lexer.words[0] === "state" && open.at(-1)?.directive.name === "upstream") this.state(list, lexer);
          else list.addStatement(lexer);
          break;

        case "block": {
          if (lexer.isOption) throw lexer.error("block directives are not supported in -g option");
          const directive: OpenDirective = { ...statement(lexer), block: [] };
          list.add(directive);
          list = new OpenBlock();
          open.push({ directive, block: list });
        }
      }
    }
  }

  private include(pattern: string, into: OpenBlock, from: Lexer): void {
    const path = fullName(pattern, this.prefix);
    if (!/[*?[]/.test(path)) this.parseFile(path, into, from);
    else for (const match of glob(path)) this.parseFile(match, into, from);
  }

  /** `state` of an upstream: its servers are in a file, which need not be there. */
  private state(into: OpenBlock, lexer: Lexer): void {
    const at = statement(lexer);
    if (at.args.length !== 1) {
      into.add(at);
      return;
    }
    const path = fullName(at.args[0], this.prefix);
    into.add({ ...at, args: [path] });
    if (existsSync(osPath(path))) this.parseFile(path, into, lexer);
  }
}

function failed(call: string, code: string, place: Lexer | undefined): ConfigError {
  return new ConfigError(`${call} ${errnoText(code)}`, place);
}

function readConfig(path: string, from: Lexer | undefined): string {
  let fd: number;
  try {
    fd = openSync(osPath(path), "r");
  } catch (error) {
    throw failed(`open() "${path}" failed`, errnoCode(error) ?? "EIO", from);
  }
  try {
    if (fstatSync(fd).isDirectory()) throw failed(`pread() "${path}" failed`, "EISDIR", undefined);
    return readFileSync(fd, "latin1");
  } catch (error) {
    if (error instanceof ConfigError) throw error;
    throw failed(`pread() "${path}" failed`, errnoCode(error) ?? "EIO", undefined);
  } finally {
    closeSync(fd);
  }
}
