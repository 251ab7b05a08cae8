import { setDeadline } from "../../../sys/timers.ts";
import * as body from "../../../wire/http1/body_input.ts";
import { OK } from "../../core/codes.ts";
import { finalizeRequest } from "../../core/engine.ts";
import { logError } from "../../core/log_context.ts";
import type { Request } from "../../core/request.ts";
import type { H1Connection } from "./connection.ts";
import { done } from "./connection_end.ts";
import { BODY, NOTHING } from "./connection_modes.ts";

export function discard(connection: H1Connection, request: Request): number {
  request.discardBody = true;
  request.bodySink = undefined;
  connection.bodyPaused = false;
  // While an answer is made, what is dropped may come as slowly as it likes.
  if (connection.mode === BODY) connection.mode = NOTHING;
  const { following, pending } = connection;
  if (following !== undefined) {
    connection.followingAt = skim(connection, request, following, connection.followingAt, connection.followingEnd);
  } else if (!connection.consuming) {
    const at = pending === undefined ? 0 : skim(connection, request, pending, 0, pending.length);
    connection.pending = pending !== undefined && at < pending.length ? pending.subarray(at) : undefined;
    // A client that does not take its answer before it has sent everything must not wait for ever.
    if (connection.pending === undefined) connection.resumeStream();
  }
  return connection.unread && request.bodyEnded ? 400 : OK;
}

/** Drops what is at hand of the body; returns where it ends. */
function skim(connection: H1Connection, request: Request, bytes: Buffer, start: number, end: number): number {
  const input = connection.body;
  let at = start;
  while (input !== undefined && at < end && !request.bodyEnded) {
    switch (input.next(bytes, at, end, Number.POSITIVE_INFINITY)) {
      case body.DATA:
        at = input.pos;
        request.bodyEnded = input.whole;
        break;
      case body.OVER:
        at = input.pos;
        request.bodyEnded = true;
        break;
      case body.BROKEN:
        logError(request, "error", "client sent invalid chunked body");
        request.bodyEnded = true;
        request.keepalive = false;
        connection.unread = true;
        return end;
      default:
        at = end;
    }
  }
  if (request.bodyEnded) request.lingering = false;
  return at;
}

export function consumeBody(
  connection: H1Connection,
  request: Request,
  bytes: Buffer,
  at: number,
  end: number,
): number {
  const input = connection.body;
  if (input === undefined) return end;
  const code = input.next(bytes, at, end, request.chunked ? room(request) : Number.POSITIVE_INFINITY);
  switch (code) {
    case body.DATA: {
      const { dataStart, dataEnd, pos } = input;
      if (request.discardBody) {
        if (input.whole) endBody(connection, request);
        else armDiscard(connection, request);
        return pos;
      }
      request.length += pos - at;
      if (request.chunked && tooLarge(connection, request, input.chunkStart - dataStart, input.chunkSize)) return pos;
      request.bodyLength += dataEnd - dataStart;
      request.bodySink?.onBody(bytes.subarray(dataStart, dataEnd));
      if (connection.request !== request) return pos;
      if (input.whole) endBody(connection, request);
      else if (request.discardBody) armDiscard(connection, request);
      else armBody(connection, request);
      return pos;
    }
    case body.OVER:
      if (!request.discardBody) request.length += input.pos - at;
      endBody(connection, request);
      return input.pos;
    case body.BROKEN:
      logError(request, "error", "client sent invalid chunked body");
      breakBody(connection, request, 400);
      return end;
    default:
      if (request.discardBody) {
        armDiscard(connection, request);
      } else {
        request.length += end - at;
        armBody(connection, request);
      }
      return end;
  }
}

/** How much more of the body client_max_body_size allows. */
function room({ location, bodyLength, discardBody }: Request): number {
  const limit = location.core.clientMaxBodySize;
  return limit === 0 || discardBody ? Number.POSITIVE_INFINITY : limit - bodyLength;
}

/** client_max_body_size for chunks: as soon as a chunk's size says so. `before`: what was found ahead of that chunk. */
function tooLarge(connection: H1Connection, request: Request, before: number, size: number): boolean {
  if (before + size <= room(request)) return false;
  const length = request.bodyLength + before;
  logError(request, "error", `client intended to send too large chunked body: ${length}+${size} bytes`);
  bodyFailed(connection, request, 413);
  return true;
}

function endBody(connection: H1Connection, request: Request): void {
  request.bodyEnded = true;
  request.lingering = false;
  if (connection.mode === BODY) connection.mode = NOTHING;
  const sink = request.bodySink;
  request.bodySink = undefined;
  if (!request.discardBody) sink?.onBodyEnd();
  else if (request.finalized && !connection.finishing) done(connection, request);
}

/** The body ends here, for it cannot be told where it would; so does the connection. */
function breakBody(connection: H1Connection, request: Request, status: number): void {
  request.bodyEnded = true;
  request.keepalive = false;
  request.lingering = false;
  connection.unread = true;
  bodyFailed(connection, request, status);
}

export function bodyFailed(connection: H1Connection, request: Request, status: number): void {
  const sink = request.bodySink;
  request.bodySink = undefined;
  request.discardBody = true;
  if (connection.mode === BODY) connection.mode = NOTHING;
  if (sink !== undefined) sink.onBodyError(status);
  // A server may be on its way that would wait for the body for ever.
  else if (request.upstream !== undefined && !request.finalized) request.upstream.finalize(status);
  else if (!request.finalized) finalizeRequest(request, status);
  else if (!connection.finishing && connection.request === request) done(connection, request);
}

function armBody(connection: H1Connection, request: Request): void {
  if (connection.bodyPaused) return;
  connection.mode = BODY;
  setDeadline(connection.deadline, request.location.core.clientBodyTimeout);
}

/** While an answer is under way the client may take its time; after it, lingering_timeout and lingering_time hold. */
function armDiscard(connection: H1Connection, request: Request): void {
  if (!request.finalized || connection.finishing) return;
  const { lingeringTime, lingeringTimeout } = request.location.core;
  const now = performance.now();
  if (request.discardUntil === 0) request.discardUntil = now + lingeringTime;
  connection.mode = BODY;
  setDeadline(connection.deadline, Math.min(lingeringTimeout, request.discardUntil - now));
}

export function start(connection: H1Connection, request: Request): void {
  connection.sendContinue(request);
  armBody(connection, request);
  if (!connection.consuming) connection.readOn();
}

export function pause(connection: H1Connection): void {
  connection.bodyPaused = true;
  if (connection.mode === BODY) connection.mode = NOTHING;
}

export function resume(connection: H1Connection): void {
  if (!connection.bodyPaused) return;
  connection.bodyPaused = false;
  const { request } = connection;
  if (request !== undefined && !request.bodyEnded && !request.discardBody) armBody(connection, request);
  if (!connection.consuming) connection.readOn();
}

/** The rest of a body nobody wanted is read and dropped before the next request. */
export function dropRest(connection: H1Connection, request: Request): void {
  request.discardBody = true;
  connection.bodyPaused = false;
  armDiscard(connection, request);
  if (!connection.consuming) connection.readOn();
}
