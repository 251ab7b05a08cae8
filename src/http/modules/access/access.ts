import { directive } from "../../../config/directives.ts";
import { warn } from "../../../config/errors.ts";
import { type DirectiveSpec, fail, type Scope } from "../../../config/schema.ts";
import type { Context } from "../../../config/types.ts";
import {
  type AccessRule,
  type AccessRules,
  buildAccessRules,
  matchAccess,
  parseAccessRule,
} from "../../../net/access_rules.ts";
import { keptClientAddress } from "../../../net/ip.ts";
import { HTTP_LOCATION } from "../../conf/contexts.ts";
import { defineModule } from "../../conf/module.ts";
import { DECLINED, OK } from "../../core/codes.ts";
import { logError } from "../../core/log_context.ts";
import type { Request } from "../../core/request.ts";

const CONTEXTS: readonly Context[] = [...HTTP_LOCATION, "limit_except"];

function rule(deny: boolean, doc: string): DirectiveSpec<readonly AccessRule[]> {
  return directive<readonly AccessRule[]>({
    in: CONTEXTS,
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

const allow = rule(false, "Lets clients of an address or network in; the first rule that matches decides.");
const deny = rule(true, "Refuses clients of an address or network with 403; the first rule that matches decides.");

/** ngx_http_access_module. */
export const access = defineModule({
  name: "http_access",
  directives: { allow, deny },
  build: (_settings, { scope }): AccessRules | undefined => {
    const rules = rulesOf(scope);
    return rules.length === 0 ? undefined : buildAccessRules(rules);
  },
  access: (rules) => (rules === undefined ? undefined : (request) => checkAccess(request, rules)),
});

/** The rules of the nearest level that has any, allow and deny in the order of the configuration. */
function rulesOf(scope: Scope): AccessRule[] {
  for (let at: Scope | undefined = scope; at !== undefined; at = at.parent) {
    if (!at.values.has(allow) && !at.values.has(deny)) continue;
    const rules: AccessRule[] = [];
    for (const { spec, directive: line } of at.order) {
      if (spec !== allow && spec !== deny) continue;
      const parsed = parseAccessRule(spec === deny, line.args[0]);
      if ("rule" in parsed) rules.push(parsed.rule);
    }
    return rules;
  }
  return [];
}

function checkAccess(request: Request, rules: AccessRules): number {
  switch (matchAccess(rules, keptClientAddress(request.remote))) {
    case "allow":
      return OK;
    case "deny":
      if (request.location.core.satisfy === "all") logError(request, "error", "access forbidden by rule");
      return 403;
    default:
      return DECLINED;
  }
}
