import { readBody } from "./body.ts";
import { finalizeRequest, startPhases } from "./engine.ts";
import { logError } from "./log_context.ts";
import type { Request } from "./request.ts";
import type { Template } from "./script.ts";

/** `client_body_early_read`: where one of its strings is neither empty nor "0", the body is read before the first phase. */
export function startWithBody(request: Request, predicates: readonly Template[]): void {
  const wanted = predicates.some((predicate) => {
    const value = predicate.render(request);
    return value !== "" && value !== "0";
  });
  if (!wanted) {
    startPhases(request);
    return;
  }
  const limit = request.location.core.clientMaxBodySize;
  if (limit !== 0 && request.contentLength > limit) {
    logError(request, "error", `client intended to send too large body: ${request.contentLength} bytes`);
    request.expectContinue = false;
    finalizeRequest(request, 413);
    return;
  }
  readBody(request, finalizeRequest, startPhases);
}
