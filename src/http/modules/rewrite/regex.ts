import { fail } from "../../../config/schema.ts";
import type { Directive } from "../../../config/types.ts";
import { type CompiledRegex, compileRegex } from "../../../regex/regex.ts";
import { assignCaptures } from "../../../script/captures.ts";
import { logError } from "../../core/log_context.ts";
import type { Request } from "../../core/request.ts";

/** Compiles a pattern of the configuration; throws PCRE's error message for an invalid one. */
export function compiledRegex(at: Directive, pattern: string, caseless: boolean): CompiledRegex {
  const regex = compileRegex(pattern, caseless);
  return "error" in regex ? fail(at, regex.error) : regex;
}

const NONE: readonly string[] = [];

/** Matches a subject. The captures become the request's; if nothing matches, it has none. */
export function matchRegex(request: Request, regex: CompiledRegex, subject: string, log: boolean): boolean {
  const captures: string[] = [];
  const matches = regex.exec(subject, captures);
  if (matches) assignCaptures(request, regex, captures);
  request.captures = matches ? captures : NONE;
  if (log) {
    const what = matches ? "matches" : "does not match";
    logError(request, "notice", `"${regex.pattern}" ${what} "${subject}"`);
  }
  return matches;
}
