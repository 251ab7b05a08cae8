import { CLIENT_CLOSED_REQUEST, CLOSE, DONE, ERROR } from "./codes.ts";
import { logException } from "./log_context.ts";
import type { Request } from "./request.ts";
import { answerStatus } from "./special_response.ts";

/**
 * Ends a request's handler with what it returned (ngx_http_finalize_request): DONE means somebody goes on with it, a status >= 300 (or 201, 204) is answered with its page, OK completes it.
 */
export function finalizeRequest(request: Request, code: number): void {
  if (code === DONE || request.finalized) return;
  const { connection } = request;
  if (connection.closed || code === ERROR || code === CLIENT_CLOSED_REQUEST || code === 408 || code === CLOSE) {
    const { response } = request;
    if (code > 0 && (response.status === 0 || connection.sent === request.sentAtStart)) response.status = code;
    if (code === CLOSE) request.timedOut = true;
    end(request);
    connection.terminate(request);
    return;
  }
  if (code >= 300 || code === 201 || code === 204) {
    if (request.headerSent) {
      // Too late for another answer: what was begun cannot be completed.
      end(request);
      connection.terminate(request);
      return;
    }
    finalizeRequest(request, answerStatus(request, code));
    return;
  }
  if (code < 0 || !request.headerSent) {
    // Also a handler that said OK without an answer: nginx closes the connection.
    end(request);
    connection.terminate(request);
    return;
  }
  end(request);
  connection.finish(request);
}

function end(request: Request): void {
  request.finalized = true;
  request.onAbort = undefined;
  request.onWritable = undefined;
}

/** Runs what was registered for the end of the request; called by the connection after the log was written. */
export function cleanUp(request: Request): void {
  const { cleanup } = request;
  if (cleanup === undefined) return;
  request.cleanup = undefined;
  for (let i = cleanup.length - 1; i >= 0; i--) {
    try {
      cleanup[i]();
    } catch (error) {
      logException(request, error);
    }
  }
}
