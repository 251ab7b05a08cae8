import { now, wallAt } from "../../sys/clock.ts";
import { parseHttpTime } from "../../wire/http_time.ts";
import type { Request } from "./request.ts";
import { isMsie6 } from "./user_agent.ts";

/**
 * How much a client wants gzip, from 0 to 1000 (ngx_http_gzip_ok): as it says in Accept-Encoding, and 0 where
 * gzip_http_version, gzip_proxied or gzip_disable speaks against it. Found once for a request.
 */
export function gzipQuality(request: Request): number {
  if (request.gzipQuality < 0) {
    const quality = codingQuality(request, "gzip");
    request.gzipQuality = quality > 0 && isAllowed(request) ? quality : 0;
  }
  return request.gzipQuality;
}

function isAllowed(request: Request): boolean {
  const { headers, version } = request;
  const { gzipHttpVersion, gzipDisable } = request.location.core;
  if (version < gzipHttpVersion) return false;
  if (headers.has("via") && !isProxiedOk(request)) return false;
  if (!gzipDisable.msie6 && gzipDisable.patterns.length === 0) return true;
  const agent = headers.get("user-agent");
  if (agent === undefined) return true;
  return !(gzipDisable.msie6 && isMsie6(agent)) && !gzipDisable.patterns.some((pattern) => pattern.test(agent));
}

/** gzip_proxied */
function isProxiedOk({ headers, response, location }: Request): boolean {
  const { gzipProxied: by } = location.core;
  if (by.has("off")) return false;
  if (by.has("any") || (by.has("auth") && headers.has("authorization"))) return true;
  const expires = response.headers.get("expires");
  if (expires !== undefined) {
    if (!by.has("expired")) return false;
    const until = parseHttpTime(expires);
    const date = response.date === undefined ? Math.floor(wallAt(now()) / 1000) : parseHttpTime(response.date);
    return until !== -1 && date !== -1 && until < date;
  }
  if (response.headers.has("cache-control")) {
    const lines = response.headers.getAll("cache-control");
    return CACHE_CONTROL.some((word) => by.has(word) && lines.some((line) => hasDirective(line, word)));
  }
  if (by.has("no_last_modified") && (response.lastModified !== -1 || response.lastModifiedText !== undefined))
    return false;
  return !(by.has("no_etag") && response.etag !== undefined);
}

const CACHE_CONTROL = ["no-cache", "no-store", "private"] as const;

/** Whether one of the directives in the line is just that word. */
function hasDirective(line: string, word: string): boolean {
  return line.split(",").some((part) => part.trim().toLowerCase() === word);
}

/**
 * How much the client wants a content coding, from 0, not at all, to 1000. Read as nginx reads "gzip"
 * (ngx_http_gzip_accept_encoding): a coding that is not named is not wanted, whatever is said of `*`, nor one with an
 * invalid quality. A subrequest's response is never coded.
 */
export function codingQuality(request: Request, coding: string): number {
  if (request !== request.main) return 0;
  const accepted = request.headers.get("accept-encoding");
  return accepted === undefined ? 0 : qualityOf(accepted, coding);
}

function qualityOf(accepted: string, coding: string): number {
  const end = coding.length;
  if (accepted.startsWith(coding) && (accepted.length === end || accepted[end] === ",")) return 1000;
  return ask(accepted.toLowerCase(), coding);
}

function ask(text: string, coding: string): number {
  let at = text.indexOf(coding);
  // As in nginx a name may also stand right behind another occurrence that was none.
  for (let start = 0; at !== start; at = text.indexOf(coding, start)) {
    if (at < 0) return 0;
    if (text[at - 1] === "," || text[at - 1] === " ") break;
    start = at + coding.length;
  }
  at = afterSpaces(text, at + coding.length);
  if (at === text.length || text[at] === ",") return 1000;
  if (text[at] !== ";") return 0;
  at = afterSpaces(text, at + 1);
  if (at === text.length) return 1000;
  return text.startsWith("q=", at) ? quality(text, at + 2) : 0;
}

function afterSpaces(text: string, from: number): number {
  let at = from;
  while (text[at] === " ") at++;
  return at;
}

/** 0 where it is invalid. */
function quality(text: string, from: number): number {
  let to = from;
  while (to < text.length && text[to] !== "," && text[to] !== " ") to++;
  const digits = text.slice(from, to);
  if (!/^[01](?:\.\d{0,3})?$/.test(digits)) return 0;
  const value = Math.round(Number(digits) * 1000);
  return value > 1000 ? 0 : value;
}
