import { ESCAPE_HTML, escapeHtml, escapeUri } from "../../../wire/escape.ts";
import { lowercase } from "../../../wire/latin1.ts";
import { logError } from "../../core/log_context.ts";
import { type Context, IN_ELSE, IN_IF } from "./context.ts";
import { evaluate, holds, variableOf } from "./evaluate.ts";
import { include } from "./include.ts";
import { MOST_PARAMS, type Param } from "./parser.ts";

/** Values by a command's list of parameters. */
type Values = readonly (string | undefined)[];

interface Command {
  readonly params: readonly string[];
  /** The first of the parameters has to be there. */
  readonly mandatory?: number;
  /** It needs an `if` before it. */
  readonly conditional?: typeof IN_IF | typeof IN_ELSE;
  /** It is done also where nothing is shown. */
  readonly always?: boolean;
  /** What was shown before is passed on first. */
  readonly flush?: boolean;
  /** False after an error, which was logged. */
  readonly run: (context: Context, values: Values) => boolean;
}

const COMMANDS: ReadonlyMap<string, Command> = new Map<string, Command>([
  ["include", { params: ["virtual", "file", "wait", "set", "stub"], flush: true, run: include }],
  ["echo", { params: ["var", "default", "encoding"], mandatory: 1, run: echo }],
  ["config", { params: ["errmsg", "timefmt"], run: config }],
  ["set", { params: ["var", "value"], mandatory: 2, run: set }],
  ["if", { params: ["expr"], mandatory: 1, run: startIf }],
  ["elif", { params: ["expr"], mandatory: 1, conditional: IN_IF, run: branch }],
  ["else", { params: [], conditional: IN_IF, run: elseBranch }],
  ["endif", { params: [], conditional: IN_ELSE, run: endIf }],
  ["block", { params: ["name"], mandatory: 1, run: startBlock }],
  ["endblock", { params: [], always: true, run: endBlock }],
]);

/** Does what a command says. False after an error, which was logged and is to be shown. */
export function runCommand(context: Context, name: string, params: readonly Param[]): boolean {
  const { output, block } = context;
  const command = COMMANDS.get(name);
  if (command === undefined) {
    if (!output) return true;
    return fail(context, `invalid SSI command: "${name}"`);
  }
  if (!output && command.always !== true) {
    // It runs when the block is shown.
    if (block !== undefined) return context.appendToBlock(commandText(name, params));
    if (command.conditional === undefined) return true;
  }
  if (command.conditional !== undefined && !context.allows(command.conditional)) {
    return fail(context, `invalid context of SSI command: "${name}"`);
  }
  const values = valuesOf(context, command, name, params);
  if (values === undefined) return false;
  if (command.flush === true) context.out.flush(0);
  return command.run(context, values);
}

function fail({ request }: Context, message: string): false {
  logError(request, "error", message);
  return false;
}

function commandText(name: string, params: readonly Param[]): string {
  let text = `<!--#${name}`;
  for (const { key, value } of params) text += ` ${key}="${value}"`;
  return `${text} -->`;
}

function valuesOf(context: Context, command: Command, name: string, params: readonly Param[]): Values | undefined {
  const { params: known, mandatory = 0 } = command;
  if (params.length > MOST_PARAMS) {
    fail(context, `too many SSI command parameters: "${name}"`);
    return undefined;
  }
  const values = new Array<string | undefined>(known.length).fill(undefined);
  for (const { key, value } of params) {
    const index = known.indexOf(key);
    if (index < 0) {
      fail(context, `invalid parameter name: "${key}" in "${name}" SSI command`);
      return undefined;
    }
    if (values[index] !== undefined) {
      fail(context, `duplicate "${key}" parameter in "${name}" SSI command`);
      return undefined;
    }
    values[index] = value;
  }
  for (let i = 0; i < mandatory; i++) {
    if (values[i] !== undefined) continue;
    fail(context, `mandatory "${known[i]}" parameter is absent in "${name}" SSI command`);
    return undefined;
  }
  return values;
}

const NONE = "(none)";

function echo(context: Context, [name = "", fallback = NONE, encoding]: Values): boolean {
  const value = variableOf(context, lowercase(name)) ?? fallback;
  if (value === "") return true;
  if (encoding === "none" || encoding === "url" || encoding === "entity") context.encoding = encoding;
  else if (encoding !== undefined) {
    logError(context.request, "error", `unknown encoding "${encoding}" in the "echo" command`);
  }
  context.out.put(encoded(value, context.encoding));
  return true;
}

function encoded(value: string, encoding: Context["encoding"]): string {
  switch (encoding) {
    case "none":
      return value;
    case "url":
      return escapeUri(value, ESCAPE_HTML);
    case "entity":
      return escapeHtml(value);
  }
}

function config(context: Context, [errmsg, timefmt]: Values): boolean {
  if (timefmt !== undefined) context.timefmt = timefmt;
  if (errmsg !== undefined) context.errmsg = errmsg;
  return true;
}

function set(context: Context, [name = "", text = ""]: Values): boolean {
  const value = evaluate(context, text);
  if (value === undefined) return false;
  if (context.page.set(lowercase(name), value)) return true;
  return fail(context, `too many variables and blocks at "${name}"`);
}

function startIf(context: Context, values: Values): boolean {
  if (context.inIf) return fail(context, 'the "if" command inside the "if" command');
  return branch(context, values);
}

function branch(context: Context, [expr = ""]: Values): boolean {
  if (context.hasChosen) {
    context.skipBranch();
    return true;
  }
  const value = holds(context, expr);
  if (value === undefined) return false;
  context.startBranch(value);
  return true;
}

function elseBranch(context: Context): boolean {
  context.elseBranch();
  return true;
}

function endIf(context: Context): boolean {
  context.endIf();
  return true;
}

function startBlock(context: Context, [name = ""]: Values): boolean {
  context.startBlock(name);
  return true;
}

function endBlock(context: Context): boolean {
  context.endBlock();
  return true;
}
