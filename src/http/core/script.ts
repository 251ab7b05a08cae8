import { directive } from "../../config/directives.ts";
import type { DirectiveSpec, Scope } from "../../config/schema.ts";
import type { Context, Directive } from "../../config/types.ts";
import * as templates from "../../script/template.ts";
import type * as variables from "../../script/variables.ts";
import type { HeadText } from "../../wire/head_text.ts";
import type { Request } from "./request.ts";

/** The types and functions of script/ for variables of a request. */

export type Template<T extends string = string> = templates.Template<Request, T>;
export type Variable = variables.Variable<Request>;
export type VariableSpec = variables.VariableSpec<Request>;
export type Variables = variables.Variables<Request>;

export const template: (scope: Scope, directive: Directive, text: string) => Template = templates.template;
export const headTemplate: (scope: Scope, directive: Directive, text: string) => Template<HeadText> =
  templates.headTemplate;
export const whenVariablesKnown: (scope: Scope, bind: (variables: Variables) => void) => void =
  templates.whenVariablesKnown;

/** A variable that is computed once a request. */
export function once(get: VariableSpec["get"]): VariableSpec {
  return { get, cached: true };
}

/** A variable that is the same for all requests that one server gets from the peer of one connection. */
export function ofConnection(get: VariableSpec["get"]): VariableSpec {
  return { get, ofConnection: true };
}

/** A directive of one argument that may have variables; undefined where it is not set. */
export function oneTemplate(about: {
  readonly in: readonly Context[];
  readonly syntax: string;
  readonly doc: string;
  readonly defaultText?: string;
}): DirectiveSpec<Template | undefined> {
  return directive<Template | undefined>({
    args: [1, 1],
    ...about,
    initial: () => undefined,
    read: (at, scope) => template(scope, at, at.args[0]),
  });
}
