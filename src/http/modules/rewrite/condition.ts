import type { Stats } from "node:fs";
import { fail, type Scope } from "../../../config/schema.ts";
import type { Directive } from "../../../config/types.ts";
import type { CompiledRegex } from "../../../regex/regex.ts";
import { variableText } from "../../../script/variables.ts";
import type { Request } from "../../core/request.ts";
import { whenVariablesKnown } from "../../core/script.ts";
import { testFile } from "../../files/file_test.ts";
import { compiledRegex, matchRegex } from "./regex.ts";
import { scriptValue } from "./value.ts";

/** The condition of an `if`. */
export interface Condition {
  /** Its regex, whose named groups are variables. */
  readonly regex: CompiledRegex | undefined;
  /** `quote`: captures in its strings are escaped; `log`: rewrite_log is on. */
  readonly holds: (request: Request, quote: boolean, log: boolean) => boolean;
}

/** Reads what is between the parentheses (ngx_http_rewrite_if_condition), with nginx's errors. */
export function readCondition(scope: Scope, at: Directive): Condition {
  const words = [...at.args];
  let cur = 0;
  let last = words.length - 1;
  if (!words[0].startsWith("(")) invalid(at, words[0]);
  if (words[0].length === 1) cur = 1;
  else words[0] = words[0].slice(1);

  if (!words[last].endsWith(")")) invalid(at, words[last]);
  if (words[last].length === 1) last--;
  else words[last] = words[last].slice(0, -1);

  const word = words[cur] ?? "";
  if (word.length > 1 && word.startsWith("$")) {
    if (cur !== last && cur + 2 !== last) invalid(at, word);
    const value = variable(scope, at, word.slice(1));
    if (cur === last) return { regex: undefined, holds: (request) => isTrue(value(request)) };
    return comparison(scope, at, value, words[cur + 1], words[last]);
  }
  if (/^!?-.$/s.test(word)) {
    if (cur + 1 !== last) invalid(at, word);
    return fileTest(scope, at, word, words[last]);
  }
  return invalid(at, word);
}

function invalid(at: Directive, word: string): never {
  return fail(at, `invalid condition "${word}"`);
}

/** True in nginx: neither empty nor "0". */
function isTrue(value: string): boolean {
  return value !== "" && value !== "0";
}

/** A variable whose name is not checked here: if it is invalid, it is an unknown variable. */
function variable(scope: Scope, at: Directive, name: string): (request: Request) => string {
  let get = (_request: Request): string => "";
  whenVariablesKnown(scope, (variables) => {
    const used = variables.use(name, at);
    get = (request) => variableText(request, used);
  });
  return (request) => get(request);
}

function comparison(
  scope: Scope,
  at: Directive,
  value: (request: Request) => string,
  operator: string,
  operand: string,
): Condition {
  if (operator === "=" || operator === "!=") {
    const other = scriptValue(scope, at, operand);
    const equal = operator === "=";
    return {
      regex: undefined,
      holds: (request, quote) => {
        const left = value(request);
        return (left === (other.constant ?? other.render(request, quote))) === equal;
      },
    };
  }
  if (!/^!?~\*?$/.test(operator)) fail(at, `unexpected "${operator}" in condition`);
  const regex = compiledRegex(at, operand, operator.endsWith("*"));
  const wanted = !operator.startsWith("!");
  return {
    regex,
    holds: (request, _quote, log) => matchRegex(request, regex, value(request), log) === wanted,
  };
}

const TESTS: Readonly<Record<string, (stats: Stats) => boolean>> = {
  f: (stats) => stats.isFile(),
  d: (stats) => stats.isDirectory(),
  e: (stats) => stats.isFile() || stats.isDirectory(),
  x: (stats) => (stats.mode & 0o100) !== 0,
};

function fileTest(scope: Scope, at: Directive, operator: string, operand: string): Condition {
  const path = scriptValue(scope, at, operand);
  const test = TESTS[operator.slice(-1)];
  if (test === undefined) invalid(at, operator);
  const wanted = !operator.startsWith("!");
  return {
    regex: undefined,
    holds: (request, quote) => {
      const stats = testFile(request, path.constant ?? path.render(request, quote));
      return (stats !== undefined && test(stats)) === wanted;
    },
  };
}
