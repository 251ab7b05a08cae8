import { directive } from "../../config/directives.ts";
import { warn } from "../../config/errors.ts";
import { type DirectiveSpec, fail, type Scope } from "../../config/schema.ts";
import type { Context } from "../../config/types.ts";
import { type AccessRule, parseAccessRule } from "../../net/access_rules.ts";

/** `allow` or `deny`: the rules of either kind, in their order. */
export function accessRule(
  where: readonly Context[],
  deny: boolean,
  doc: string,
): DirectiveSpec<readonly AccessRule[]> {
  return directive<readonly AccessRule[]>({
    in: where,
    args: [1, 1],
    syntax: "address | CIDR | unix: | all",
    doc,
    initial: () => [],
    repeat: true,
    read(at, scope, previous = []) {
      const parsed = parseAccessRule(deny, at.args[0]);
      if ("error" in parsed) return fail(at, parsed.error);
      if (parsed.warning !== undefined) warn(at, scope, parsed.warning);
      return [...previous, parsed.rule];
    },
  });
}

/** The rules that a block has itself, of both directives in the order of the configuration. */
export function rulesIn({ order }: Scope, allow: DirectiveSpec<unknown>, deny: DirectiveSpec<unknown>): AccessRule[] {
  const rules: AccessRule[] = [];
  for (const { spec, directive: line } of order) {
    if (spec !== allow && spec !== deny) continue;
    const parsed = parseAccessRule(spec === deny, line.args[0]);
    if ("rule" in parsed) rules.push(parsed.rule);
  }
  return rules;
}
