import { hostText } from "../../../net/address.ts";
import type { Stream, StreamError } from "../../../net/stream.ts";
import { defer } from "../../../sys/guard.ts";
import { clearDeadline, setDeadline } from "../../../sys/timers.ts";
import { CLIENT_CLOSED_REQUEST } from "../../core/codes.ts";
import { COUNTER } from "../../core/counters.ts";
import { finalizeRequest, freeRequest } from "../../core/engine.ts";
import { logConnection, logError } from "../../core/log_context.ts";
import type { Request } from "../../core/request.ts";
import { resetResponse } from "../../core/response.ts";
import type { H1Connection } from "./connection.ts";
import { bodyFailed, dropRest } from "./connection_body.ts";
import { headAction, refuseHead } from "./connection_head.ts";
import { HEAD, IDLE, KEPT, NOTHING } from "./connection_modes.ts";
import { LingeringClose } from "./lingering.ts";

/** Bytes of a head that a connection does not hold on to while it waits for the next one. */
const LARGE_HEAD = 4096;

/** The client sends nothing more; what it sent before may not all have been taken yet. */
export function clientEnded(connection: H1Connection): void {
  connection.readClosed = true;
  const { request } = connection;
  if (connection.tunnel !== undefined) {
    connection.tunnel.onClientEnd();
  } else if (request === undefined) {
    endedIdle(connection);
  } else if (connection.pending !== undefined) {
    clientLeaves(connection);
  } else if (request.bodyEnded || (request.discardBody && !request.finalized)) {
    request.bodyEnded = true;
    request.keepalive = false;
    if (!request.finalized) request.onAbort?.(request);
  } else if (request.finalized) {
    // The rest of a body that was being dropped will not come.
    request.bodyEnded = true;
    request.keepalive = false;
    if (!connection.finishing) done(connection, request);
  } else {
    logError(request, "info", "client prematurely closed connection");
    connection.broken = true;
    bodyFailed(connection, request, 400);
  }
}

/**
 * The client has closed its side, with bytes behind the request at work, or of its body, that are not taken yet. As in
 * nginx that ends a request that waits; where none does (proxy_ignore_client_abort), those bytes have their turn.
 */
export function clientLeaves(connection: H1Connection): void {
  const { request, tunnel } = connection;
  if (tunnel === undefined && request !== undefined && !request.finalized) request.onAbort?.(request);
}

/** The client closed while no request was at work. */
function endedIdle(connection: H1Connection): void {
  const { config } = connection.host;
  switch (connection.mode) {
    case HEAD: {
      const action = headAction(connection, false);
      refuseHead(connection, 400, `client prematurely closed connection while ${action}`);
      return;
    }
    case IDLE:
    case KEPT:
      if (connection.requests === 0) {
        logConnection(connection, config, "info", "client closed connection while waiting for request");
      } else {
        const { errorLog } = config.defaultServer.root;
        errorLog.write("info", `client ${hostText(connection.remote)} closed keepalive connection`, connection.number);
      }
  }
  destroySoon(connection, false);
}

export function streamClosed(connection: H1Connection, error: StreamError | undefined): void {
  clearDeadline(connection.deadline);
  try {
    endWhatRuns(connection, error);
  } catch (exception) {
    connection.onFault(exception);
  }
  connection.output.unblock();
  connection.mode = NOTHING;
  connection.host.closed(connection);
  requestOver(connection);
}

function endWhatRuns(connection: H1Connection, error: StreamError | undefined): void {
  const { request, mode } = connection;
  if (request !== undefined) {
    gone(connection, request, error);
  } else if (mode === HEAD) {
    if (error !== undefined)
      refuseHead(connection, 400, `recv() failed (${error.message}) while ${headAction(connection, false)}`);
    else connection.host.counters[COUNTER.reading]--;
  } else if (mode <= KEPT) {
    connection.host.counters[COUNTER.waiting]--;
  }
}

/** The stream went away under a request. */
function gone(connection: H1Connection, request: Request, error: StreamError | undefined): void {
  request.aborted = true;
  if (error !== undefined && !request.finalized) {
    const call = error.code === "EPIPE" || connection.sent > request.sentAtStart ? "send" : "recv";
    logError(request, "info", `${call}() failed (${error.message})`);
  }
  if (!request.finalized) {
    const sink = request.bodySink;
    if (sink !== undefined) bodyFailed(connection, request, 400);
    else if (request.onAbort !== undefined) request.onAbort(request);
    else finalizeRequest(request, CLIENT_CLOSED_REQUEST);
  }
  if (connection.request === request) ended(connection, request);
}

/** The client takes nothing of what is sent. */
export function sendTimedOut(connection: H1Connection, request: Request): void {
  request.timedOut = true;
  logError(request, "info", `client timed out (110: Connection timed out)${sendAction(request)}`);
  if (request.onAbort !== undefined && !request.finalized) {
    connection.output.blocked = false;
    request.aborted = true;
    request.onAbort(request);
  }
  if (connection.request === request) terminate(connection, request);
}

export function finish(connection: H1Connection, request: Request): void {
  connection.flush();
  if (!connection.output.idle && !connection.stream.closed) {
    connection.finishing = true;
    connection.output.awaitSent(request);
    return;
  }
  finished(connection, request);
}

/** The kernel has all of the response, or will get no more of it. */
export function finished(connection: H1Connection, request: Request): void {
  // The body broke off: a chunked response must not look complete.
  const broken = !request.responseEnded && !request.headerOnly && !request.aborted && request.chunkedResponse;
  if (request.incomplete || broken) terminate(connection, request);
  else done(connection, request);
}

/** Everything is sent, or nothing more will be. */
export function done(connection: H1Connection, request: Request): void {
  connection.finishing = false;
  if (!request.bodyEnded && request.keepalive && !connection.closed && !allTaken(connection)) {
    dropRest(connection, request);
    if (!request.bodyEnded || connection.request !== request) return;
  }
  const { keepalive, location } = request;
  const { core } = location;
  ended(connection, request);
  if (connection.stream.closed) return;
  if (allTaken(connection) || !keepalive || (connection.host.draining && core.keepaliveMinTimeout === 0)) {
    close(connection, request);
    return;
  }
  wait(connection, core.keepaliveTimeout, core.keepaliveMinTimeout);
  if (!connection.consuming) connection.readOn();
}

/** The client has closed its side, and all that it sent before was taken. */
function allTaken({ readClosed, pending, consuming }: H1Connection): boolean {
  return readClosed && pending === undefined && !consuming;
}

/** Waits for the next request. */
function wait(connection: H1Connection, timeout: number, atLeast: number): void {
  const { host, head } = connection;
  const { config } = host;
  host.counters[COUNTER.waiting]++;
  host.waits(connection);
  if (head.length > LARGE_HEAD) head.release();
  head.reset(config.limits);
  head.fields.limitsOf = config.limitsOf;
  connection.pipelined = true;
  if (atLeast === 0) {
    connection.mode = IDLE;
    connection.idleTime = timeout;
    setDeadline(connection.deadline, timeout);
    return;
  }
  connection.mode = KEPT;
  connection.idleTime = Math.max(0, timeout - atLeast);
  setDeadline(connection.deadline, timeout - connection.idleTime);
}

/** The request is over for the connection too. */
function ended(connection: H1Connection, request: Request): void {
  connection.request = undefined;
  connection.bodyPaused = false;
  connection.finishing = false;
  freeRequest(request);
  if (connection.output.blocked) connection.output.unblock();
  resetResponse(connection.response);
  if (connection.afterRequest !== undefined) requestOver(connection);
}

function requestOver(connection: H1Connection): void {
  const { afterRequest } = connection;
  connection.afterRequest = undefined;
  afterRequest?.();
}

function close(connection: H1Connection, request: Request): void {
  const { core } = request.location;
  const { stream } = connection;
  const left = request.lingering || connection.unread || connection.pipelined || connection.pending !== undefined;
  connection.pending = undefined;
  if (!connection.readClosed && (core.lingeringClose === "always" || (core.lingeringClose === "on" && left))) {
    connection.lingering = true;
    connection.host.waits(connection);
    connection.mode = NOTHING;
    clearDeadline(connection.deadline);
    new LingeringClose(stream, core, connection);
    return;
  }
  connection.mode = NOTHING;
  destroySoon(connection, false);
}

export function terminate(connection: H1Connection, request: Request): void {
  connection.output.drop();
  connection.broken = true;
  const reset = request.timedOut && request.location.core.resetTimedoutConnection;
  if (connection.request === request) ended(connection, request);
  connection.mode = NOTHING;
  destroySoon(connection, reset);
}

/** Once the log lines of this turn of the loop are written: who sees the connection end finds them. */
function destroySoon(connection: H1Connection, reset: boolean): void {
  connection.broken = true;
  if (!connection.stream.closed) defer(reset ? resetNow : destroyNow, connection.stream);
}

function destroyNow(stream: Stream): void {
  stream.destroy();
}

function resetNow(stream: Stream): void {
  stream.destroy(true);
}

function sendAction(request: Request): string {
  return request.upstream === undefined ? " while sending response to client" : " while sending to client";
}
