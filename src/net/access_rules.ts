import { type Cidr, type ClientAddress, inIpv4, inIpv6, parseCidr } from "./ip.ts";

/** The rules of `allow` and `deny`. */

export interface AccessRule {
  readonly deny: boolean;
  readonly who: "all" | "unix" | Cidr;
}

/**
 * Reads `allow` or `deny` with its argument: `all`, `unix:`, an address or a CIDR range. Errors are in nginx's words.
 */
export function parseAccessRule(
  deny: boolean,
  text: string,
): { readonly rule: AccessRule; readonly warning?: string } | { readonly error: string } {
  if (text === "all") return { rule: { deny, who: "all" } };
  if (text === "unix:") return { rule: { deny, who: "unix" } };
  const parsed = parseCidr(text);
  if (parsed === undefined) return { error: `invalid parameter "${text}"` };
  const rule: AccessRule = { deny, who: parsed.cidr };
  return parsed.lowBits ? { rule, warning: `low address bits of ${text} are meaningless` } : { rule };
}

/** The rules by address family, each list in the order of the configuration. */
export interface AccessRules {
  readonly ipv4: readonly AccessRule[];
  readonly ipv6: readonly AccessRule[];
  readonly unix: readonly AccessRule[];
}

export function buildAccessRules(rules: readonly AccessRule[]): AccessRules {
  const of = (family: string): AccessRule[] =>
    rules.filter(({ who }) => who === "all" || (typeof who === "string" ? who : who.family) === family);
  return { ipv4: of("ipv4"), ipv6: of("ipv6"), unix: of("unix") };
}

/** The first rule that matches decides; undefined if none does. */
export function matchAccess(rules: AccessRules, client: ClientAddress): "allow" | "deny" | undefined {
  if (client.unix) return verdict(rules.unix.at(0));
  const { ipv4, ipv6 } = client;
  // An IPv4-mapped address is compared with the IPv4 rules if there are any.
  if (ipv4 !== undefined && rules.ipv4.length > 0) {
    for (const rule of rules.ipv4) {
      if (typeof rule.who === "string" || inIpv4(rule.who, ipv4)) return verdict(rule);
    }
    return undefined;
  }
  if (ipv6 === undefined) return undefined;
  for (const rule of rules.ipv6) {
    if (typeof rule.who === "string" || inIpv6(rule.who, ipv6)) return verdict(rule);
  }
  return undefined;
}

function verdict(rule: AccessRule | undefined): "allow" | "deny" | undefined {
  if (rule === undefined) return undefined;
  return rule.deny ? "deny" : "allow";
}
