import fs from "node:fs";
import type { Stream } from "../../net/stream.ts";
import { errorCode, errorText } from "../../sys/errno.ts";
import { afterEvent } from "../../sys/guard.ts";
import { logError } from "../core/log_context.ts";
import type { RequestBody } from "../core/types.ts";
import { mayRead, nextTurn, spend } from "../files/file_turns.ts";
import { finalize } from "./finish.ts";
import type { UpstreamRequest } from "./request.ts";
import { BODY, HEADER, OVER } from "./step.ts";

/** A body in memory up to this size goes out in one write with the head. */
const WITH_HEAD = 16 * 1024;
/** What is read of a body's file at a time. */
const pieces = Buffer.allocUnsafeSlow(64 * 1024);

/** Sends the request on a connection that is made: its head, and as much of its body as there is. */
export function sendRequest(upstream: UpstreamRequest, stream: Stream): void {
  const { target, request } = upstream;
  const { head, settings } = target;
  upstream.step = HEADER;
  upstream.sent = true;
  if (target.body !== undefined || !settings.passRequestBody) {
    send(upstream, stream, target.body === undefined ? head : head + target.body);
    written(upstream, stream);
  } else if (request.body !== undefined) {
    sendBuffered(upstream, stream, head, request.body);
  } else if (request.preread !== undefined || (!request.bodyEnded && !request.discardBody)) {
    sendStreamed(upstream, stream, head);
  } else {
    send(upstream, stream, head);
    written(upstream, stream);
  }
}

/** A request whose body comes bit by bit, or has begun to. */
function sendStreamed(upstream: UpstreamRequest, stream: Stream, head: string): void {
  const { request } = upstream;
  upstream.streaming = true;
  upstream.disarm();
  stream.cork();
  send(upstream, stream, head);
  sendPreread(upstream, stream);
  const over = request.bodyEnded || request.discardBody;
  if (over) upstream.onBodyEnd();
  const more = stream.uncork();
  if (over) {
    written(upstream, stream);
    return;
  }
  request.bodySink = upstream;
  if (!more) streamed(upstream, false);
  request.exchange.startBody(request);
}

/** What came of the body before a server was at hand. Once sent it is gone: such a request is not tried again. */
function sendPreread(upstream: UpstreamRequest, stream: Stream): void {
  const { request } = upstream;
  const { preread } = request;
  if (preread === undefined) return;
  request.preread = undefined;
  for (let piece = preread.data.first(); piece.length > 0; piece = preread.data.first()) {
    bodyPiece(upstream, piece);
    preread.data.drop(piece.length);
  }
  sendGathered(upstream, stream);
}

function send(upstream: UpstreamRequest, stream: Stream, bytes: Uint8Array | string): boolean {
  upstream.present.bytesSent += bytes.length;
  return stream.write(bytes);
}

/** A piece of the body, as the protocol cuts it up. False when the stream takes no more for now. */
function sendPiece(upstream: UpstreamRequest, stream: Stream, bytes: Uint8Array): boolean {
  const { coding } = upstream.target;
  if (coding === undefined) return send(upstream, stream, bytes);
  stream.cork();
  send(upstream, stream, coding.before(bytes.length));
  send(upstream, stream, bytes);
  send(upstream, stream, coding.after(bytes.length));
  return stream.uncork();
}

function sendEnd(upstream: UpstreamRequest, stream: Stream): void {
  const { coding } = upstream.target;
  if (coding !== undefined) send(upstream, stream, coding.end);
}

/** Nothing is left to be written. The answer has proxy_read_timeout from when the kernel has all of the request. */
function written(upstream: UpstreamRequest, stream: Stream): void {
  upstream.bodyWritten = true;
  if (!stream.sending) requestSent(upstream);
  else if (upstream.step === HEADER) awaitTaking(upstream);
}

/** The kernel has all of the request. */
export function requestSent(upstream: UpstreamRequest): void {
  upstream.bodySent = true;
  const { step, limiting } = upstream;
  if (step === HEADER || (step === BODY && !limiting)) upstream.arm(upstream.target.settings.readTimeout);
}

/** proxy_send_timeout: how long the server may take nothing. */
export function awaitTaking(upstream: UpstreamRequest): void {
  upstream.unsent = upstream.stream?.unsent ?? 0;
  upstream.arm(upstream.target.settings.sendTimeout);
}

/** Whether it took anything since it was given time. */
export function takesRequest(upstream: UpstreamRequest): boolean {
  const { stream } = upstream;
  return stream?.sending === true && stream.unsent !== upstream.unsent;
}

function sendBuffered(upstream: UpstreamRequest, stream: Stream, head: string, body: RequestBody): void {
  const { length } = body;
  if (body.file === undefined && length <= WITH_HEAD && upstream.target.coding === undefined) {
    const bytes = body.memory();
    send(upstream, stream, bytes === undefined || length === 0 ? head : head + bytes.latin1Slice(0, length));
    written(upstream, stream);
    return;
  }
  stream.cork();
  send(upstream, stream, head);
  sendNext(upstream, stream, body);
  const more = stream.uncork();
  if (upstream.step !== HEADER) return;
  if (upstream.bodyWritten) written(upstream, stream);
  else if (more) sendRest(upstream, stream, body);
  else awaitTaking(upstream);
}

/** Sends what the server takes for now. */
function sendRest(upstream: UpstreamRequest, stream: Stream, body: RequestBody): void {
  while (!upstream.bodyWritten) {
    if (body.file !== undefined && !mayRead(upstream)) {
      nextTurn(upstream);
      return;
    }
    if (!sendNext(upstream, stream, body)) {
      if (upstream.step === HEADER && !upstream.bodyWritten) awaitTaking(upstream);
      return;
    }
  }
}

/** Sends the next piece of a body that was read whole, and its end. False when the stream takes no more for now, or all is over. */
function sendNext(upstream: UpstreamRequest, stream: Stream, body: RequestBody): boolean {
  let more = true;
  if (upstream.bodyOffset < body.length) {
    const piece = pieceOf(upstream, body);
    if (piece === undefined) {
      // The server must not take what it got for all of it.
      finalize(upstream, 500);
      return false;
    }
    upstream.bodyOffset += piece.length;
    upstream.bodyPieces++;
    more = sendPiece(upstream, stream, piece);
    if (upstream.bodyOffset < body.length) return more;
  }
  sendEnd(upstream, stream);
  written(upstream, stream);
  return more;
}

function pieceOf(upstream: UpstreamRequest, body: RequestBody): Buffer | undefined {
  const { bodyOffset: offset } = upstream;
  if (body.file === undefined) return body.data.at(upstream.bodyPieces);
  const wanted = Math.min(pieces.length, body.length - offset);
  const read = readPiece(upstream, body.file.fd, pieces, wanted, offset);
  spend(read);
  return read === 0 ? undefined : pieces.subarray(0, read);
}

/** Reads from a body's file; 0 when there is nothing to be had, which has been logged. */
function readPiece(upstream: UpstreamRequest, fd: number, into: Buffer, length: number, offset: number): number {
  let why = "truncated file";
  try {
    const read = fs.readSync(fd, into, 0, length, offset);
    if (read > 0) return read;
  } catch (error) {
    why = errorText(errorCode(error));
  }
  logError(upstream.request, "crit", `pread() of the request body failed (${why}) while sending request to upstream`);
  return 0;
}

/** The server takes more. */
export function sendMore(upstream: UpstreamRequest, stream: Stream): void {
  const { body, exchange } = upstream.request;
  if (upstream.streaming) {
    if (upstream.step === HEADER) upstream.disarm();
    exchange.resumeBody();
  } else if (body !== undefined) {
    sendRest(upstream, stream, body);
  }
}

/** A piece of a body that is passed on as it comes, lent for the call. */
export function bodyPiece(upstream: UpstreamRequest, bytes: Buffer): void {
  const { stream, target } = upstream;
  if (stream === undefined) return;
  if (target.coding !== undefined) {
    gather(upstream, bytes);
    return;
  }
  streamed(upstream, send(upstream, stream, bytes));
}

/** After a piece: proxy_send_timeout runs while the server takes no more, not while the client is slow. */
function streamed(upstream: UpstreamRequest, more: boolean): void {
  if (!more) upstream.request.exchange.pauseBody();
  if (upstream.step !== HEADER) return;
  if (more) upstream.disarm();
  else awaitTaking(upstream);
}

/** What comes in one read goes out as one chunk, however it was cut. */
function gather(upstream: UpstreamRequest, bytes: Buffer): void {
  const copy = Buffer.from(bytes);
  if (upstream.gathered !== undefined) {
    upstream.gathered.push(copy);
    return;
  }
  upstream.gathered = [copy];
  afterEvent(sendAllGathered, upstream);
}

function sendAllGathered(upstream: UpstreamRequest): void {
  if (upstream.stream !== undefined) sendGathered(upstream, upstream.stream);
}

function sendGathered(upstream: UpstreamRequest, stream: Stream): void {
  const { gathered } = upstream;
  if (gathered === undefined) return;
  upstream.gathered = undefined;
  if (upstream.step === OVER) return;
  const piece = gathered.length === 1 ? gathered[0] : Buffer.concat(gathered);
  streamed(upstream, sendPiece(upstream, stream, piece));
}

/** A body that is passed on as it comes is over. */
export function bodyEnded(upstream: UpstreamRequest): void {
  const { stream } = upstream;
  if (stream === undefined) return;
  stream.cork();
  sendGathered(upstream, stream);
  sendEnd(upstream, stream);
  stream.uncork();
  written(upstream, stream);
}
