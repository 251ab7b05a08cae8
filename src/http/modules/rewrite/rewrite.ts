import { directive, flag } from "../../../config/directives.ts";
import { refusalsOf } from "../../../config/errors.ts";
import { type DirectiveSpec, fail, type Scope } from "../../../config/schema.ts";
import type { Context, Directive } from "../../../config/types.ts";
import { declareCaptures } from "../../../script/captures.ts";
import { defineModule, type HttpModule, type Place } from "../../conf/module.ts";
import { DECLINED } from "../../core/codes.ts";
import { logError } from "../../core/log_context.ts";
import { PHASE } from "../../core/phases.ts";
import type { Request } from "../../core/request.ts";
import { type Template, template, type Variable, type Variables } from "../../core/script.ts";
import {
  breakCode,
  type Code,
  END,
  ifCode,
  type RewriteRule,
  type Run,
  returnCode,
  rewriteCode,
  setCode,
} from "./codes.ts";
import { type Condition, readCondition } from "./condition.ts";
import { IfBlock } from "./if_block.ts";
import { compiledRegex } from "./regex.ts";
import { readReplacement, type ScriptValue, scriptValue } from "./value.ts";

interface SetDirective {
  readonly kind: "set";
  readonly name: string;
  readonly value: ScriptValue;
}

/** A directive as read, before its position among the codes is known. */
type Read =
  | { readonly kind: "rewrite"; readonly rule: RewriteRule }
  | { readonly kind: "return"; readonly status: number; readonly text: Template }
  | SetDirective
  | { readonly kind: "if"; readonly condition: Condition }
  | { readonly kind: "break" };

/** By directive: a scope's `order` says where each of them is. */
const known = new WeakMap<Directive, Read>();

const EVERYWHERE: readonly Context[] = ["server", "if in server", "location", "if in location"];
const WITH_HTTP: readonly Context[] = ["http", ...EVERYWHERE];

function code(
  options: Pick<DirectiveSpec<boolean>, "in" | "args" | "syntax" | "doc" | "block">,
  read: (at: Directive, scope: Scope) => Read,
): DirectiveSpec<boolean> {
  return directive<boolean>({
    ...options,
    initial: () => false,
    inherit: false,
    repeat: true,
    read(at, scope) {
      known.set(at, read(at, scope));
      return true;
    },
  });
}

/** Whether a replacement is an absolute URL, which makes it a redirect. */
function isUrl(text: string): boolean {
  return text.startsWith("http://") || text.startsWith("https://") || text.startsWith("$scheme");
}

function readRewrite(at: Directive, scope: Scope): Read {
  const [pattern, written, mode] = at.args;
  if (written === "") fail(at, "empty replacement");
  const regex = compiledRegex(at, pattern, false);
  const keepsArgs = !written.endsWith("?");
  const text = keepsArgs ? written : written.slice(0, -1);
  let redirect = isUrl(text) ? 302 : 0;
  if (mode === "redirect") redirect = 302;
  else if (mode === "permanent") redirect = 301;
  else if (mode !== undefined && mode !== "last" && mode !== "break") fail(at, `invalid parameter "${mode}"`);
  const replacement = readReplacement(scope, at, text, redirect !== 0);
  const last = redirect !== 0 || mode !== undefined;
  return { kind: "rewrite", rule: { regex, replacement, redirect, breaks: mode === "break", last, keepsArgs } };
}

function readReturn(at: Directive, scope: Scope): Read {
  const [first, second] = at.args;
  if (!/^\d+$/.test(first)) {
    if (second !== undefined || !isUrl(first)) fail(at, `invalid return code "${first}"`);
    return { kind: "return", status: 302, text: template(scope, at, first) };
  }
  const status = Number(first);
  if (status > 999) fail(at, `invalid return code "${first}"`);
  return { kind: "return", status, text: template(scope, at, second ?? "") };
}

function readSet(at: Directive, scope: Scope): Read {
  const [name, text] = at.args;
  if (!name.startsWith("$")) fail(at, `invalid variable name "${name}"`);
  if (name === "$") fail(at, 'invalid variable name "$"');
  return { kind: "set", name: name.slice(1), value: scriptValue(scope, at, text) };
}

interface RewriteSettings {
  readonly codes: readonly Code[];
  readonly log: boolean;
  readonly warn: boolean;
}

/** Compiles a block's directives one after another, with those of nested `if` blocks in between, which are added to `blocks`. */
function compile(place: Place, scope: Scope, codes: Code[], blocks: IfBlock[]): void {
  const refusals = refusalsOf(scope);
  for (const { directive, child } of scope.order) {
    refusals.attempt(() => compileDirective(place, directive, child, codes, blocks));
  }
}

function compileDirective(
  place: Place,
  at: Directive,
  child: Scope | undefined,
  codes: Code[],
  blocks: IfBlock[],
): void {
  const { variables } = place.http;
  const read = known.get(at);
  if (read === undefined) return;
  const here = codes.length;
  switch (read.kind) {
    case "rewrite":
      declareCaptures(read.rule.regex, variables, at);
      codes.push(rewriteCode(read.rule, here + 1));
      break;
    case "return":
      codes.push(returnCode(read.status, read.text));
      break;
    case "set":
      codes.push(setCode(assigned(variables, read, at), read.value, here + 1));
      break;
    case "break":
      codes.push(breakCode);
      break;
    case "if": {
      if (child === undefined) break;
      const { regex } = read.condition;
      if (regex !== undefined) declareCaptures(regex, variables, at);
      // A placeholder: where the block ends is known after its codes were compiled.
      codes.push(breakCode);
      const block = child.context === "if in location" ? new IfBlock(place.block(child), child) : undefined;
      if (block !== undefined) blocks.push(block);
      compile(place, child, codes, blocks);
      codes[here] = ifCode(read.condition, block, here + 1, codes.length);
    }
  }
}

function assigned(variables: Variables, { name }: SetDirective, at: Directive): Variable {
  return variables.assignable(name, at, uninitialized(name));
}

/** The value of a variable that no `set` has set yet. */
function uninitialized(name: string): (request: Request) => string {
  const lower = name.toLowerCase();
  return (request) => {
    if (rewrite.of(request.location).warn) logError(request, "warn", `using uninitialized "${lower}" variable`);
    return "";
  };
}

const run: Run = { status: DECLINED, quote: true, log: false };

function runCodes(request: Request): number {
  const { location } = request;
  // The server level's directives have run in the server rewrite phase.
  if (request.phase === PHASE.rewrite && location.kind === "server") return DECLINED;
  const { codes, log } = rewrite.of(location);
  run.status = DECLINED;
  run.quote = true;
  run.log = log || location.errorLog.wants("debug");
  for (let at = 0; at !== END && at < codes.length; ) at = codes[at](request, run);
  return run.status;
}

export const rewrite: HttpModule<RewriteSettings> = defineModule({
  name: "http_rewrite",
  directives: {
    rewrite: code(
      {
        in: EVERYWHERE,
        args: [2, 3],
        syntax: "regex replacement [last | break | redirect | permanent]",
        doc: "Changes the URI where it matches: `last` searches for a location again, `break` stays in this one, `redirect` (302) and `permanent` (301) tell the client. Arguments are kept unless the replacement ends with `?`.",
      },
      readRewrite,
    ),
    return: code(
      {
        in: EVERYWHERE,
        args: [1, 2],
        syntax: "code [text] | code URL | URL",
        doc: "Answers at once: with a text, a redirect, or the page of the code. 444 closes the connection without an answer.",
      },
      readReturn,
    ),
    break: code(
      { in: EVERYWHERE, args: [0, 0], syntax: "", doc: "Ends the current set of rewrite directives." },
      () => ({ kind: "break" }),
    ),
    if: code(
      {
        in: ["server", "location"],
        args: [1, Number.POSITIVE_INFINITY],
        block: (parent) => (parent === "server" ? "if in server" : "if in location"),
        syntax: "(condition) { … }",
        doc: "Puts the block in force where the condition holds: `$variable`, `$variable = text`, `!=`, `~` and `~*` (`!~`, `!~*`) with a regular expression, `-f`, `-d`, `-e`, `-x` (and with `!`) for files.",
      },
      (at, scope) => ({ kind: "if", condition: readCondition(scope, at) }),
    ),
    set: code({ in: EVERYWHERE, args: [2, 2], syntax: "$variable value", doc: "Sets a variable." }, readSet),
    rewrite_log: flag({
      in: WITH_HTTP,
      default: false,
      doc: "Logs what the rewrite directives do, at level notice.",
    }),
    uninitialized_variable_warn: flag({
      in: WITH_HTTP,
      default: true,
      doc: "Logs a warning when a variable is used that no `set` has given a value.",
    }),
  },
  build(settings, place): RewriteSettings {
    const { context } = place.scope;
    const codes: Code[] = [];
    const blocks: IfBlock[] = [];
    // An `if` block's codes are among those of the block around it.
    if (context === "server" || context === "location") compile(place, place.scope, codes, blocks);
    if (blocks.length > 0) place.equipped(() => IfBlock.complete(blocks, place.location, place.scope));
    return { codes, log: settings.rewrite_log, warn: settings.uninitialized_variable_warn };
  },
  rewrite: (settings) => (settings.codes.length === 0 ? undefined : runCodes),
});
