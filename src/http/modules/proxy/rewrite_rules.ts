import { fail, reachesOut, type Scope } from "../../../config/schema.ts";
import type { Directive } from "../../../config/types.ts";
import { type CompiledRegex, compileRegex, RegexMatchError } from "../../../regex/regex.ts";
import { assignCaptures, declareCaptures } from "../../../script/captures.ts";
import { logError } from "../../core/log_context.ts";
import type { Request } from "../../core/request.ts";
import { type Template, template, whenVariablesKnown } from "../../core/script.ts";

/** Applies a rule to a value; undefined if it does not match. */
export type RewriteRule = (request: Request, value: string) => string | undefined;

/** Compiles a pattern after `~` or `~*`, and declares its named groups. */
export function rewriteRegex(at: Directive, scope: Scope, pattern: string): CompiledRegex {
  const caseless = pattern.startsWith("~*");
  const compiled = compileRegex(pattern.slice(caseless ? 2 : 1), caseless);
  if ("error" in compiled) fail(at, compiled.error);
  if (compiled.names.length > 0) {
    reachesOut(scope, at);
    whenVariablesKnown(scope, (variables) => declareCaptures(compiled, variables, at));
  }
  return compiled;
}

/** Matches a value; the captures become the request's. */
export function matchCaptures(request: Request, regex: CompiledRegex, value: string): boolean {
  const captures: string[] = [];
  try {
    if (!regex.exec(value, captures)) return false;
  } catch (error) {
    // A field of the server that cannot be searched in bounded time is left unchanged.
    if (!(error instanceof RegexMatchError)) throw error;
    logError(request, "alert", error.message);
    return false;
  }
  request.captures = captures;
  assignCaptures(request, regex, captures);
  return true;
}

/**
 * `pattern replacement`: the pattern is a regex after `~`, else text; `matches` returns how much of the value it
 * covers.
 */
export function rewriteRule(
  at: Directive,
  scope: Scope,
  covers: (value: string, pattern: string) => number,
): RewriteRule {
  const [pattern, text] = at.args;
  if (pattern.startsWith("~")) {
    const regex = rewriteRegex(at, scope, pattern);
    const replacement = template(scope, at, text);
    return (request, value) => (matchCaptures(request, regex, value) ? replacement.render(request) : undefined);
  }
  const wanted: Template = template(scope, at, pattern);
  const replacement = template(scope, at, text);
  return (request, value) => {
    const length = covers(value, wanted.render(request));
    return length < 0 ? undefined : replacement.render(request) + value.slice(length);
  };
}

/** A plain prefix. */
export function prefixLength(value: string, pattern: string): number {
  return value.startsWith(pattern) ? pattern.length : -1;
}

/** Applies the first rule that matches. */
export function applyRules(request: Request, rules: readonly RewriteRule[], value: string): string | undefined {
  for (const rule of rules) {
    const rewritten = rule(request, value);
    if (rewritten !== undefined) return rewritten;
  }
  return undefined;
}
