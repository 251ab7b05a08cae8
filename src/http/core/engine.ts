import { RegexMatchError } from "../../regex/regex.ts";
import { clearDeadline, Deadline, setDeadline } from "../../sys/timers.ts";
import { type HeadText, headText } from "../../wire/head_text.ts";
import { extenOf } from "../../wire/uri.ts";
import { chooseLocation, setLocation } from "./choose_location.ts";
import { CLIENT_CLOSED_REQUEST, CLOSE, DECLINED, DONE, ERROR, OK } from "./codes.ts";
import { discardBodyForError } from "./discard_body.ts";
import { LAST, passBody } from "./filters.ts";
import type { ErrorPage } from "./location.ts";
import { logError } from "./log_context.ts";
import { PHASE, runAccess, runContent, runHandlers, runRewrite } from "./phases.ts";
import { GET, NO_FILTERS, type Request } from "./request.ts";
import { clearLastModified } from "./response.ts";
import { errorPageBody, refreshPage, wantsPadding, wantsRefresh } from "./special_pages.ts";

/**
 * What drives a request from phase to phase and to its end: each part of this file may call any other. A phase finalizes the
 * request with a status, whose error_page is an internal redirect, which runs the phases again; a header filter may have
 * another status answered (ngx_http_core_module.c, ngx_http_request.c, ngx_http_special_response.c).
 */

// ---- phases

/** Starts a request's phases (its server is chosen). */
export function startPhases(request: Request): void {
  request.phase = request.internal ? PHASE.serverRewrite : PHASE.postRead;
  request.step = 0;
  runPhases(request);
}

/** Runs a request from its current phase until a handler waits, takes it over or ends it. Nothing where it is over: who waited for it may learn that late. */
export function runPhases(request: Request): void {
  if (request.finalized) return;
  try {
    run(request);
  } catch (error) {
    if (!(error instanceof RegexMatchError)) throw error;
    logError(request, "alert", error.message);
    finalizeRequest(request, 500);
  }
}

function run(request: Request): void {
  for (;;) {
    let code = DECLINED;
    switch (request.phase) {
      case PHASE.postRead:
        code = runHandlers(request, request.location.postRead);
        break;
      case PHASE.serverRewrite:
        code = runRewrite(request, request.server.serverRewrite);
        break;
      case PHASE.findLocation:
        code = chooseLocation(request);
        if (code === DECLINED && request.location.direct) {
          request.phase = PHASE.content;
          continue;
        }
        break;
      case PHASE.rewrite:
        code = runRewrite(request, request.location.rewrite);
        break;
      case PHASE.postRewrite:
        if (!request.uriChanged) break;
        if (isCycle(request, "processing", request.uri)) return;
        request.phase = PHASE.findLocation;
        request.step = 0;
        continue;
      case PHASE.preaccess:
        code = runHandlers(request, request.location.preaccess);
        break;
      case PHASE.access:
        code = runAccess(request);
        if (code === 401 && delayUnauthorized(request)) return;
        break;
      case PHASE.precontent:
        code = runHandlers(request, request.location.precontent);
        break;
      default:
        code = runContent(request);
    }
    if (code !== DECLINED) {
      finalizeRequest(request, code);
      return;
    }
    request.phase++;
    request.step = 0;
  }
}

/** Counts a change of the URI. After ten the request is answered with 500. */
function isCycle(request: Request, doing: string, uri: string): boolean {
  request.uriChanges--;
  if (request.uriChanges !== 0) return false;
  logError(request, "error", `rewrite or internal redirection cycle while ${doing} "${uri}"`);
  finalizeRequest(request, 500);
  return true;
}

/** `auth_delay`: answers 401 later, so that passwords cannot be guessed quickly. False if it is not set. */
function delayUnauthorized(request: Request): boolean {
  const { authDelay } = request.location.core;
  if (authDelay === 0) return false;
  logError(request, "info", "delaying unauthorized request");
  delayRequest(request, authDelay, finalizeUnauthorized);
  return true;
}

function finalizeUnauthorized(request: Request): void {
  finalizeRequest(request, 401);
}

/** Calls `goOn` in `ms` milliseconds, unless the client goes away before that (ngx_http_test_reading). */
export function delayRequest(request: Request, ms: number, goOn: (request: Request) => void): void {
  const delayed = new Deadline(request, () => {
    request.onAbort = undefined;
    goOn(request);
  });
  setDeadline(delayed, ms);
  request.onAbort = () => {
    clearDeadline(delayed);
    logError(request, "info", "client prematurely closed connection");
    finalizeRequest(request, CLIENT_CLOSED_REQUEST);
  };
  request.cleanup ??= [];
  request.cleanup.push(() => clearDeadline(delayed));
}

// ---- the end of a handler

/**
 * Ends a handler with what it returned (ngx_http_finalize_request). DONE: somebody else goes on with the request. A
 * status of 300 or more (or 201, 204) is answered with its page. OK completes the response.
 */
export function finalizeRequest(request: Request, code: number): void {
  if (code === DONE || request.finalized) return;
  if (request.subrequest !== undefined) {
    request.subrequest.finalize(request, code);
    return;
  }
  const { connection, exchange } = request;
  if (connection.closed || code === ERROR || code === CLIENT_CLOSED_REQUEST || code === 408 || code === CLOSE) {
    const { response } = request;
    if (code > 0 && (response.status === 0 || connection.sent === request.sentAtStart)) response.status = code;
    if (code === CLOSE) request.timedOut = true;
    setFinalized(request);
    exchange.terminate(request);
    return;
  }
  if (code >= 300 || code === 201 || code === 204) {
    if (request.headerSent && !request.postAction) {
      // Too late for another status, and what was begun cannot be completed.
      setFinalized(request);
      exchange.terminate(request);
      return;
    }
    finalizeRequest(request, answerStatus(request, code));
    return;
  }
  if (code < 0 || !request.headerSent) {
    // Also for a handler that returned OK without a response: nginx closes the connection.
    setFinalized(request);
    exchange.terminate(request);
    return;
  }
  if (request.subrequests?.finalizeLater(code) === true) return;
  if (request.buffered !== 0 || request.subrequests?.holds === true) {
    finalizeWhenWritten(request);
    return;
  }
  setFinalized(request);
  exchange.finalize(request);
}

/** The `onAbort` of a handler whose client still gets all of the response where it has only half-closed. */
export function finalizeIfAborted(request: Request): void {
  if (request.aborted) finalizeRequest(request, CLIENT_CLOSED_REQUEST);
}

/** The handler is done, but filters still hold bytes of the response: finalizes it when they have passed them on. */
export function finalizeWhenWritten(request: Request): void {
  request.onWritable = finalizeWritten;
  request.onAbort = finalizeIfAborted;
}

function finalizeWritten(request: Request): void {
  finalizeRequest(request, OK);
}

function setFinalized(request: Request): void {
  request.finalized = true;
  request.onAbort = undefined;
  request.onWritable = undefined;
}

// ---- internal redirects

/** `error_page /x`, `index`, `try_files`, X-Accel-Redirect: serves another URI of the same server instead. */
export function internalRedirect(request: Request, uri: string, args: string): number {
  if (isCycle(request, "internally redirecting to", uri)) return DONE;
  request.uri = uri;
  request.args = args;
  request.exten = extenOf(uri);
  request.unparsedValid = false;
  request.addUriToAlias = false;
  request.validLocation = true;
  request.gzipQuality = -1;
  request.gzipVary = false;
  resetForRedirect(request);
  setLocation(request, request.server.root);
  request.phase = PHASE.serverRewrite;
  request.step = 0;
  runPhases(request);
  return DONE;
}

/** The same to a named location: URI and arguments stay. */
export function namedRedirect(request: Request, name: string): number {
  if (isCycle(request, "redirect to named location", name)) return DONE;
  if (request.uri === "") {
    logError(request, "error", `empty URI in redirect to named location "${name}"`);
    finalizeRequest(request, 500);
    return DONE;
  }
  const location = request.server.root.tree?.named.get(name)?.location;
  if (location === undefined) {
    logError(request, "error", `could not find named location "${name}"`);
    finalizeRequest(request, 500);
    return DONE;
  }
  resetForRedirect(request);
  setLocation(request, location);
  request.phase = PHASE.rewrite;
  request.step = 0;
  runPhases(request);
  return DONE;
}

function resetForRedirect(request: Request): void {
  // A body that is passed on unbuffered, or was given up on the way, cannot be read again: the next handler gets none of it, lest it
  // take a part for the whole, and must not wait for it.
  if (request.body === undefined ? request.bodyStarted : !request.body.whole) loseBody(request);
  request.internal = true;
  request.uriChanged = false;
  request.contexts = undefined;
  request.passedTo = undefined;
  request.accessCode = 0;
}

function loseBody(request: Request): void {
  request.body?.release();
  request.body = undefined;
  request.preread?.release();
  request.preread = undefined;
  if (!request.bodyEnded) request.exchange.discardBody(request);
  request.discardBody = true;
}

// ---- special responses

const TEXT_HTML = headText("text/html");

/** Statuses after which nginx closes the connection (ngx_http_special_response_handler). */
const NO_KEEPALIVE: ReadonlySet<number> = new Set([400, 413, 414, 495, 496, 497, 500, 501]);

/** Answers an error or a redirect: with its `error_page`, else with the built-in page. */
export function answerStatus(request: Request, status: number): number {
  request.errorStatus = status;
  request.failure = status;
  if (request.keepalive && NO_KEEPALIVE.has(status)) request.keepalive = false;
  const { response } = request;
  response.contentType = undefined;
  response.charset = undefined;

  const { core } = request.location;
  if (!request.errorPage && core.errorPages.length > 0 && request.uriChanges !== 0) {
    if (!core.recursiveErrorPages) request.errorPage = true;
    for (const page of core.errorPages) {
      if (page.status === status) return sendErrorPage(request, page);
    }
  }
  discardBodyForError(request);
  if ((status === 301 || status === 302) && wantsRefresh(request)) return sendRefresh(request);
  if (status >= 494 && status <= 497) request.errorStatus = 400;
  return sendSpecial(request, status);
}

function sendErrorPage(request: Request, page: ErrorPage): number {
  const { overwrite } = page;
  if (overwrite !== 0 && overwrite !== 200) request.expectContinue = false;
  if (overwrite >= 0) request.errorStatus = overwrite;
  const uri = page.uri.render(request);
  if (uri.startsWith("/")) {
    let path = uri;
    let args = page.args;
    if (page.uri.constant === undefined) {
      const question = uri.indexOf("?");
      args = question < 0 ? "" : uri.slice(question + 1);
      if (question >= 0) path = uri.slice(0, question);
    } else if (page.path !== undefined) {
      path = page.path;
    }
    if (request.method !== "HEAD") request.method = GET;
    return internalRedirect(request, path, args);
  }
  if (uri.startsWith("@")) return namedRedirect(request, uri);

  discardBodyForError(request);
  if (![301, 302, 303, 307, 308].includes(overwrite)) request.errorStatus = 302;
  request.response.location = uri;
  return wantsRefresh(request) ? sendRefresh(request) : sendSpecial(request, request.errorStatus);
}

function sendSpecial(request: Request, status: number): number {
  return sendPage(request, errorPageBody(status, request.location.core.serverTokens, wantsPadding(request)));
}

/** msie_refresh: a page that redirects the client itself (ngx_http_send_refresh). */
function sendRefresh(request: Request): number {
  const { response } = request;
  const to = response.location ?? "";
  response.location = undefined;
  request.errorStatus = 200;
  return sendPage(request, refreshPage(to));
}

function sendPage(request: Request, body: string): number {
  const { response } = request;
  response.contentLength = body.length;
  if (body.length > 0) response.contentType = TEXT_HTML;
  response.allowRanges = false;
  response.headers.remove("accept-ranges");
  clearLastModified(response);
  response.etag = undefined;
  const code = sendHeader(request);
  if (code !== OK || request.headerOnly) return code;
  passBody(request, 0, body, LAST);
  return code;
}

// ---- the response's head

/**
 * Runs the header filters and gives the head to the exchange, but for a post_action. ERROR if it was sent before or a filter failed. DONE if a
 * filter had another status answered (412, 416): the caller has nothing more to do.
 */
export function sendHeader(request: Request): number {
  if (request.headerSent) return request.postAction ? OK : ERROR;
  const { response } = request;
  if (request.errorStatus !== 0) {
    response.status = request.errorStatus;
    response.statusLine = undefined;
  }
  if (request.method === "HEAD") request.headerOnly = true;
  for (const filter of request.location.headerFilters) {
    const code = filter(request);
    if (code === OK) continue;
    if (code < 300) return code;
    answerInstead(request, code);
    return DONE;
  }
  request.headerSent = true;
  request.exchange.sendHead(request);
  return OK;
}

/** Gives the exchange a head that has passed the header filters for an earlier request, and is the same for this one. */
export function sendFilteredHeader(request: Request): number {
  if (request.headerSent) return request.postAction ? OK : ERROR;
  if (request.method === "HEAD") request.headerOnly = true;
  request.headerSent = true;
  request.exchange.sendHead(request);
  return OK;
}

/** Answers the status that a header filter returned. Fields set so far stay, as in nginx. */
function answerInstead(request: Request, status: number): void {
  request.bodyFilters = NO_FILTERS;
  request.seekable = false;
  request.ranges = undefined;
  request.response.trailers = undefined;
  finalizeRequest(request, status);
}

/** Sends a small response: status, type and body (a byte string). Returns what a content handler returns. */
export function sendText(request: Request, status: number, contentType: HeadText | undefined, body: string): number {
  const { response } = request;
  response.status = status;
  response.contentLength = body.length;
  if (contentType !== undefined) response.contentType = contentType;
  const code = sendHeader(request);
  if (code !== OK || request.headerOnly) return code;
  passBody(request, 0, body, LAST);
  return OK;
}
