import type { Scope } from "../../../config/schema.ts";
import type { Directive } from "../../../config/types.ts";
import { constantOf, type Part, splitTemplate } from "../../../script/template.ts";
import { variableText } from "../../../script/variables.ts";
import { ESCAPE_ARGS, escapeUri } from "../../../wire/escape.ts";
import type { Request } from "../../core/request.ts";
import { type Variable, type Variables, whenVariablesKnown } from "../../core/script.ts";

/**
 * A string in a directive of the rewrite module. Unlike other strings with variables, its captures are escaped in
 * arguments and redirects if the request's path was decoded (ngx_http_script_copy_capture_code).
 */
export interface ScriptValue {
  readonly constant: string | undefined;
  /** `quote`: captures are escaped everywhere. */
  render: (request: Request, quote: boolean) => string;
}

/** Reads a value. Invalid variable names are errors now, unknown variables when the http block is complete. */
export function scriptValue(scope: Scope, at: Directive, text: string): ScriptValue {
  const parts = splitTemplate(text, at);
  const constant = constantOf(parts);
  const value: ScriptValue = { constant, render: () => constant ?? "" };
  if (constant === undefined) {
    whenVariablesKnown(scope, (variables) => {
      const steps = bound(parts, variables, at);
      value.render = (request, quote) => joined(request, steps, quote);
    });
  }
  return value;
}

/** The replacement of a `rewrite`. */
export interface Replacement {
  /** The path, or the whole of a redirect. */
  readonly uri: ScriptValue;
  /** The text behind the first `?`, whose captures are always escaped; undefined without one, and in a redirect. */
  readonly args: ScriptValue | undefined;
  /** The text has a `?`: further arguments are appended with `&`. */
  readonly question: boolean;
}

/** Reads a replacement; a redirect is not split. */
export function readReplacement(scope: Scope, at: Directive, text: string, redirect: boolean): Replacement {
  const question = text.indexOf("?");
  if (redirect || question < 0) return { uri: scriptValue(scope, at, text), args: undefined, question: question >= 0 };
  return {
    uri: scriptValue(scope, at, text.slice(0, question)),
    args: scriptValue(scope, at, text.slice(question + 1)),
    question: true,
  };
}

type Step = string | number | Variable;

function bound(parts: readonly Part[], variables: Variables, at: Directive): readonly Step[] {
  return parts.map((part) => {
    if ("literal" in part) return part.literal;
    return "capture" in part ? part.capture : variables.use(part.variable, at);
  });
}

function joined(request: Request, steps: readonly Step[], quote: boolean): string {
  const escaping = quote && (request.quotedUri || request.plusInUri);
  let text = "";
  for (const step of steps) {
    if (typeof step === "string") {
      text += step;
    } else if (typeof step === "number") {
      const capture = request.captures[step] ?? "";
      text += escaping ? escapeUri(capture, ESCAPE_ARGS) : capture;
    } else {
      text += variableText(request, step);
    }
  }
  return text;
}
