import { directive } from "../../config/directives.ts";
import { fail, type Scope } from "../../config/schema.ts";
import type { Directive } from "../../config/types.ts";
import { type Cidr, inIpv4, inIpv6, keptClientAddress, parseCidr } from "../../net/ip.ts";
import { escapeHtml } from "../../wire/escape.ts";
import { headText } from "../../wire/head_text.ts";
import { HTTP_LOCATION } from "../conf/contexts.ts";
import { OK } from "../core/codes.ts";
import { discardBody } from "../core/discard_body.ts";
import { sendText } from "../core/engine.ts";
import { logError } from "../core/log_context.ts";
import type { Request } from "../core/request.ts";
import { type Template, template } from "../core/script.ts";
import type { Handler } from "../core/types.ts";
import type { Cache } from "./cache.ts";
import type { CacheRaw, WithCache } from "./directives.ts";
import { type PurgeResult, purge, purgeTags } from "./purge.ts";
import { anyHolds } from "./request_conditions.ts";
import { tagsOf } from "./tags.ts";

/**
 * `…_cache_purge`: which requests are purges. NGINX Plus has the strings; the module ngx_cache_purge a method with addresses,
 * and a location of its own for a zone and key.
 */
export type PurgeRule =
  | { readonly kind: "strings"; readonly strings: readonly Template[] }
  | {
      readonly kind: "method";
      readonly method: string;
      readonly everything: boolean;
      readonly from: "all" | readonly Cidr[];
    }
  | { readonly kind: "location"; readonly zone: string; readonly key: Template };

export function purgeDirective(doc: string) {
  return directive<PurgeRule | undefined>({
    in: HTTP_LOCATION,
    args: [1, Number.POSITIVE_INFINITY],
    syntax: "string ... | off | on|method [purge_all] [from all|address ...] | zone key",
    doc,
    initial: () => undefined,
    defaultText: "off",
    read: readRule,
  });
}

function readRule(at: Directive, scope: Scope): PurgeRule | undefined {
  const [first, second, ...rest] = at.args;
  if (at.args.length === 1 && first === "off") return undefined;
  const isWord = /^[A-Za-z_][^$]*$/.test(first);
  if (isWord && at.args.length === 2 && second !== "purge_all") {
    if (scope.context !== "location") fail(at, `"${at.name}" with a zone and a key is allowed in a location only`);
    return { kind: "location", zone: first, key: template(scope, at, second) };
  }
  if (isWord) {
    const everything = second === "purge_all";
    const addresses = everything ? rest.slice(1) : rest;
    const word = everything ? rest[0] : second;
    if (word !== undefined && (word !== "from" || addresses.length === 0)) fail(at, `invalid parameter "${word}"`);
    const from = word === undefined || addresses[0] === "all" ? "all" : addresses.map((text) => readAddress(at, text));
    return { kind: "method", method: first === "on" ? "PURGE" : first, everything, from };
  }
  return { kind: "strings", strings: at.args.map((text) => template(scope, at, text)) };
}

function readAddress(at: Directive, text: string): Cidr {
  return parseCidr(text)?.cidr ?? fail(at, `invalid parameter "${text}"`);
}

/** Whether a request for the location is a purge. */
export function isPurge(rule: PurgeRule, request: Request): boolean {
  if (rule.kind === "strings") return anyHolds(rule.strings, request);
  return rule.kind === "method" && request.method === rule.method;
}

const HTML = headText("text/html");

/**
 * Answers a purge as NGINX Plus does, with 204, or 404 where there is no such key; or as ngx_cache_purge does where its syntax
 * says so, with 200 and a page. `fields`: those that carry tags. Returns a handler's code.
 */
export function answerPurge(
  request: Request,
  rule: PurgeRule,
  cache: Cache,
  key: string,
  fields: readonly string[],
): number {
  if (rule.kind === "method" && rule.from !== "all" && !isFrom(rule.from, request)) {
    logError(request, "error", "cache purge forbidden by rule");
    return 403;
  }
  const result = perform(request, rule, cache, key, fields);
  switch (result) {
    case "purged":
      logError(request, "info", `cache "${cache.name}" purged`);
      return rule.kind === "strings" ? 204 : sendText(request, 200, HTML, page(key));
    case "not found":
      return 404;
    case "full":
      logError(request, "error", `cache "${cache.name}" has too many purges pending`);
      return 503;
    case "too long":
      logError(request, "error", "the key or tag to purge is too long");
      return 414;
    case "no tags":
      logError(request, "error", "a purge by tag names no tag");
      return 400;
  }
}

/** The content handler of a location that is a purge by itself: `…_cache_purge zone key`. `caches`: those that it may name. */
export function purgeHandler<P extends string>(raw: WithCache<P>, prefix: P): Handler | undefined {
  const values: Readonly<Record<string, unknown>> = raw;
  // The compiler cannot follow names that are made at run time.
  const get = <K extends keyof CacheRaw>(name: K) => values[`${prefix}_${name}`] as CacheRaw[K];
  const rule = get("cache_purge");
  if (rule?.kind !== "location") return undefined;
  const caches = get("cache_path");
  const fields = get("cache_tags");
  const { zone, key } = rule;
  const cache = caches.find(({ name }) => name === zone);
  return (request) => {
    const broken = discardBody(request);
    if (broken !== OK) return broken;
    if (cache !== undefined) return answerPurge(request, rule, cache, key.render(request), fields);
    logError(request, "error", `cache "${zone}" not found`);
    return 500;
  };
}

function perform(
  request: Request,
  rule: PurgeRule,
  cache: Cache,
  key: string,
  fields: readonly string[],
): PurgeResult | "no tags" {
  if (fields.some((field) => request.headers.has(field))) {
    const tags = tagsOf(request.headers, fields);
    return tags === "" ? "no tags" : purgeTags(cache, tags);
  }
  return purge(cache, rule.kind === "method" && rule.everything ? "*" : key);
}

function isFrom(from: readonly Cidr[], request: Request): boolean {
  const { ipv4, ipv6 } = keptClientAddress(request.remote);
  return from.some((cidr) => (ipv4 !== undefined && inIpv4(cidr, ipv4)) || (ipv6 !== undefined && inIpv6(cidr, ipv6)));
}

function page(key: string): string {
  const title = "Successful purge";
  return `<html><head><title>${title}</title></head><body><center><h1>${title}</h1><p>Key : ${escapeHtml(key)}</p></center></body></html>\n`;
}
