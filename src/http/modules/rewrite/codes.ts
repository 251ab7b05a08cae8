import type { CompiledRegex } from "../../../regex/regex.ts";
import { UNESCAPE_REDIRECT, unescapeUri } from "../../../wire/escape.ts";
import { extenOf } from "../../../wire/uri.ts";
import { OK } from "../../core/codes.ts";
import { discardBody } from "../../core/discard_body.ts";
import { sendText } from "../../core/engine.ts";
import { logError } from "../../core/log_context.ts";
import type { Request } from "../../core/request.ts";
import type { Template, Variable } from "../../core/script.ts";
import { setContentType } from "../../files/content_type.ts";
import type { Condition } from "./condition.ts";
import type { IfBlock } from "./if_block.ts";
import { matchRegex } from "./regex.ts";
import type { Replacement, ScriptValue } from "./value.ts";

/** The state of one run of a location's codes. A run never waits and never nests, so one object serves all. */
export interface Run {
  /** What the handler returns when the codes end. */
  status: number;
  /** Captures in `set` and `if` are escaped until a `rewrite` has matched, as nginx's script engine happens to do. */
  quote: boolean;
  log: boolean;
}

/** A compiled directive: does its work and returns the index of the next one; END stops the run. */
export type Code = (request: Request, run: Run) => number;

export const END = -1;

export interface RewriteRule {
  readonly regex: CompiledRegex;
  readonly replacement: Replacement;
  /** The status of a redirect, or 0. */
  readonly redirect: number;
  /** `break`: the URI is changed without another search for a location. */
  readonly breaks: boolean;
  /** No directive after this one runs if it matches. */
  readonly last: boolean;
  /** The request's arguments are kept (the replacement has no trailing `?`). */
  readonly keepsArgs: boolean;
}

export function rewriteCode(rule: RewriteRule, next: number): Code {
  const { regex, redirect } = rule;
  const after = rule.last ? END : next;
  return (request, run) => {
    if (!matchRegex(request, regex, request.uri, run.log)) return next;
    request.internal = true;
    request.unparsedValid = false;
    if (rule.breaks) request.validLocation = false;
    request.uriChanged = !rule.breaks;
    run.quote = false;
    if (redirect !== 0) {
      run.status = redirect;
      redirectTo(request, rule, run.log);
      return after;
    }
    if (changeUri(request, rule, run.log)) return after;
    run.status = 500;
    return END;
  };
}

function redirectTo(request: Request, { replacement, keepsArgs }: RewriteRule, log: boolean): void {
  let to = unescapeUri(replacement.uri.render(request, true), UNESCAPE_REDIRECT);
  if (keepsArgs && request.args !== "") to += (replacement.question ? "&" : "?") + request.args;
  if (log) logError(request, "notice", `rewritten redirect: "${to}"`);
  request.response.location = to;
}

function changeUri(request: Request, { replacement, keepsArgs }: RewriteRule, log: boolean): boolean {
  const uri = replacement.uri.render(request, false);
  if (replacement.args !== undefined) {
    const args = replacement.args.render(request, true);
    request.args = keepsArgs && request.args !== "" ? `${args}&${request.args}` : args;
  } else if (!keepsArgs) {
    request.args = "";
  }
  if (log) logError(request, "notice", `rewritten data: "${uri}", args: "${request.args}"`);
  request.uri = uri;
  if (uri === "") {
    logError(request, "error", "the rewritten URI has a zero length");
    return false;
  }
  request.exten = extenOf(uri);
  return true;
}

/** `if`: goes on with its block and, in a location, puts the block's settings in force; or jumps behind the block. */
export function ifCode(condition: Condition, block: IfBlock | undefined, next: number, otherwise: number): Code {
  return (request, run) => {
    if (!condition.holds(request, run.quote, run.log)) return otherwise;
    block?.enter(request);
    return next;
  };
}

export function setCode(variable: Variable, value: ScriptValue, next: number): Code {
  const { index, set } = variable;
  if (set !== undefined) {
    return (request, run) => {
      set(request, value.constant ?? value.render(request, run.quote));
      return next;
    };
  }
  return (request, run) => {
    request.variables[index] = value.constant ?? value.render(request, run.quote);
    return next;
  };
}

export const breakCode: Code = (request) => {
  if (request.uriChanged) {
    request.validLocation = false;
    request.uriChanged = false;
  }
  return END;
};

const WITH_LOCATION: ReadonlySet<number> = new Set([301, 302, 303, 307, 308]);

export function returnCode(status: number, text: Template): Code {
  if (status >= 400 && text.text === "") {
    return (_request, run) => {
      run.status = status;
      return END;
    };
  }
  const redirects = WITH_LOCATION.has(status);
  return (request, run) => {
    const broken = discardBody(request);
    if (broken !== OK) {
      run.status = broken;
      return END;
    }
    request.response.status = status;
    const value = text.constant ?? text.render(request);
    if (redirects) {
      request.response.location = value;
      run.status = status;
      return END;
    }
    setContentType(request);
    run.status = sendText(request, status, undefined, value);
    return END;
  };
}
