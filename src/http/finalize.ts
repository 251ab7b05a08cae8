import { CLIENT_CLOSED_REQUEST, CLOSE, DECLINED, DONE, ERROR, OK } from "./codes.ts";
import { PHASE, runPhases } from "./phases.ts";
import type { Request } from "./request.ts";
import { answerStatus } from "./special_response.ts";

/**
 * Ends a request's handler with what it returned (ngx_http_finalize_request): DONE means somebody goes on with it,
 * DECLINED tries the next content handler, a status >= 300 (or 201, 204) is answered with its page, OK completes it.
 */
export function finalizeRequest(request: Request, code: number): void {
  if (code === DONE || request.finalized) return;
  if (code === DECLINED) {
    request.phase = PHASE.content;
    request.step = 0;
    runContentPhase(request);
    return;
  }
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
  if (code !== OK && code < 0) {
    end(request);
    connection.terminate(request);
    return;
  }
  if (!request.headerSent) {
    // A handler that said OK without an answer: nginx closes the connection.
    end(request);
    connection.terminate(request);
    return;
  }
  end(request);
  connection.finish(request);
}

/** A content handler such as limit_except's returned DECLINED: the phase's own handlers are next. */
function runContentPhase(request: Request): void {
  runPhases(request);
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
  for (let i = cleanup.length - 1; i >= 0; i--) cleanup[i]();
}
