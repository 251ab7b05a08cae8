import { refuse } from "../../../config/directives.ts";
import { fail, type Scope } from "../../../config/schema.ts";
import type { Directive } from "../../../config/types.ts";
import type { Request } from "../../core/request.ts";
import { applyRules, prefixLength, type RewriteRule, rewriteRule } from "./rewrite_rules.ts";

/** The `proxy_redirect`s of a block. The "default" rule is made once the block's proxy_pass is known. */
export interface RedirectRules {
  readonly mode: "default" | "off" | "rules";
  readonly rules: readonly (RewriteRule | "default")[];
}

export function readRedirect(at: Directive, scope: Scope, previous: RedirectRules | undefined): RedirectRules {
  if (previous?.mode === "off") refuse(at, "is duplicate");
  const rules = previous?.rules ?? [];
  if (at.args.length === 1) {
    const [word] = at.args;
    if (word === "off") return previous === undefined ? { mode: "off", rules: [] } : refuse(at, "is duplicate");
    if (word !== "default") fail(at, `invalid parameter "${word}"`);
    const pass = [...scope.order].find(({ directive }) => directive.name === "proxy_pass");
    if (pass === undefined) fail(at, '"proxy_redirect default" should be placed after the "proxy_pass" directive');
    if (pass.directive.args[0].includes("$")) {
      fail(at, '"proxy_redirect default" cannot be used with "proxy_pass" directive with variables');
    }
    return { mode: "rules", rules: [...rules, "default"] };
  }
  return { mode: "rules", rules: [...rules, rewriteRule(at, scope, prefixLength)] };
}

/** The rules of a location whose proxy_pass is `url`, with `uri` in it ("" for none). */
export function redirectRules(
  setting: RedirectRules,
  url: string | undefined,
  uri: string,
  location: string,
): readonly RewriteRule[] {
  if (setting.mode === "off") return [];
  const standard: RewriteRule[] = [];
  if (url !== undefined) {
    const pattern = uri === "" ? `${url}/` : url;
    const replacement = uri === "" ? "/" : location;
    standard.push((_request, value) =>
      value.startsWith(pattern) ? replacement + value.slice(pattern.length) : undefined,
    );
  }
  if (setting.mode === "default") return standard;
  return setting.rules.flatMap((rule) => (rule === "default" ? standard : [rule]));
}

/** Rewrites the URL in Refresh, after `url=`. */
export function rewriteRefresh(request: Request, rules: readonly RewriteRule[], value: string): string {
  const at = value.toLowerCase().indexOf("url=");
  if (at < 0) return value;
  const rewritten = applyRules(request, rules, value.slice(at + 4));
  return rewritten === undefined ? value : value.slice(0, at + 4) + rewritten;
}
