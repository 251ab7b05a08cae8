import type { Location } from "../conf/location.ts";
import { extensionOf } from "../conf/mime.ts";
import { DONE } from "./codes.ts";
import { finalizeRequest } from "./finalize.ts";
import { logError } from "./log_context.ts";
import { PHASE, runPhases } from "./phases.ts";
import type { Request } from "./request.ts";

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
  request.exten = extensionOf(uri);
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
  // A body that was passed on as it came is gone: whoever answers now gets none of it, and must not wait for it.
  if (request.bodyStarted && request.body === undefined) {
    if (!request.bodyEnded) request.connection.discardBody(request);
    request.discardBody = true;
  }
  request.internal = true;
  request.uriChanged = false;
  request.contexts = undefined;
  request.passedTo = undefined;
  request.accessCode = 0;
}
