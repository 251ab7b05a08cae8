import { byteString } from "../../wire/latin1.ts";
import { ERROR, OK } from "../core/codes.ts";
import { endBody, FLUSH, LAST, passBody, takesMore } from "../core/filters.ts";
import { finalize, finish, keepHead, releaseServer } from "./finish.ts";
import type { UpstreamRequest } from "./request.ts";
import { ResponseSpool } from "./response_spool.ts";
import { BODY, OVER } from "./step.ts";

/** Pieces that go on as text: they would become part of one, and a view of them costs more than the text. */
const SHORT = 4096;

/** Hands body bytes to the client's side; `last` marks the end of the response. */
export function pass(upstream: UpstreamRequest, bytes: Buffer, from: number, until: number, last: boolean): void {
  const { request } = upstream;
  const { connection } = request;
  const length = until - from;
  upstream.present.responseLength += length;
  if (waits(upstream) || (upstream.buffering && !takesMore(request) && !connection.closed)) {
    upstream.spool ??= new ResponseSpool(upstream, spoolAdvanced);
    upstream.spool.push(bytes.subarray(from, until));
  } else if (length <= SHORT) {
    passBody(request, 0, byteString(bytes, from, until), last ? LAST : 0);
  } else {
    passBody(request, 0, length === bytes.length ? bytes : bytes.subarray(from, until), last ? LAST : 0);
  }
}

/** Something of the response waits for the client. */
function waits({ spool }: UpstreamRequest): boolean {
  return spool !== undefined && spool.length > 0;
}

/** After a read: what is held back leaves, and a slow client holds the server up where nothing may be buffered. */
export function settle(upstream: UpstreamRequest): void {
  const { spool } = upstream;
  if (upstream.step !== BODY) return;
  if (spool?.failed) {
    finalize(upstream, ERROR);
    return;
  }
  const { request } = upstream;
  if (!upstream.buffering) passBody(request, 0, "", FLUSH);
  else if (!waits(upstream)) request.exchange.flush();
  upstream.arm(upstream.target.settings.readTimeout);
  const full = spool === undefined ? !upstream.buffering && !takesMore(request) : spool.full;
  if (full) upstream.pause();
}

/** The client takes bytes again. */
export function drained(upstream: UpstreamRequest): void {
  const { spool, request } = upstream;
  if (spool !== undefined) {
    while (takesMore(request) && spool.length > 0) {
      const piece = spool.first();
      if (piece === undefined) break;
      passBody(request, 0, piece, upstream.answerEnded && spool.length === piece.length ? LAST : 0);
      spool.dropFirst();
      if (upstream.spool !== spool) return;
    }
    if (spool.failed) {
      finalize(upstream, ERROR);
      return;
    }
    if (spool.length === 0) {
      if (upstream.answerEnded) {
        finish(upstream, OK);
        return;
      }
      request.exchange.flush();
    } else if (spool.full) {
      return;
    }
  }
  if (upstream.brokenOff) {
    if (!waits(upstream) && takesMore(request)) finishBroken(upstream);
    return;
  }
  if (upstream.step === BODY && !upstream.limiting) upstream.arm(upstream.target.settings.readTimeout);
  upstream.resume();
}

/** The spool has read or written its file. */
function spoolAdvanced(upstream: UpstreamRequest): void {
  const { spool, request } = upstream;
  if (spool?.failed) finalize(upstream, ERROR);
  else if (takesMore(request) || spool?.full === false) drained(upstream);
}

/** The whole answer has been read. `passedLast`: its end was passed on with its last bytes. */
export function complete(upstream: UpstreamRequest, passedLast: boolean): void {
  const { request } = upstream;
  releaseServer(upstream, "ok");
  if (upstream.spool?.failed) {
    finalize(upstream, ERROR);
    return;
  }
  if (waits(upstream)) {
    keepHead(upstream);
    upstream.step = OVER;
    if (takesMore(request)) drained(upstream);
    return;
  }
  if (!passedLast) endBody(request);
  finish(upstream, OK);
}

/** The answer cannot be completed: the client gets what there is, in its own time, and then a close. */
export function breakOff(upstream: UpstreamRequest): void {
  const { request } = upstream;
  // As nginx counts: once it has begun to answer, the server is no failed one.
  upstream.keepalive = false;
  releaseServer(upstream, "ok");
  upstream.step = OVER;
  upstream.brokenOff = true;
  request.keepalive = false;
  request.exchange.flush();
  if (request.connection.closed) finishBroken(upstream);
  else if (takesMore(request)) drained(upstream);
}

function finishBroken(upstream: UpstreamRequest): void {
  upstream.request.incomplete = true;
  finish(upstream, OK);
}
