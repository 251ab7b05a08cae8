import { refusalsOf } from "../config/errors.ts";
import type { Scope } from "../config/schema.ts";
import { ConfigError, type Directive } from "../config/types.ts";
import { type HeadText, headText } from "../wire/head_text.ts";
import { type ScriptContext, type Variable, type Variables, variableText } from "./variables.ts";

/**
 * A string with `$variables` (nginx's complex value), split when it is read. Variables are bound when the whole http
 * block is known, because `map`, `set` and `geo` may define them later.
 */
export class Template<C, T extends string = string> {
  /** As written in the configuration. */
  readonly text: string;
  /** The value if it has no variables. */
  readonly constant: T | undefined;
  /** The value for a request or session; a byte string. */
  render: (context: C) => T;
  /** All of its variables are the same for a connection (`VariableSpec.ofConnection`). Known when they are bound. */
  ofConnection: boolean;

  constructor(text: string, constant: T | undefined, render: (context: C) => T) {
    this.text = text;
    this.constant = constant;
    this.render = render;
    this.ofConnection = constant !== undefined;
  }
}

/** A literal, the index of a capture (`$1`), or the name of a variable. */
export type Part = { readonly literal: string } | { readonly capture: number } | { readonly variable: string };

const NAME = /^[A-Za-z0-9_]+/;

/** Splits a string at its variables. Errors are nginx's. */
export function splitTemplate(text: string, directive: Directive): Part[] {
  const parts: Part[] = [];
  let literal = "";
  let at = 0;
  while (at < text.length) {
    const dollar = text.indexOf("$", at);
    if (dollar < 0) {
      literal += text.slice(at);
      break;
    }
    literal += text.slice(at, dollar);
    at = dollar + 1;
    const next = text.charCodeAt(at);
    if (next >= 0x31 && next <= 0x39) {
      if (literal !== "") parts.push({ literal });
      literal = "";
      parts.push({ capture: next - 0x30 });
      at++;
      continue;
    }
    const braced = text[at] === "{";
    if (braced) at++;
    const name = NAME.exec(text.slice(at))?.[0] ?? "";
    at += name.length;
    if (braced) {
      if (text[at] !== "}") throw new ConfigError(`the closing bracket in "${name}" variable is missing`, directive);
      at++;
    }
    if (name === "") throw new ConfigError("invalid variable name", directive);
    if (literal !== "") parts.push({ literal });
    literal = "";
    parts.push({ variable: name });
  }
  if (literal !== "") parts.push({ literal });
  return parts;
}

/** Work that waits until a block's variables are known. All of them are computed from one kind of context, C. */
type Waiting<C extends ScriptContext> = (variables: Variables<C>) => void;

const WAITING = Symbol("templates");

function waiting<C extends ScriptContext>(scope: Scope): Waiting<C>[] {
  const known = scope.notes.get(WAITING);
  if (Array.isArray(known)) return known;
  const fresh: Waiting<C>[] = [];
  scope.notes.set(WAITING, fresh);
  return fresh;
}

/** Registers work to do when all variables of the configuration are declared (templates, `if ($x)`, `set`). */
export function whenVariablesKnown<C extends ScriptContext>(scope: Scope, bind: Waiting<C>): void {
  waiting<C>(scope).push(bind);
}

/** Runs that work, in the order registered. Errors (`unknown "x" variable`) are noted. */
export function bindVariables<C extends ScriptContext>(scope: Scope, variables: Variables<C>): void {
  const refusals = refusalsOf(scope);
  for (const bind of waiting<C>(scope).splice(0)) refusals.attempt(() => bind(variables), "complete");
}

const unbound = (): never => {
  throw new Error("template used before its variables were bound");
};

/** Reads a value that may have variables. */
export function template<C extends ScriptContext>(scope: Scope, directive: Directive, text: string): Template<C> {
  const parts = splitTemplate(text, directive);
  const constant = constantOf(parts);
  if (constant !== undefined) return new Template(text, constant, () => constant);
  const made = new Template<C>(text, undefined, unbound);
  whenVariablesKnown<C>(scope, (variables) => {
    const steps = stepsOf(parts, variables, directive);
    made.render = renderer(steps);
    made.ofConnection = steps.every(
      (step) => typeof step === "string" || (typeof step === "object" && step.ofConnection),
    );
  });
  return made;
}

/** Reads a field's value that may have variables: it never renders to text that could end the line. */
export function headTemplate<C extends ScriptContext>(
  scope: Scope,
  directive: Directive,
  text: string,
): Template<C, HeadText> {
  const value = template<C>(scope, directive, text);
  if (value.constant !== undefined) {
    const constant = headText(value.constant);
    return new Template(text, constant, () => constant);
  }
  return new Template<C, HeadText>(text, undefined, (context) => headText(value.render(context)));
}

/** The value of parts without variables; else undefined. */
export function constantOf(parts: readonly Part[]): string | undefined {
  if (parts.length === 0) return "";
  const [first] = parts;
  return parts.length === 1 && "literal" in first ? first.literal : undefined;
}

type Step<C> = string | number | Variable<C>;

function stepsOf<C extends ScriptContext>(
  parts: readonly Part[],
  variables: Variables<C>,
  at: Directive,
): readonly Step<C>[] {
  return parts.map((part) => {
    if ("literal" in part) return part.literal;
    if ("capture" in part) return part.capture;
    return variables.use(part.variable, at);
  });
}

/** Compiles steps into one function; nothing is looked up by name when it runs. */
function renderer<C extends ScriptContext>(steps: readonly Step<C>[]): (context: C) => string {
  if (steps.length === 1) {
    const [only] = steps;
    if (typeof only === "object") return (context) => variableText(context, only);
    if (typeof only === "number") return (context) => context.captures[only] ?? "";
  }
  return (context) => {
    let value = "";
    for (const step of steps) {
      if (typeof step === "string") value += step;
      else if (typeof step === "number") value += context.captures[step] ?? "";
      else value += variableText(context, step);
    }
    return value;
  };
}
