import { writeWhole } from "../../sys/write.ts";
import type { Tool, ToolRequest } from "../application.ts";
import { ask } from "./client.ts";

/** What `holdfast NAME …` was given: options as nginx's, and words. */
export interface ToolArguments {
  readonly options: readonly string[];
  readonly words: readonly string[];
}

/** `-c`, `-p`, `-g` and `-e` may stand anywhere; what follows `--` are words. */
export function toolArguments(args: readonly string[]): ToolArguments {
  const options: string[] = [];
  const words: string[] = [];
  for (let i = 0; i < args.length; i++) {
    const arg = args[i];
    if (arg === "--") {
      words.push(...args.slice(i + 1));
      break;
    }
    if (/^-[cpge]$/.test(arg)) options.push(arg, ...args.slice(++i, i + 1));
    else if (/^-[cpge?h]/.test(arg)) options.push(arg);
    else words.push(arg);
  }
  return { options, words };
}

/** Asks at the control socket, and prints what is answered. Returns the exit status. */
export async function runTool({ request, show, heading, unbroken }: ToolRequest, path: string): Promise<number> {
  let headed = heading === undefined;
  const failed = await ask(path, request, (line) => {
    if (!headed) print(heading ?? "");
    headed = true;
    print(show(line), unbroken);
  });
  return failed === undefined ? 0 : refuseTool(failed);
}

export function refuseTool(sentence: string): number {
  writeWhole(2, Buffer.from(`holdfast: ${sentence}\n`, "latin1"));
  return 1;
}

/** Control characters, those above 0x7f in UTF-8, too. */
const UNSHOWN = /[^\n -~\x80-\xff]|\xc2[\x80-\x9f]/g;

function escaped(unit: string): string {
  return `\\x${unit.charCodeAt(0).toString(16).padStart(2, "0")}`;
}

/** A line at least, unless it is a piece of one; what is no text for a terminal is shown as `\x1b`. */
function print(text: string, unbroken = false): void {
  const shown = text.replace(UNSHOWN, (units) => units.replace(/./gs, escaped));
  writeWhole(1, Buffer.from(unbroken ? shown : `${shown}\n`, "latin1"));
}

/** The lines of all tools for -?. */
export function toolLines(tools: readonly Tool[]): readonly string[] {
  return tools.flatMap(({ name, usage }) => usage.map(([words, doc]) => `  ${`${name} ${words}`.padEnd(40)} : ${doc}`));
}
