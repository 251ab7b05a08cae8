import { clearDeadline, Deadline, setDeadline } from "../../sys/timers.ts";
import { CLIENT_CLOSED_REQUEST } from "./codes.ts";
import { finalizeRequest } from "./finalize.ts";
import { logError } from "./log_context.ts";
import type { Request } from "./request.ts";

/** Answers 401 (or 407), `auth_delay` later, so that passwords cannot be tried quickly. */
export function denyUnauthorized(request: Request, status: number): void {
  const delay = request.location.core.raw.auth_delay;
  if (delay === 0) {
    finalizeRequest(request, status);
    return;
  }
  logError(request, "info", "delaying unauthorized request");
  const delayed = new Deadline(request, () => {
    request.onAbort = undefined;
    finalizeRequest(request, status);
  });
  setDeadline(delayed, delay);
  request.onAbort = () => finalizeRequest(request, CLIENT_CLOSED_REQUEST);
  request.cleanup ??= [];
  request.cleanup.push(() => clearDeadline(delayed));
}
