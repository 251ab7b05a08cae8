import { refuse } from "../../../config/directives.ts";
import { warn } from "../../../config/errors.ts";
import type { Directive } from "../../../config/types.ts";
import { splitTemplate } from "../../../script/template.ts";
import { headText } from "../../../wire/head_text.ts";
import type { Place } from "../../conf/module.ts";
import type { UpstreamEntry } from "../../conf/upstreams.ts";
import type { PassedTo } from "../../core/upstream.ts";
import type { PassUrl } from "./directives.ts";

/** The target of a proxy_pass without variables. */
export interface FixedPass extends PassedTo {
  readonly scheme: string;
  /** The address part as written. */
  readonly host: string;
  /** From the first slash on; "" without. */
  readonly uri: string;
  readonly upstream: UpstreamEntry;
  /** What follows the URI in request heads up to Host, if it is the same for all requests (request_head.ts). */
  opening: string | undefined;
}

/** The only scheme so far. */
export const HTTP = "http://";

/** The address part of a URL without variables; undefined for other schemes. */
export function constantHost({ url: { constant } }: PassUrl): string | undefined {
  if (constant === undefined || constant.slice(0, HTTP.length).toLowerCase() !== HTTP) return undefined;
  return splitUrl(constant.slice(HTTP.length)).host;
}

/** Splits `host:port/uri`; a unix socket's path ends at the second colon. */
export function splitUrl(text: string): { host: string; uri: string } {
  if (/^unix:/i.test(text)) {
    const colon = text.indexOf(":", 5);
    return colon < 0 ? { host: text, uri: "" } : { host: text.slice(0, colon), uri: text.slice(colon + 1) };
  }
  const slash = text.search(/[/?]/);
  if (slash < 0) return { host: text, uri: "" };
  const uri = text.slice(slash);
  return { host: text.slice(0, slash), uri: uri.startsWith("?") ? `/${uri}` : uri };
}

/** $proxy_host and $proxy_port: the scheme's default port is left out of the first, not of the second. */
export function passedTo(host: string): PassedTo {
  if (/^unix:/i.test(host)) return { hostHeader: headText("localhost"), port: "" };
  const match = /^(.*):(\d+)$/.exec(host);
  if (match === null) return { hostHeader: headText(host), port: "80" };
  const port = String(Number(match[2]));
  return { hostHeader: headText(port === "80" ? match[1] : host), port };
}

export function isHttps(url: string): boolean {
  return /^https:\/\//i.test(url);
}

export function refuseHttps(at: Directive): never {
  return refuse(at, "with https:// is known to nginx but not available in Holdfast yet");
}

/** How many combinations of values are tried at most. */
const MOST = 1000;

/**
 * Refuses a URL with variables that always begins with https://, and warns of one that sometimes does, as far as the
 * variables' values are known from the configuration. Otherwise the error is logged when a request is passed to it.
 */
export function checkScheme({ url, at }: PassUrl, { http, scope }: Place): void {
  let starts = [""];
  for (const part of splitTemplate(url.text, at)) {
    const next = "literal" in part ? [part.literal] : "variable" in part ? http.variables.valuesOf(part.variable) : [];
    if (next === undefined || next.length === 0 || starts.length * next.length > MOST) break;
    starts = starts.flatMap((start) => next.map((value) => start + value));
  }
  const https = starts.filter(isHttps);
  if (https.length === starts.length) refuseHttps(at);
  if (https.length > 0) {
    warn(at, scope, `"proxy_pass" may lead to "${https[0]}", and https to upstreams is not available in Holdfast yet`);
  }
}
