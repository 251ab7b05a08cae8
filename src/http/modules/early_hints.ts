import { list } from "../../config/directives.ts";
import { type Scope, valueIn } from "../../config/schema.ts";
import { HTTP_LOCATION } from "../contexts.ts";
import { defineModule } from "../module.ts";
import { type Template, template } from "../template.ts";

const hints = list<readonly Template[]>({
  in: HTTP_LOCATION,
  args: [1, Number.POSITIVE_INFINITY],
  syntax: "string ...",
  doc: "Passes 103 (Early Hints) responses of servers on when a string is neither empty nor 0. Write a variable that says which clients can take them.",
  item: (at, scope) => at.args.map((text) => template(scope, at, text)),
});

/** `early_hints` of ngx_http_core_module. */
export const earlyHints = defineModule({ name: "http_early_hints", directives: { early_hints: hints } });

/** The conditions in force in a block, for what passes responses on. */
export function earlyHintsIn(scope: Scope): readonly (readonly Template[])[] {
  return valueIn(scope, hints);
}
