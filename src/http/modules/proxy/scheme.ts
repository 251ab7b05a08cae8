import { refuse } from "../../../config/directives.ts";
import { warn } from "../../../config/errors.ts";
import type { Directive } from "../../../config/types.ts";
import { splitTemplate } from "../../../script/template.ts";
import type { Place } from "../../conf/module.ts";
import type { PassUrl } from "./directives.ts";

export function isHttps(url: string): boolean {
  return /^https:\/\//i.test(url);
}

export function refuseHttps(at: Directive): never {
  return refuse(at, "with https:// is known to nginx but not available in Holdfast yet");
}

/** More combinations of values than this are not looked at. */
const MOST = 1000;

/**
 * A URL with variables that begins with https:// whatever they say is refused as a constant one is; one that may is warned
 * of. What only a request can tell is said in the log when it comes to that.
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
