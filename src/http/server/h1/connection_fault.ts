import { logFault } from "../../../sys/guard.ts";
import { COUNTER } from "../../core/counters.ts";
import { finalizeRequest } from "../../core/engine.ts";
import { logException } from "../../core/log_context.ts";
import type { Request } from "../../core/request.ts";
import type { H1Connection } from "./connection.ts";
import { terminate } from "./connection_end.ts";
import { begin } from "./connection_head.ts";
import { BODY, HEAD, NOTHING } from "./connection_modes.ts";

/**
 * An exception left code that was at work for this connection. Its request is answered with 500 where nothing has been
 * answered yet, and is its last; what was read beyond it is dropped, for nobody knows how far that was understood.
 */
export function faulted(connection: H1Connection, error: unknown): void {
  const inHead = connection.consuming && connection.request === undefined && connection.mode <= HEAD;
  connection.consuming = false;
  connection.following = undefined;
  connection.pending = undefined;
  connection.unread = true;
  try {
    const request = inHead ? beginBroken(connection) : connection.request;
    if (request === undefined) {
      logFault(error, `, client connection: *${connection.number}`);
      connection.stream.destroy();
      return;
    }
    if (request.refused === 0) logException(request, error);
    fail(connection, request);
  } catch (second) {
    logFault(second);
    giveUp(connection);
  }
}

/** What was read of the head makes a request, so that it is answered, counted and logged. */
function beginBroken(connection: H1Connection): Request {
  connection.host.counters[connection.mode === HEAD ? COUNTER.reading : COUNTER.waiting]--;
  const request = begin(connection);
  request.bodyEnded = true;
  return request;
}

function fail(connection: H1Connection, request: Request): void {
  request.keepalive = false;
  request.bodySink = undefined;
  request.discardBody = true;
  if (connection.mode === BODY) connection.mode = NOTHING;
  const { upstream } = request;
  if (request.finalized) {
    terminate(connection, request);
  } else if (upstream !== undefined && !upstream.ended) {
    // In whatever state the exception left the server's connection: it carries no other request.
    upstream.keepalive = false;
    upstream.finalize(500);
  } else {
    finalizeRequest(request, 500);
  }
}

/** The answer that would say so failed as well (its error page, a filter). */
function giveUp(connection: H1Connection): void {
  const { request, stream } = connection;
  try {
    if (request !== undefined) {
      const { upstream } = request;
      if (upstream !== undefined && !upstream.ended) upstream.abandon();
      if (!request.headerSent) request.response.status = 500;
      terminate(connection, request);
    }
  } catch (error) {
    logFault(error);
  }
  stream.destroy();
}
