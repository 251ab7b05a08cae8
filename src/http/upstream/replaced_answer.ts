import { parseUnsafeUri } from "../../wire/uri.ts";
import { finalizeRequest, internalRedirect, namedRedirect } from "../core/engine.ts";
import { logError } from "../core/log_context.ts";
import { GET, type Request } from "../core/request.ts";
import type { AnswerHead } from "../core/upstream.ts";
import type { UpstreamSettings } from "./settings.ts";

/** Answers that the client does not get: an error page or another URI takes their place. */

/**
 * Whether an error page takes the answer's place (ngx_http_upstream_intercept_errors); then its challenges are copied to
 * the response.
 */
export function isIntercepted(request: Request, head: AnswerHead, settings: UpstreamSettings): boolean {
  const { status } = head;
  if (!settings.interceptErrors) return false;
  if (settings.intercept404 === true && status === 404) return true;
  if (!request.location.core.errorPages.some((page) => page.status === status)) return false;
  if (status === 401) {
    for (const value of head.headers.getAll("www-authenticate")) {
      request.response.headers.append("WWW-Authenticate", value);
    }
  }
  return true;
}

/** The answer's X-Accel-Redirect, unless the location ignores it. */
export function redirectOf(head: AnswerHead, { ignored }: UpstreamSettings): string | undefined {
  const { xAccelRedirect } = head;
  return xAccelRedirect === undefined || ignored.has("x-accel-redirect") ? undefined : xAccelRedirect;
}

/** Serves what X-Accel-Redirect names, a URI or a named location, when the passage is over. */
export function serveInstead(request: Request, to: string): void {
  if (to.startsWith("@")) {
    namedRedirect(request, to);
    return;
  }
  const parts = parseUnsafeUri(to);
  if (parts === undefined) {
    logError(request, "error", `unsafe URI "${to}" was detected`);
    finalizeRequest(request, 404);
    return;
  }
  if (request.method !== "HEAD") request.method = GET;
  internalRedirect(request, parts.uri, parts.args);
}
