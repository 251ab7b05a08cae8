import fs from "node:fs";
import { errorCode, errorText } from "../../config/errno.ts";
import type { Stream } from "../../net/stream.ts";
import { afterEvent } from "../../runtime/guard.ts";
import type { RequestBody } from "../body.ts";
import { mayRead, nextTurn, spend } from "../file_turns.ts";
import { logError } from "../log_context.ts";
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
    upstream.bodySent = true;
    send(upstream, stream, target.body === undefined ? head : head + target.body);
  } else if (request.body !== undefined) {
    sendBuffered(upstream, stream, head, request.body);
  } else if (request.preread !== undefined || (!request.bodyEnded && !request.discardBody)) {
    stream.cork();
    send(upstream, stream, head);
    upstream.streaming = true;
    upstream.disarm();
    sendPreread(upstream, stream);
    const over = request.bodyEnded || request.discardBody;
    if (over) upstream.onBodyEnd();
    stream.uncork();
    if (!over) {
      request.bodySink = upstream;
      request.connection.startBody(request);
    }
  } else {
    upstream.bodySent = true;
    send(upstream, stream, head);
  }
  if (upstream.step !== HEADER) return;
  if (upstream.bodySent) upstream.arm(settings.readTimeout);
  else if (!upstream.streaming) upstream.arm(settings.sendTimeout);
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
  const more = send(upstream, stream, coding.after(bytes.length));
  stream.uncork();
  return more;
}

function sendEnd(upstream: UpstreamRequest, stream: Stream): void {
  upstream.bodySent = true;
  const { coding } = upstream.target;
  if (coding !== undefined) send(upstream, stream, coding.end);
}

function sendBuffered(upstream: UpstreamRequest, stream: Stream, head: string, body: RequestBody): void {
  const { length } = body;
  if (body.file === undefined && length <= WITH_HEAD && upstream.target.coding === undefined) {
    upstream.bodySent = true;
    const bytes = body.memory();
    send(upstream, stream, bytes === undefined || length === 0 ? head : head + bytes.latin1Slice(0, length));
    return;
  }
  stream.cork();
  send(upstream, stream, head);
  const first = sendNext(upstream, stream, body);
  stream.uncork();
  if (first && upstream.step === HEADER) sendRest(upstream, stream, body);
}

/** Sends what the server takes for now. */
function sendRest(upstream: UpstreamRequest, stream: Stream, body: RequestBody): void {
  while (!upstream.bodySent) {
    if (body.file !== undefined && !mayRead(upstream)) {
      nextTurn(upstream);
      return;
    }
    if (!sendNext(upstream, stream, body)) return;
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

/** The stream takes bytes again. */
export function sendMore(upstream: UpstreamRequest, stream: Stream): void {
  const { body, connection } = upstream.request;
  if (upstream.streaming) {
    if (upstream.step === HEADER) upstream.disarm();
    connection.resumeBody();
  } else if (body !== undefined) {
    upstream.arm(upstream.target.settings.sendTimeout);
    sendRest(upstream, stream, body);
    if (upstream.bodySent) upstream.arm(upstream.target.settings.readTimeout);
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
  if (!more) upstream.request.connection.pauseBody();
  if (upstream.step !== HEADER) return;
  if (more) upstream.disarm();
  else upstream.arm(upstream.target.settings.sendTimeout);
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
  const { stream, step } = upstream;
  if (stream === undefined) return;
  stream.cork();
  sendGathered(upstream, stream);
  sendEnd(upstream, stream);
  stream.uncork();
  if (step === HEADER || step === BODY) upstream.arm(upstream.target.settings.readTimeout);
}
