import { headText } from "../../wire/head_text.ts";
import type { ErrorPage } from "../conf/error_pages.ts";
import { discardBody } from "./body.ts";
import { OK } from "./codes.ts";
import { internalRedirect, namedRedirect } from "./flow.ts";
import { passBody, sendHeader } from "./output.ts";
import { GET, type Request } from "./request.ts";
import { errorPageBody, type TokensMode } from "./status.ts";

const TEXT_HTML = headText("text/html");

/** Statuses after which the connection cannot be trusted to be in step. */
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
  const body = errorPageBody(status, core.serverTokens as TokensMode, wantsPadding(request));
  response.contentLength = body.length;
  if (body.length > 0) response.contentType = TEXT_HTML;
  response.allowRanges = false;
  response.headers.remove("accept-ranges");
  response.lastModified = -1;
  response.lastModifiedText = undefined;
  response.etag = undefined;
  const code = sendHeader(request);
  if (code !== OK || request.headerOnly) return code;
  passBody(request, 0, body, true);
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
