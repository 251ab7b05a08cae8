import { COUNTER } from "./counters.ts";
import { logException } from "./log_context.ts";
import type { Request } from "./request.ts";

/**
 * The end of a request (ngx_http_free_request): writes its log lines and releases what it holds. The exchange calls
 * this once, when the kernel has the whole response or the response was broken off.
 */
export function freeRequest(request: Request): void {
  request.finalized = true;
  const { main } = request;
  if (!request.logged && (request === main || request.location.core.logSubrequest)) {
    request.logged = true;
    logRequest(request);
  }
  if (request === main) request.connection.counters[COUNTER.writing]--;
  if (request.subrequests?.outlive() !== true) releaseRequest(request);
}

/** Closes what sends the body, and runs the cleanup handlers. A main request also releases its body. */
export function releaseRequest(request: Request): void {
  request.sender?.close();
  if (request.cleanup !== undefined) cleanUp(request, request.cleanup);
  if (request !== request.main) return;
  request.body?.release();
  request.preread?.release();
}

function logRequest(request: Request): void {
  for (const handler of request.location.log) {
    try {
      handler(request);
    } catch (error) {
      logException(request, error);
    }
  }
}

function cleanUp(request: Request, cleanup: readonly (() => void)[]): void {
  request.cleanup = undefined;
  for (let i = cleanup.length - 1; i >= 0; i--) {
    try {
      cleanup[i]();
    } catch (error) {
      logException(request, error);
    }
  }
}
