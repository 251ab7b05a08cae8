import { assignCaptures } from "../../script/captures.ts";
import { ESCAPE_URI, escapeUri } from "../../wire/escape.ts";
import { findLocation, newLocationSearch } from "../conf/location_tree.ts";
import { DECLINED } from "./codes.ts";
import { discardBody } from "./discard_body.ts";
import type { Location } from "./location.ts";
import { logError } from "./log_context.ts";
import type { Request } from "./request.ts";
import { isMsie6, isSafari } from "./user_agent.ts";

const search = newLocationSearch<Location>();
/** The request that `search` runs for; its `matched` sets this request's captures. */
let searching: Request | undefined;

search.matched = (regex, captures) => {
  if (searching === undefined) return;
  searching.captures = captures.slice();
  assignCaptures(searching, regex, captures);
};

/**
 * Finds the location of `request.uri` and puts it in force (NGX_HTTP_FIND_CONFIG_PHASE). DECLINED, or the status to
 * answer.
 */
export function chooseLocation(request: Request): number {
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
      if (!request.internal && found.core.internal) return 404;
    }
  }
  // Not before the search: a low keepalive_requests of the server would end connections that the location keeps.
  setLocation(request, request.location);
  const limit = request.location.core.clientMaxBodySize;
  if (request.contentLength > limit && limit !== 0 && !request.discardBody) {
    logError(request, "error", `client intended to send too large body: ${request.contentLength} bytes`);
    request.expectContinue = false;
    // An error_page does not receive the body either.
    discardBody(request);
    return 413;
  }
  if (search.redirect !== undefined && tree !== undefined) {
    const to = escapeUri(search.redirect, ESCAPE_URI);
    search.redirect = undefined;
    request.response.location = request.args === "" ? to : `${to}?${request.args}`;
    return 301;
  }
  return DECLINED;
}

/** Puts a location's settings in force, or those of its `limit_except` for methods that are not listed there. */
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
