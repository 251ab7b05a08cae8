import { mapUriToPath } from "../files/file_root.ts";
import { DECLINED, OK } from "./codes.ts";
import { logError } from "./log_context.ts";
import type { Request } from "./request.ts";
import type { Handler } from "./types.ts";

/**
 * nginx's phase checkers: each runs the handlers of its phase. DECLINED means that the next phase is due; any other
 * code is what the request is finalized with.
 */

/** nginx's phases in their order; `Request.phase` holds one, `Request.step` the handler within it. */
export const PHASE = {
  postRead: 0,
  serverRewrite: 1,
  findLocation: 2,
  rewrite: 3,
  postRewrite: 4,
  preaccess: 5,
  access: 6,
  precontent: 7,
  content: 8,
} as const;

/** A generic phase: OK of one handler ends the phase. */
export function runHandlers(request: Request, handlers: readonly Handler[]): number {
  while (request.step < handlers.length) {
    const code = handlers[request.step](request);
    if (code === OK) return DECLINED;
    if (code !== DECLINED) return code;
    request.step++;
  }
  return DECLINED;
}

/** The rewrite phases: OK means that the request was answered (`return 200`), so it does not lead to the next phase. */
export function runRewrite(request: Request, handlers: readonly Handler[]): number {
  while (request.step < handlers.length) {
    const code = handlers[request.step](request);
    if (code !== DECLINED) return code;
    request.step++;
  }
  return DECLINED;
}

/** The access phase with `satisfy`: with "any", one handler that allows is enough. As in nginx subrequests skip it. */
export function runAccess(request: Request): number {
  if (request !== request.main) return DECLINED;
  const { access: handlers, core } = request.location;
  const all = core.satisfy === "all";
  while (request.step < handlers.length) {
    const code = handlers[request.step](request);
    if (code === OK && !all) {
      request.accessCode = 0;
      request.response.headers.remove("www-authenticate");
      return DECLINED;
    }
    if (!all && (code === 401 || code === 403)) {
      // 401 takes precedence over 403: the client may still authenticate.
      if (request.accessCode !== 401) request.accessCode = code;
    } else if (code !== OK && code !== DECLINED) {
      return code;
    }
    request.step++;
  }
  const { accessCode } = request;
  if (accessCode === 0) return DECLINED;
  if (accessCode === 403) logError(request, "error", "access forbidden by rule");
  return accessCode;
}

/** The content phase, which is the last: never returns DECLINED. */
export function runContent(request: Request): number {
  const { content, contentPhase } = request.location;
  if (content !== undefined) {
    const code = content(request);
    if (code !== DECLINED) return code;
  }
  while (request.step < contentPhase.length) {
    const code = contentPhase[request.step](request);
    if (code !== DECLINED) return code;
    request.step++;
  }
  if (request.uri.endsWith("/")) {
    const mapped = mapUriToPath(request);
    if (mapped !== undefined) logError(request, "error", `directory index of "${mapped.path}" is forbidden`);
    return 403;
  }
  logError(request, "debug", "no handler found");
  return 404;
}
