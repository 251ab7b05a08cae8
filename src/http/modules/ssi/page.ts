import { ModuleContext } from "../../core/module_context.ts";
import type { Request } from "../../core/request.ts";

/** A part of a page that an `include` shows in place of an empty or failed answer; a byte string. */
export interface Block {
  readonly name: string;
  text: string;
}

/** What the variables and blocks of a page may come to: a backend's page could double a variable with each command. */
const MOST_KEPT = 16 * 1024 * 1024;

/** What a request and its subrequests share: nginx keeps it in the main request's context. Strings are byte strings. */
export class Page {
  private readonly variables = new Map<string, string>();
  private readonly blocks = new Map<string, Block>();
  /** Of the last regex that matched in an `if`. */
  private captures: readonly string[] = [];
  private kept = 0;

  /** The value of a variable that a command has set, or of a capture. */
  get(name: string): string | undefined {
    return this.capture(name) ?? this.variables.get(name);
  }

  /** False if it would be too much. A capture cannot be set. */
  set(name: string, value: string): boolean {
    if (this.capture(name) !== undefined) return true;
    const growth = value.length - (this.variables.get(name)?.length ?? -name.length);
    if (!this.keep(growth)) return false;
    this.variables.set(name, value);
    return true;
  }

  matched(captures: readonly string[]): void {
    this.captures = captures;
  }

  /** A new block; of several with the same name, only the first is found. */
  newBlock(name: string): Block {
    const block = { name, text: "" };
    if (!this.blocks.has(name) && this.keep(name.length)) this.blocks.set(name, block);
    return block;
  }

  findBlock(name: string): Block | undefined {
    return this.blocks.get(name);
  }

  /** False if it would be too much. */
  append(block: Block, text: string): boolean {
    if (!this.keep(text.length)) return false;
    block.text += text;
    return true;
  }

  private capture(name: string): string | undefined {
    return name.length === 1 && name >= "0" && name <= "9" ? this.captures[Number(name)] : undefined;
  }

  private keep(growth: number): boolean {
    if (this.kept + growth > MOST_KEPT) return false;
    this.kept += growth;
    return true;
  }
}

const pages = new ModuleContext<Page>();

export function pageOf({ main }: Request): Page {
  let page = pages.get(main);
  if (page === undefined) {
    page = new Page();
    pages.set(main, page);
  }
  return page;
}
