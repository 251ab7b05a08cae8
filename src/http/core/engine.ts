import { RegexMatchError } from "../../regex/regex.ts";
import { assignCaptures } from "../../script/captures.ts";
import { clearDeadline, Deadline, setDeadline } from "../../sys/timers.ts";
import { ESCAPE_URI, escapeUri } from "../../wire/escape.ts";
import { headText } from "../../wire/head_text.ts";
import { extenOf } from "../../wire/uri.ts";
import { findLocation, newLocationSearch } from "../conf/location_tree.ts";
import { mapUriToPath } from "../files/file_root.ts";
import { CLIENT_CLOSED_REQUEST, CLOSE, DECLINED, DONE, ERROR, OK } from "./codes.ts";
import { COUNTER } from "./counters.ts";
import { LAST, passBody, sendHeader } from "./filters.ts";
import { logError, logException } from "./log_context.ts";
import { GET, type Request } from "./request.ts";
import { discardBody } from "./request_body.ts";
import { clearLastModified } from "./response.ts";
import { errorPageBody } from "./status.ts";
import { finalizeSubrequest } from "./subrequest.ts";
import type { ErrorPage, Handler, Location } from "./types.ts";

/**
 * What drives a request from phase to phase and to its end: phases, finalizing, redirects and special responses. Each
 * of these calls all of the others, so they stand in one file (ngx_http_core_module.c, ngx_http_request.c,
 * ngx_http_special_response.c).
 */

// ---- phases

/** nginx's phases in their order; `Request.phase` holds one, `Request.step` the handler within it. */
export const PHASE = {
  postRead: 0,
  serverRewrite: 1,
  findLocation: 2,
  rewrite: 3,
  postRewrite: 4,
  preaccess: 5,
  access: 6,
  precontent: 7,
  content: 8,
} as const;

const search = newLocationSearch<Location>();
/** The request whose location is being searched, for the regexes met on the way. */
let searching: Request | undefined;

search.matched = (regex, captures) => {
  if (searching === undefined) return;
  searching.captures = captures.slice();
  assignCaptures(searching, regex, captures);
};

/** Runs a request from its current phase until a handler waits, takes it over or ends it. */
export function runPhases(request: Request): void {
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
    switch (request.phase) {
      case PHASE.postRead:
        if (!runHandlers(request, request.location.postRead)) return;
        break;
      case PHASE.serverRewrite:
        if (!runRewrite(request, request.server.serverRewrite)) return;
        break;
      case PHASE.findLocation:
        if (!chooseLocation(request)) return;
        if (request.location.direct) {
          request.phase = PHASE.content;
          continue;
        }
        break;
      case PHASE.rewrite:
        if (!runRewrite(request, request.location.rewrite)) return;
        break;
      case PHASE.postRewrite:
        if (!afterRewrite(request)) return;
        if (request.phase !== PHASE.postRewrite) continue;
        break;
      case PHASE.preaccess:
        if (!runHandlers(request, request.location.preaccess)) return;
        break;
      case PHASE.access:
        // As in nginx, access is checked for the main request only.
        if (request === request.main && !runAccess(request)) return;
        break;
      case PHASE.precontent:
        if (!runHandlers(request, request.location.precontent)) return;
        break;
      default:
        runContent(request);
        return;
    }
    request.phase++;
    request.step = 0;
  }
}

/** Handlers of a generic phase: true when the next phase is due. */
function runHandlers(request: Request, handlers: readonly Handler[]): boolean {
  const phase = request.phase;
  while (request.step < handlers.length) {
    const code = handlers[request.step](request);
    if (code === OK) return true;
    if (code === DECLINED) {
      request.step++;
      continue;
    }
    if (code === DONE) return false;
    finalizeRequest(request, code);
    return false;
  }
  return request.phase === phase;
}

/** The rewrite phases: only DECLINED lets the request go on; OK means that it was answered (`return 200`). */
function runRewrite(request: Request, handlers: readonly Handler[]): boolean {
  while (request.step < handlers.length) {
    const code = handlers[request.step](request);
    if (code !== DECLINED) {
      finalizeRequest(request, code);
      return false;
    }
    request.step++;
  }
  return true;
}

/** The access phase with `satisfy`: with "any", one handler that allows is enough. */
function runAccess(request: Request): boolean {
  const handlers = request.location.access;
  const all = request.location.core.satisfy === "all";
  while (request.step < handlers.length) {
    const code = handlers[request.step](request);
    if (code === DONE) return false;
    if (code === DECLINED) {
      request.step++;
      continue;
    }
    if (all) {
      if (code === OK) {
        request.step++;
        continue;
      }
      if (code === 401) denyUnauthorized(request, code);
      else finalizeRequest(request, code);
      return false;
    }
    if (code === OK) {
      request.accessCode = 0;
      request.response.headers.remove("www-authenticate");
      return true;
    }
    if (code === 401 || code === 403) {
      // 401 outranks 403: the client may still prove who it is.
      if (request.accessCode !== 401) request.accessCode = code;
      request.step++;
      continue;
    }
    finalizeRequest(request, code);
    return false;
  }
  if (request.accessCode === 0) return true;
  if (request.accessCode === 401) {
    denyUnauthorized(request, 401);
    return false;
  }
  logError(request, "error", "access forbidden by rule");
  finalizeRequest(request, request.accessCode);
  return false;
}

/** Finds the location of `request.uri` and makes it the request's. False when the request has been answered. */
function chooseLocation(request: Request): boolean {
  request.location = request.server.root;
  request.uriChanged = false;
  const tree = request.server.root.tree;
  if (tree !== undefined) {
    searching = request;
    findLocation(tree, request.uri, search);
    searching = undefined;
    const found = search.location;
    if (found !== undefined) {
      request.location = found;
      if (!request.internal && found.core.internal) {
        finalizeRequest(request, 404);
        return false;
      }
    }
  }
  // Only now: a server's own keepalive_requests would end the connection of a location that allows more.
  setLocation(request, request.location);
  const limit = request.location.core.clientMaxBodySize;
  if (request.contentLength > limit && limit !== 0 && !request.discardBody) {
    logError(request, "error", `client intended to send too large body: ${request.contentLength} bytes`);
    request.expectContinue = false;
    // An error_page does not receive the body either.
    discardBody(request);
    finalizeRequest(request, 413);
    return false;
  }
  if (search.redirect !== undefined && tree !== undefined) {
    const to = escapeUri(search.redirect, ESCAPE_URI);
    search.redirect = undefined;
    request.response.location = request.args === "" ? to : `${to}?${request.args}`;
    finalizeRequest(request, 301);
    return false;
  }
  return true;
}

/** After the rewrite phase: a changed URI looks for its location again, ten times at most. */
function afterRewrite(request: Request): boolean {
  if (!request.uriChanged) return true;
  request.uriChanges--;
  if (request.uriChanges === 0) {
    logError(request, "error", `rewrite or internal redirection cycle while processing "${request.uri}"`);
    finalizeRequest(request, 500);
    return false;
  }
  request.phase = PHASE.findLocation;
  request.step = 0;
  return true;
}

function runContent(request: Request): void {
  const { content, contentPhase } = request.location;
  if (content !== undefined) {
    const code = content(request);
    if (code !== DECLINED) {
      finalizeRequest(request, code);
      return;
    }
  }
  while (request.step < contentPhase.length) {
    const code = contentPhase[request.step](request);
    if (code !== DECLINED) {
      finalizeRequest(request, code);
      return;
    }
    request.step++;
  }
  if (request.uri.endsWith("/")) {
    const mapped = mapUriToPath(request);
    if (mapped !== undefined) logError(request, "error", `directory index of "${mapped.path}" is forbidden`);
    finalizeRequest(request, 403);
    return;
  }
  logError(request, "debug", "no handler found");
  finalizeRequest(request, 404);
}

/** Starts a request's phases (its server is chosen). */
export function startPhases(request: Request): void {
  request.phase = request.internal ? PHASE.serverRewrite : PHASE.postRead;
  request.step = 0;
  runPhases(request);
}

// ---- the end of a handler

/**
 * Ends a request's handler with what it returned (ngx_http_finalize_request): DONE means somebody goes on with it, a
 * status >= 300 (or 201, 204) is answered with its page, OK completes it.
 */
export function finalizeRequest(request: Request, code: number): void {
  if (code === DONE || request.finalized) return;
  if (request.subrequest !== undefined) {
    finalizeSubrequest(request, request.subrequest, code);
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
    if (request.headerSent) {
      // Too late for another answer: what was begun cannot be completed.
      setFinalized(request);
      exchange.terminate(request);
      return;
    }
    finalizeRequest(request, answerStatus(request, code));
    return;
  }
  if (code < 0 || !request.headerSent) {
    // Also a handler that said OK without an answer: nginx closes the connection.
    setFinalized(request);
    exchange.terminate(request);
    return;
  }
  if (request.subrequests?.delay(code) === true) return;
  if (request.buffered !== 0) {
    finalizeWhenWritten(request);
    return;
  }
  setFinalized(request);
  exchange.finalize(request);
}

/** Filters keep bytes of a response whose handler is done: it is finalized when they have passed them on. */
export function finalizeWhenWritten(request: Request): void {
  request.onWritable = finalizeWritten;
  request.onAbort = abortWriting;
}

function finalizeWritten(request: Request): void {
  finalizeRequest(request, OK);
}

/** A client that has only closed its side still gets the rest. */
function abortWriting(request: Request): void {
  if (request.aborted) finalizeRequest(request, CLIENT_CLOSED_REQUEST);
}

function setFinalized(request: Request): void {
  request.finalized = true;
  request.onAbort = undefined;
  request.onWritable = undefined;
}

/**
 * The end of a request (ngx_http_free_request): writes its log lines, then releases what it holds. The exchange calls
 * this, once, when the kernel has the whole response or it was broken off.
 */
export function freeRequest(request: Request): void {
  request.finalized = true;
  const { main } = request;
  if (!request.logged && (request === main || request.location.core.logSubrequest)) {
    request.logged = true;
    logRequest(request);
  }
  if (request === main) request.connection.counters[COUNTER.writing]--;
  if (request.subrequests?.outlive() !== true) releaseRequest(request);
}

/** Runs the cleanup handlers; of a main request, releases its body too. */
export function releaseRequest(request: Request): void {
  if (request.cleanup !== undefined) cleanUp(request, request.cleanup);
  if (request !== request.main) return;
  request.body?.release();
  request.preread?.release();
}

function logRequest(request: Request): void {
  for (const handler of request.location.log) {
    try {
      handler(request);
    } catch (error) {
      logException(request, error);
    }
  }
}

function cleanUp(request: Request, cleanup: readonly (() => void)[]): void {
  request.cleanup = undefined;
  for (let i = cleanup.length - 1; i >= 0; i--) {
    try {
      cleanup[i]();
    } catch (error) {
      logException(request, error);
    }
  }
}

// ---- internal redirects

/** Puts a location's settings in force: those of its `limit_except` where the method is none of the allowed. */
export function setLocation(request: Request, chosen: Location): void {
  const { limitExcept } = chosen;
  const location = limitExcept === undefined || limitExcept.methods.has(request.method) ? chosen : limitExcept.location;
  request.location = location;
  if (!request.keepalive) return;
  const { core } = location;
  const { connection } = request;
  if (
    core.keepaliveTimeout === 0 ||
    connection.requests >= core.keepaliveRequests ||
    request.startedAt - connection.startedAt > core.keepaliveTime ||
    (core.disableMsie6 && request.method === "POST" && isMsie6(request.headers.get("user-agent"))) ||
    (core.disableSafari && isSafari(request.headers.get("user-agent")))
  ) {
    request.keepalive = false;
  }
}

/** Old Internet Explorer as nginx knows it: it may hang after a POST on a kept-alive connection. */
function isMsie6(agent: string | undefined): boolean {
  if (agent === undefined || agent.includes("Opera")) return false;
  // As in nginx the first mention counts.
  const at = agent.indexOf("MSIE ");
  if (at === -1 || agent.length < at + 8 || agent[at + 6] !== ".") return false;
  const version = agent[at + 5];
  return version === "4" || version === "5" || (version === "6" && !agent.includes("SV1", at + 8));
}

function isSafari(agent: string | undefined): boolean {
  if (agent === undefined || /MSIE ...|Opera|Gecko\/|Chrome\//.test(agent)) return false;
  return agent.includes("Safari/") && agent.includes("Mac OS X");
}

/** `error_page /x`, `index`, `try_files`, X-Accel-Redirect: serves another URI of the same server instead. */
export function internalRedirect(request: Request, uri: string, args: string): number {
  request.uriChanges--;
  if (request.uriChanges === 0) {
    logError(request, "error", `rewrite or internal redirection cycle while internally redirecting to "${uri}"`);
    finalizeRequest(request, 500);
    return DONE;
  }
  request.uri = uri;
  request.args = args;
  request.exten = extenOf(uri);
  request.unparsedValid = false;
  request.addUriToAlias = false;
  request.validLocation = true;
  resetForRedirect(request);
  setLocation(request, request.server.root);
  request.phase = PHASE.serverRewrite;
  request.step = 0;
  runPhases(request);
  return DONE;
}

/** The same to a named location: URI and arguments stay. */
export function namedRedirect(request: Request, name: string): number {
  request.uriChanges--;
  if (request.uriChanges === 0) {
    logError(request, "error", `rewrite or internal redirection cycle while redirect to named location "${name}"`);
    finalizeRequest(request, 500);
    return DONE;
  }
  if (request.uri === "") {
    logError(request, "error", `empty URI in redirect to named location "${name}"`);
    finalizeRequest(request, 500);
    return DONE;
  }
  const location = request.server.root.tree?.named.get(name);
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
  // A body that was read unbuffered cannot be read again: the new handler gets none and must not wait for it.
  if (request.bodyStarted && request.body === undefined) {
    if (!request.bodyEnded) request.exchange.discardBody(request);
    request.discardBody = true;
  }
  request.internal = true;
  request.uriChanged = false;
  request.contexts = undefined;
  request.passedTo = undefined;
  request.accessCode = 0;
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
  dropBody(request);
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

  dropBody(request);
  if (![301, 302, 303, 307, 308].includes(overwrite)) request.errorStatus = 302;
  request.response.location = uri;
  return sendSpecial(request, request.errorStatus);
}

function sendSpecial(request: Request, status: number): number {
  const { response } = request;
  const { core } = request.location;
  const body = errorPageBody(status, core.serverTokens, wantsPadding(request));
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

/** msie_padding pads small error pages for browsers that hide them. */
function wantsPadding(request: Request): boolean {
  if (!request.location.core.msiePadding || request.version < 1000) return false;
  const agent = request.headers.get("user-agent");
  return agent !== undefined && (/MSIE [^;]/.test(agent) || agent.includes("Chrome/"));
}

/** The request's body will not be read by a handler: what comes of it is dropped, without 100 Continue. */
function dropBody(request: Request): void {
  request.expectContinue = false;
  if (discardBody(request) !== OK) request.keepalive = false;
}

/** Answers 401 (or 407), `auth_delay` later, so that passwords cannot be tried quickly. */
function denyUnauthorized(request: Request, status: number): void {
  const delay = request.location.core.authDelay;
  if (delay === 0) {
    finalizeRequest(request, status);
    return;
  }
  logError(request, "info", "delaying unauthorized request");
  delayRequest(request, delay, () => finalizeRequest(request, status));
}

/** Goes on with a request in `ms` milliseconds, unless its client goes away before that (ngx_http_test_reading). */
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
