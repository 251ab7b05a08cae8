import { parseSize } from "../../config/values.ts";
import { now } from "../../sys/clock.ts";
import { parseUnsafeUri } from "../../wire/uri.ts";
import { ERROR, OK } from "../core/codes.ts";
import { finalizeRequest, internalRedirect, namedRedirect } from "../core/engine.ts";
import { sendHeader } from "../core/filters.ts";
import { logError } from "../core/log_context.ts";
import { GET, type Request } from "../core/request.ts";
import { takeBody, takeLimited } from "./body.ts";
import { passEarlyHints } from "./early_hints.ts";
import { finalize, keepHead, leave, releaseServer } from "./finish.ts";
import { bufferingOf, copyRedirectFields, copyResponse } from "./headers.ts";
import { mayRepeat, nextServer } from "./next.ts";
import { complete, settle } from "./passing.ts";
import { type AnswerHead, type AnswerReader, INFORMATIONAL, INVALID, MORE } from "./protocol.ts";
import { ReadLimit } from "./read_limit.ts";
import type { UpstreamRequest } from "./request.ts";
import { BODY } from "./step.ts";
import { openTunnel } from "./tunnel.ts";

/** Informational answers before one that is none: a server has a few to give, a broken one has them without end. */
const MOST_INFORMATIONAL = 100;

/** The statuses of proxy_next_upstream. */
const NEXT_STATUS: Readonly<Record<number, string>> = {
  500: "http_500",
  502: "http_502",
  503: "http_503",
  504: "http_504",
  403: "http_403",
  404: "http_404",
  429: "http_429",
};

/** Bytes of an answer's head; what follows it is taken as well. */
export function takeHead(upstream: UpstreamRequest, bytes: Buffer): void {
  const { connection, request, target, present } = upstream;
  if (connection === undefined) return;
  const { reader } = connection;
  let code = reader.readHead(bytes, 0);
  while (code === INFORMATIONAL) {
    // The answer proper is still to come (RFC 9110 section 15.2).
    if (++upstream.informational > MOST_INFORMATIONAL) {
      logError(
        request,
        "error",
        "upstream sent too many informational responses while reading response header from upstream",
      );
      nextServer(upstream, "invalid_header");
      return;
    }
    if (reader.head.status === 103) takeHints(upstream, reader.head);
    const { pos } = reader;
    reader.begin(target.settings.bufferSize);
    if (pos === bytes.length) return;
    code = reader.readHead(bytes, pos);
  }
  // As in nginx, the whole head has one proxy_read_timeout: a server cannot make it longer with dribs and drabs.
  if (code === MORE) return;
  if (reader.error !== "") logError(request, "error", `${reader.error} while reading response header from upstream`);
  if (code === INVALID) {
    nextServer(upstream, "invalid_header");
    return;
  }
  const { head } = reader;
  if (head.ignored !== undefined) {
    for (const sentence of head.ignored)
      logError(request, "warn", `${sentence} while reading response header from upstream`);
  }
  present.status = head.status;
  present.headerTime = now() - present.startedAt;
  target.group.header(upstream.attempt);
  reader.frame(target.headRequest, reader.pos < bytes.length);
  if (head.status >= 300 && divert(upstream, head)) return;
  answer(upstream, reader, head, bytes);
}

function takeHints(upstream: UpstreamRequest, head: AnswerHead): void {
  const { request, target } = upstream;
  const { bufferSize, earlyHints, hidden } = target.settings;
  if (earlyHints.length === 0) return;
  upstream.hintsLength += head.length;
  if (upstream.hintsLength <= bufferSize) passEarlyHints(request, head.headers, earlyHints, hidden);
  else logError(request, "info", "upstream sent too big early hints while reading response header from upstream");
}

/** Another server, or an error page, instead of this answer. */
function divert(upstream: UpstreamRequest, head: AnswerHead): boolean {
  const condition = NEXT_STATUS[head.status];
  if (condition !== undefined && upstream.attempt.tries > 1 && mayRepeat(upstream, condition)) {
    nextServer(upstream, condition);
    return true;
  }
  if (!upstream.target.settings.interceptErrors) return false;
  const { request } = upstream;
  for (const page of request.location.core.errorPages) {
    if (page.status !== head.status) continue;
    if (head.status === 401) {
      for (const value of head.headers.getAll("www-authenticate")) {
        request.response.headers.append("WWW-Authenticate", value);
      }
    }
    finalize(upstream, head.status);
    return true;
  }
  return false;
}

/** Passes the answer on: its head, and what has come of its body. */
function answer(upstream: UpstreamRequest, reader: AnswerReader, head: AnswerHead, bytes: Buffer): void {
  const { request, target } = upstream;
  const { settings } = target;
  if (head.xAccelRedirect !== undefined && !settings.ignored.has("x-accel-redirect")) {
    accelRedirect(upstream, head.xAccelRedirect, head);
    return;
  }
  const upgrade = head.status === 101;
  if (upgrade && !request.headers.has("upgrade")) {
    // Nobody asked for it: what would follow could be taken for anything.
    request.keepalive = false;
    upstream.keepalive = false;
  }
  if (head.version === 9) request.version = 9;
  copyResponse(request, head, target.rules, settings);
  if (upgrade && request.headers.has("upgrade")) {
    upstream.keepalive = false;
    if (request !== request.main) {
      logError(request, "error", "connection upgrade in subrequest");
      finalize(upstream, ERROR);
      return;
    }
    if (sendHead(upstream)) openTunnel(upstream, bytes, reader.pos);
    return;
  }
  upstream.buffering = head.xAccelBuffering === undefined ? settings.buffering : bufferingOf(head, settings);
  if (!upstream.buffering) request.limitRate = 0;
  if (!sendHead(upstream)) return;
  if (request.headerOnly) {
    finalize(upstream, OK);
    return;
  }
  if (reader.whole) {
    upstream.answerEnded = true;
    // proxy_method HEAD: the client waits for a body that the head announces.
    if (target.headRequest && head.contentLength > 0) request.incomplete = true;
    complete(upstream, false);
    return;
  }
  if (settings.limitRate !== undefined && upstream.buffering) {
    const rate = parseSize(settings.limitRate.render(request)) ?? 0;
    if (rate > 0) upstream.limit = new ReadLimit(rate);
  }
  if (reader.early !== undefined) takeBody(upstream, reader.early, 0);
  if (upstream.step !== BODY) return;
  if (reader.pos === bytes.length) settle(upstream);
  else if (upstream.limit === undefined) takeBody(upstream, bytes, reader.pos);
  else takeLimited(upstream, upstream.limit, bytes, reader.pos);
}

function sendHead(upstream: UpstreamRequest): boolean {
  const { request } = upstream;
  upstream.step = BODY;
  // The server has seen the conditions itself: what it sends is its answer to them.
  request.disableNotModified = true;
  const code = sendHeader(request);
  if (code === OK) {
    request.onWritable = writable;
    return true;
  }
  finalize(upstream, code);
  return false;
}

function writable(request: Request): void {
  request.upstream?.writable();
}

/** X-Accel-Redirect: another URI of ours instead of this answer. */
function accelRedirect(upstream: UpstreamRequest, to: string, head: AnswerHead): void {
  const { request, target } = upstream;
  copyRedirectFields(request, head, target.settings);
  releaseServer(upstream, "ok");
  keepHead(upstream);
  leave(upstream);
  if (to.startsWith("@")) {
    namedRedirect(request, to);
    return;
  }
  const parts = parseUnsafeUri(to);
  if (parts === undefined) {
    logError(request, "error", `unsafe URI "${to}" was detected`);
    finalizeRequest(request, 404);
    return;
  }
  if (request.method !== "HEAD") request.method = GET;
  internalRedirect(request, parts.uri, parts.args);
}
