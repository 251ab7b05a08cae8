import { RegexMatchError } from "../../regex/regex.ts";
import { assignCaptures } from "../../script/captures.ts";
import { ESCAPE_URI, escapeUri } from "../../wire/escape.ts";
import type { Location } from "../conf/location.ts";
import { findLocation, newLocationSearch } from "../conf/location_tree.ts";
import type { Handler } from "../conf/module.ts";
import { mapUriToPath } from "../files/paths.ts";
import { denyUnauthorized } from "./auth_delay.ts";
import { discardBody } from "./body.ts";
import { DECLINED, DONE, OK } from "./codes.ts";
import { finalizeRequest } from "./finalize.ts";
import { setLocation } from "./flow.ts";
import { logError } from "./log_context.ts";
import type { Request } from "./request.ts";

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
        if (!runAccess(request)) return;
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
    // Whatever answers instead (error_page) is not to have it either.
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
