import type { Scope } from "../../config/schema.ts";
import type { Directive } from "../../config/types.ts";
import type { Request } from "../../http/core/request.ts";
import { type Variable, whenVariablesKnown } from "../../http/core/script.ts";
import { variableText } from "../../script/variables.ts";

/** Variables of which the first one that has a value says what a request is bound to. */
export class Lookup {
  readonly #variables: Variable[] = [];

  /** Adds the variable of that name, without the dollar. */
  add(at: Directive, scope: Scope, name: string): void {
    // In the order of these calls.
    whenVariablesKnown(scope, (variables) => this.#variables.push(variables.use(name, at)));
  }

  /** "": none has a value. */
  of(request: Request): string {
    for (const variable of this.#variables) {
      const value = variableText(request, variable);
      if (value !== "") return value;
    }
    return "";
  }
}
