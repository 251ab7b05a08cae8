import type { Outcome } from "../../balancer/peer.ts";
import type { PooledStream } from "../../balancer/pool.ts";
import { IGNORE } from "../../net/stream.ts";
import { now } from "../../sys/clock.ts";
import { clearDeadline } from "../../sys/timers.ts";
import { CLIENT_CLOSED_REQUEST, ERROR } from "../core/codes.ts";
import { finalizeRequest } from "../core/engine.ts";
import { logError } from "../core/log_context.ts";
import type { UpstreamRequest } from "./request.ts";
import { doing, OVER } from "./step.ts";

/** Gives the server back: its connection to the pool where it can be used again. */
export function releaseServer(upstream: UpstreamRequest, outcome: Outcome): void {
  const { connection, peer, target, present } = upstream;
  if (peer === undefined) return;
  if (connection !== undefined) {
    const { stream } = connection.pooled;
    if (stream.sending || stream.closed) present.bytesSent -= stream.unsent;
  }
  if (present.responseTime < 0) present.responseTime = now() - present.startedAt;
  target.group.release(upstream.attempt, outcome);
  if (upstream.attempt.disabled) {
    const what = doing(upstream.step, upstream.bodySent);
    logError(upstream.request, "warn", `upstream server temporarily disabled while ${what}`);
  }
  upstream.peer = undefined;
  if (connection === undefined) return;
  upstream.connection = undefined;
  upstream.stream = undefined;
  upstream.step = OVER;
  connection.current = undefined;
  const { pooled, reader } = connection;
  if (upstream.paused) {
    upstream.paused = false;
    pooled.stream.resume();
  }
  const { pool } = target;
  if (
    pool !== undefined &&
    outcome === "ok" &&
    upstream.keepalive &&
    reader.reusable &&
    requestTaken(upstream, pooled)
  ) {
    if (pool.put(pooled, target.place)) {
      upstream.lent = connection;
      return;
    }
  }
  clearDeadline(connection.deadline);
  pooled.leave();
  pooled.stream.handler = IGNORE;
  pooled.stream.destroy();
}

/** The whole request has left: what a server that answered early did not take would stand before the next one. */
function requestTaken(upstream: UpstreamRequest, { stream }: PooledStream): boolean {
  return upstream.bodyWritten && !stream.sending;
}

/** The request is not over though its connection may serve another one: the head stays with the request. */
export function keepHead(upstream: UpstreamRequest): void {
  const reader = upstream.lent?.reader;
  if (reader !== undefined && reader.head === upstream.head) reader.leaveHead();
  upstream.lent = undefined;
}

/** Ends the exchange with the server and answers `code`. */
export function finalize(upstream: UpstreamRequest, code: number): void {
  if (code === CLIENT_CLOSED_REQUEST || code === ERROR) upstream.keepalive = false;
  releaseServer(upstream, "ok");
  finish(upstream, code);
}

/** Ends the passage: what it holds is let go, and the request ends with `code`. */
export function finish(upstream: UpstreamRequest, code: number): void {
  const { request } = upstream;
  if (upstream.connection !== undefined) releaseServer(upstream, "ok");
  leave(upstream);
  finalizeRequest(request, request.headerSent && code >= 300 ? ERROR : code);
  if (!request.logged) keepHead(upstream);
  upstream.lent = undefined;
}

/** Lets go of what the passage holds and of the request's hooks. */
export function leave(upstream: UpstreamRequest): void {
  const { request } = upstream;
  upstream.step = OVER;
  upstream.spool?.close();
  upstream.spool = undefined;
  if (!upstream.ended) upstream.target.group.end(upstream.attempt);
  upstream.ended = true;
  if (request.bodySink === upstream) request.bodySink = undefined;
  // An error page may have gone on to another upstream already.
  if (request.upstream !== upstream) return;
  request.onAbort = undefined;
  request.onWritable = undefined;
}

/** The client has gone before its answer was complete. */
export function clientGone(upstream: UpstreamRequest): void {
  const what = doing(upstream.step, upstream.bodySent);
  const too = upstream.connection === undefined ? "" : ", so upstream connection is closed too";
  const sentence = `epoll_wait() reported that client prematurely closed connection${too} while ${what}`;
  logError(upstream.request, "info", sentence);
  finalize(upstream, CLIENT_CLOSED_REQUEST);
}
