import { refuse } from "../../../config/directives.ts";
import { fail, type Scope } from "../../../config/schema.ts";
import type { Directive } from "../../../config/types.ts";
import type { CompiledRegex } from "../../../regex/regex.ts";
import type { Request } from "../../core/request.ts";
import { type Template, template } from "../../core/script.ts";
import {
  applyRules,
  matchCaptures,
  prefixLength,
  type RewriteRule,
  rewriteRegex,
  rewriteRule,
} from "./rewrite_rules.ts";

export type CookieRule = RewriteRule;

/** One `proxy_cookie_flags`. */
export interface CookieFlags {
  readonly cookie: Template | CompiledRegex;
  readonly flags: readonly Template[];
}

/** `off`, or a list with one more element; nginx does not allow both. */
function readList<T>(at: Directive, previous: readonly T[] | "off" | undefined, read: () => T): readonly T[] | "off" {
  if (previous === "off") refuse(at, "is duplicate");
  if (at.args.length === 1) {
    if (at.args[0] !== "off") fail(at, `invalid parameter "${at.args[0]}"`);
    return previous === undefined ? "off" : refuse(at, "is duplicate");
  }
  return [...(previous ?? []), read()];
}

export function readCookiePath(at: Directive, scope: Scope, previous: readonly CookieRule[] | "off" | undefined) {
  return readList(at, previous, () => rewriteRule(at, scope, prefixLength));
}

/** A whole domain is compared, ignoring case; a leading dot is kept. */
function domainRule(at: Directive, scope: Scope): CookieRule {
  const [pattern, text] = at.args;
  if (pattern.startsWith("~")) {
    const regex = rewriteRegex(at, scope, `~*${pattern.slice(1)}`);
    const replacement = template(scope, at, text);
    return (request, value) => (matchCaptures(request, regex, value) ? replacement.render(request) : undefined);
  }
  const wanted = template(scope, at, withoutDot(pattern));
  const replacement = template(scope, at, withoutDot(text));
  return (request, value) => {
    const dot = value.startsWith(".") ? "." : "";
    if (value.slice(dot.length).toLowerCase() !== wanted.render(request).toLowerCase()) return undefined;
    return dot + replacement.render(request);
  };
}

function withoutDot(domain: string): string {
  return domain.startsWith(".") ? domain.slice(1) : domain;
}

export function readCookieDomain(at: Directive, scope: Scope, previous: readonly CookieRule[] | "off" | undefined) {
  return readList(at, previous, () => domainRule(at, scope));
}

const FLAGS = [
  "secure",
  "nosecure",
  "httponly",
  "nohttponly",
  "samesite=strict",
  "samesite=lax",
  "samesite=none",
  "nosamesite",
];

export function readCookieFlags(at: Directive, scope: Scope, previous: readonly CookieFlags[] | "off" | undefined) {
  return readList(at, previous, () => {
    const [cookie, ...flags] = at.args;
    const pattern = cookie.startsWith("~")
      ? rewriteRegex(at, scope, `~*${cookie.slice(1)}`)
      : template(scope, at, cookie);
    return {
      cookie: pattern,
      flags: flags.map((flag) => {
        const value = template(scope, at, flag);
        if (value.constant !== undefined && !FLAGS.includes(value.constant.toLowerCase()))
          fail(at, `invalid parameter "${flag}"`);
        return value;
      }),
    };
  });
}

export interface CookieRules {
  readonly domains: readonly CookieRule[];
  readonly paths: readonly CookieRule[];
  readonly flags: readonly CookieFlags[];
}

const SPACE = 0x20;

interface Attribute {
  key: string;
  value: string | undefined;
}

/** Rewrites a Set-Cookie value for the client. */
export function rewriteCookie(request: Request, rules: CookieRules, field: string): string {
  const attributes = parseCookie(field);
  if (attributes[0].value === undefined) return field;
  let changed = false;
  for (const attribute of attributes.slice(1)) {
    if (attribute.value === undefined) continue;
    const key = attribute.key.toLowerCase();
    const list = key === "domain" ? rules.domains : key === "path" ? rules.paths : [];
    const rewritten = applyRules(request, list, attribute.value);
    if (rewritten === undefined) continue;
    attribute.value = rewritten;
    changed = true;
  }
  const flags = flagsFor(request, rules.flags, attributes[0].key);
  const final = flags.size === 0 ? attributes : withFlags(attributes, flags);
  if (!changed && flags.size === 0) return field;
  return final.map(({ key, value }) => (value === undefined ? key : `${key}=${value}`)).join("; ");
}

function parseCookie(field: string): Attribute[] {
  return field.split(";").map((part) => {
    const equals = part.indexOf("=");
    if (equals < 0) return { key: trim(part), value: undefined };
    return { key: trim(part.slice(0, equals)), value: trim(part.slice(equals + 1)) };
  });
}

/** Trims spaces. Not with / +$/, which takes quadratic time for runs of spaces. */
function trim(text: string): string {
  let start = 0;
  let end = text.length;
  while (text.charCodeAt(start) === SPACE) start++;
  while (end > start && text.charCodeAt(end - 1) === SPACE) end--;
  return text.slice(start, end);
}

function flagsFor(request: Request, rules: readonly CookieFlags[], cookie: string): ReadonlySet<string> {
  for (const { cookie: wanted, flags } of rules) {
    const matches =
      "exec" in wanted
        ? matchCaptures(request, wanted, cookie)
        : wanted.render(request).toLowerCase() === cookie.toLowerCase();
    if (matches)
      return new Set(flags.map((flag) => flag.render(request).toLowerCase()).filter((flag) => FLAGS.includes(flag)));
  }
  return new Set();
}

const SAMESITE = ["Strict", "Lax", "None"];

function withFlags(attributes: readonly Attribute[], flags: ReadonlySet<string>): Attribute[] {
  const sameSite = SAMESITE.find((mode) => flags.has(`samesite=${mode.toLowerCase()}`));
  const kept: Attribute[] = [attributes[0]];
  const seen = new Set<string>();
  for (const attribute of attributes.slice(1)) {
    const key = attribute.key.toLowerCase();
    if ((key === "secure" || key === "httponly") && !flags.has(key) && flags.has(`no${key}`)) continue;
    if (key === "samesite") {
      if (sameSite === undefined && flags.has("nosamesite")) continue;
      if (sameSite !== undefined && attribute.value?.toLowerCase() !== sameSite.toLowerCase()) {
        attribute.key = "SameSite";
        attribute.value = sameSite;
      }
    }
    seen.add(key);
    kept.push(attribute);
  }
  if (flags.has("secure") && !seen.has("secure")) kept.push({ key: "Secure", value: undefined });
  if (flags.has("httponly") && !seen.has("httponly")) kept.push({ key: "HttpOnly", value: undefined });
  if (sameSite !== undefined && !seen.has("samesite")) kept.push({ key: "SameSite", value: sameSite });
  return kept;
}
