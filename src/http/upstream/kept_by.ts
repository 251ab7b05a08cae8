import { refuse } from "../../config/directives.ts";
import type { Scope } from "../../config/schema.ts";
import type { Directive } from "../../config/types.ts";

/** `…_store` and `…_cache`, of which an answer is kept by one at most. Both are switched off by `off`. */

/** Whether `name` is switched on for a block, unless `other`, further inside, is. Both as in `proxy_store`. */
export function isKeptBy(scope: Scope, name: string, other: string): boolean {
  for (let at: Scope | undefined = scope; at !== undefined; at = at.parent) {
    const own = argumentOf(at, name);
    if (own !== undefined) return own !== "off";
    if (isOn(at, other)) return false;
  }
  return false;
}

/** Refuses a directive where its block switches the other on. */
export function refuseBeside(at: Directive, scope: Scope, other: string): void {
  if (isOn(scope, other)) refuse(at, `is incompatible with "${other}"`);
}

function isOn(scope: Scope, name: string): boolean {
  return (argumentOf(scope, name) ?? "off") !== "off";
}

function argumentOf({ order }: Scope, name: string): string | undefined {
  return order.find(({ directive }) => directive.name === name)?.directive.args[0];
}
