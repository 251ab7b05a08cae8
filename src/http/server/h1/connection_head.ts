import { setDeadline } from "../../../sys/timers.ts";
import * as body from "../../../wire/http1/body_input.ts";
import { DONE, NEED_MORE } from "../../../wire/http1/request_head.ts";
import { COUNTER } from "../../core/counters.ts";
import { finalizeRequest, startPhases } from "../../core/engine.ts";
import { logError } from "../../core/log_context.ts";
import type { Request } from "../../core/request.ts";
import { startWithBody } from "../../core/request_body.ts";
import type { H1Connection } from "./connection.ts";
import { HEAD, NOTHING } from "./connection_modes.ts";
import { beginRequest } from "./request_start.ts";

/** Returns where the head ended. */
export function consumeHead(connection: H1Connection, bytes: Buffer, at: number, end: number): number {
  const { head, host } = connection;
  const { counters } = host;
  const first = connection.mode !== HEAD;
  const code = head.feed(bytes, at, end);
  if (code === NEED_MORE) {
    if (!first || !head.started) return end;
    counters[COUNTER.waiting]--;
    counters[COUNTER.reading]++;
    // On a fresh connection the whole head has the time that began to run when it was accepted.
    connection.mode = HEAD;
    connection.headSince = performance.now();
    if (connection.requests > 0) setDeadline(connection.deadline, host.config.defaultServer.clientHeaderTimeout);
    return end;
  }
  counters[first ? COUNTER.waiting : COUNTER.reading]--;
  const request = begin(connection);
  const refused = request.badUri ? 400 : request.refused;
  if (code === DONE && refused === 0) {
    if (head.fields.ignored !== undefined) logIgnored(request, head.fields.ignored);
    if (!beginBody(connection, request)) {
      const next = head.end;
      startPhases(request);
      return next;
    }
    connection.following = bytes;
    connection.followingAt = head.end;
    connection.followingEnd = end;
    const early = request.server.earlyBody;
    if (early === undefined) startPhases(request);
    else startWithBody(request, early);
    connection.following = undefined;
    return connection.followingAt;
  }
  request.keepalive = false;
  request.bodyEnded = true;
  request.lingering = code === 494;
  connection.unread = code !== DONE || head.end < end;
  // A path that cannot be decoded is known before the fields are.
  const error = code === DONE ? "client sent invalid request" : head.error;
  if (refused !== 500) logError(request, "info", `${error} while ${headAction(connection, code === DONE)}`);
  finalizeRequest(request, code === DONE ? refused : code);
  return end;
}

/** The request of the head that was read, or broke off. */
export function begin(connection: H1Connection): Request {
  connection.mode = NOTHING;
  connection.requests++;
  connection.config = connection.host.config;
  const request = beginRequest(connection, connection.config, connection.head, connection.response);
  connection.request = request;
  if (connection.headSince !== 0) {
    request.startedWall -= Math.round(request.startedAt - connection.headSince);
    request.startedAt = connection.headSince;
    connection.headSince = 0;
  }
  const { counters } = connection.host;
  counters[COUNTER.requests]++;
  counters[COUNTER.writing]++;
  return request;
}

export function headAction(connection: H1Connection, inLine: boolean): string {
  if (connection.head.inHeaders && !inLine) return "reading client request headers";
  return connection.pipelined ? "reading client pipelined request line" : "reading client request line";
}

function logIgnored(request: Request, sentences: readonly string[]): void {
  for (const sentence of sentences) logError(request, "info", `${sentence} while reading client request headers`);
}

/** Whether there is a body. */
function beginBody(connection: H1Connection, request: Request): boolean {
  const { contentLength, chunked } = connection.head.fields;
  if (contentLength <= 0 && !chunked) {
    request.bodyEnded = true;
    return false;
  }
  if (connection.body === undefined) connection.body = new body.BodyInput();
  connection.body.begin(contentLength, chunked);
  request.lingering = true;
  return true;
}

/** What was read of a head is all there will be: it is logged as a request, and not answered. */
export function refuseHead(connection: H1Connection, status: number, sentence: string): void {
  connection.head.giveUp();
  connection.host.counters[COUNTER.reading]--;
  const request = begin(connection);
  request.keepalive = false;
  request.bodyEnded = true;
  request.timedOut = status === 408;
  logError(request, "info", sentence);
  connection.broken = true;
  finalizeRequest(request, status);
}
