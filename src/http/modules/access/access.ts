import type { Scope } from "../../../config/schema.ts";
import type { Context } from "../../../config/types.ts";
import { type AccessRule, type AccessRules, buildAccessRules, matchAccess } from "../../../net/access_rules.ts";
import { keptClientAddress } from "../../../net/ip.ts";
import { accessRule, rulesIn } from "../../conf/access_rule.ts";
import { HTTP_LOCATION } from "../../conf/contexts.ts";
import { defineModule } from "../../conf/module.ts";
import { DECLINED, OK } from "../../core/codes.ts";
import { logError } from "../../core/log_context.ts";
import type { Request } from "../../core/request.ts";

const CONTEXTS: readonly Context[] = [...HTTP_LOCATION, "limit_except"];

const allow = accessRule(
  CONTEXTS,
  false,
  "Lets clients of an address or network in; the first rule that matches decides.",
);
const deny = accessRule(
  CONTEXTS,
  true,
  "Refuses clients of an address or network with 403; the first rule that matches decides.",
);

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

/** The rules of the nearest level that has any. */
function rulesOf(scope: Scope): AccessRule[] {
  for (let at: Scope | undefined = scope; at !== undefined; at = at.parent) {
    if (at.values.has(allow) || at.values.has(deny)) return rulesIn(at, allow, deny);
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
