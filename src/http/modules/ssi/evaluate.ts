import { compileRegex, RegexMatchError } from "../../../regex/regex.ts";
import { lowercase } from "../../../wire/latin1.ts";
import { logError } from "../../core/log_context.ts";
import type { Context } from "./context.ts";

const DOLLAR = 0x24;
const BACKSLASH = 0x5c;

/** Strings that a page makes are no longer: variables in them could double with each command. */
const MOST_VALUE = 1024 * 1024;
/** What matching a regex counts as, beside other commands. */
const REGEX_WORK = 50;

/** The value of a variable, of the page or of the request; its name is in lower case. Undefined if it is not found. */
export function variableOf({ page, variables, request }: Context, name: string): string | undefined {
  return page.get(name) ?? variables.valueOf(request, name);
}

/** A text with its variables replaced and `\\`, `\'`, `\"` and `\$` unescaped; undefined after an error, which was logged. */
export function evaluate(context: Context, text: string): string | undefined {
  let value = "";
  let literal = "";
  let at = 0;
  while (at < text.length) {
    const code = text.charCodeAt(at);
    if (code === DOLLAR) {
      const variable = variableAt(context, text, at);
      if (variable === undefined) return undefined;
      value += literal + variable.value;
      literal = "";
      at = variable.end;
      if (value.length > MOST_VALUE) return tooLong(context, text);
      continue;
    }
    if (code !== BACKSLASH) {
      const end = endOfRun(text, at);
      literal += text.slice(at, end);
      at = end;
      continue;
    }
    // A backslash at the end is dropped, as in nginx.
    if (at + 1 === text.length) break;
    const next = text[at + 1];
    literal += "\\'\"$".includes(next) ? next : `\\${next}`;
    at += 2;
  }
  return value + literal;
}

function endOfRun(text: string, from: number): number {
  let at = from;
  for (; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code === DOLLAR || code === BACKSLASH) break;
  }
  return at;
}

const NAME = /[A-Za-z0-9_]*/y;

/** The value of `$name` or `${name}` at a place, and where it ends. */
function variableAt(context: Context, text: string, dollar: number): { value: string; end: number } | undefined {
  const bracket = text[dollar + 1] === "{";
  NAME.lastIndex = dollar + (bracket ? 2 : 1);
  const name = NAME.exec(text)?.[0] ?? "";
  let end = dollar + (bracket ? 2 : 1) + name.length;
  const closed = bracket && text[end] === "}";
  if (bracket && !closed && dollar + 2 < text.length) {
    logError(context.request, "error", `the closing bracket in "${name}" variable is missing`);
    return undefined;
  }
  if (name === "") {
    logError(context.request, "error", `invalid variable name in "${text}"`);
    return undefined;
  }
  if (closed) end++;
  return { value: variableOf(context, lowercase(name)) ?? "", end };
}

function tooLong({ request }: Context, text: string): undefined {
  logError(request, "error", `the value of "${text}" is too long`);
  return undefined;
}

// ---- expressions

const LEFT = /^[A-Za-z0-9${}_"']*/;

/** Whether an expression of `if` or `elif` holds; undefined after an error, which was logged. */
export function holds(context: Context, expr: string): boolean | undefined {
  const leftText = lowercase(LEFT.exec(expr)?.[0] ?? "");
  const left = evaluate(context, leftText);
  if (left === undefined) return undefined;
  const operation = skipSpaces(expr, leftText.length);
  if (operation === expr.length) return left !== "";
  const negative = expr.startsWith("!=", operation);
  if (!negative && expr[operation] !== "=") return invalid(context, leftText + expr.slice(leftText.length));

  const from = skipSpaces(expr, operation + (negative ? 2 : 1));
  const last = expr.length - 1;
  if (from < last && expr[from] === "/") {
    if (expr[last] !== "/") return invalid(context, leftText + expr.slice(leftText.length));
    const pattern = evaluate(context, expr.slice(from + 1, last));
    if (pattern === undefined) return undefined;
    const matches = matchRegex(context, pattern, left);
    return matches === undefined ? undefined : matches !== negative;
  }
  const right = evaluate(context, expr.slice(from < last && expr.startsWith("\\/", from) ? from + 1 : from));
  return right === undefined ? undefined : (left === right) !== negative;
}

function skipSpaces(text: string, from: number): number {
  let at = from;
  while (text[at] === " ") at++;
  return at;
}

function invalid({ request }: Context, expr: string): undefined {
  logError(request, "error", `invalid expression in "${expr}"`);
  return undefined;
}

/** Keeps the captures for `$0` to `$9`, and those with a name as variables. */
function matchRegex(context: Context, pattern: string, subject: string): boolean | undefined {
  const { page, request } = context;
  context.work += REGEX_WORK;
  const regex = compileRegex(pattern, false);
  if ("error" in regex) {
    logError(request, "error", regex.error);
    return undefined;
  }
  const captures: string[] = [];
  try {
    if (!regex.exec(subject, captures)) return false;
    if (regex.captures === 0) captureWhole(pattern, subject, captures);
  } catch (error) {
    if (!(error instanceof RegexMatchError)) throw error;
    logError(request, "alert", error.message);
    return undefined;
  }
  for (const { name, index } of regex.names) page.set(lowercase(name), captures[index] ?? "");
  page.matched(captures);
  return true;
}

/** A search without groups does not say where it matched, which is `$0`. */
function captureWhole(pattern: string, subject: string, captures: string[]): void {
  const grouped = compileRegex(`${pattern}()`, false);
  if (!("error" in grouped)) grouped.exec(subject, captures);
  captures.length = 1;
}
