import { SERVER } from "../../version.ts";
import { ESCAPE_REFRESH, escapeUri } from "../../wire/escape.ts";
import type { Request } from "./request.ts";
import { reasonPhrase } from "./status.ts";
import { isChrome, isMsie } from "./user_agent.ts";

/** The built-in pages of errors and redirects, with nginx's wording (ngx_http_special_response.c). */

/** Titles of built-in pages where they differ from the reason phrase. */
const TITLES: ReadonlyMap<number, string> = new Map([
  [302, "Found"],
  [401, "Authorization Required"],
]);

/** Reasons shown for the internal statuses that are sent as 400. 498 shows 404's page. */
const BAD_REQUEST: ReadonlyMap<number, string> = new Map([
  [494, "Request Header Or Cookie Too Large"],
  [495, "The SSL certificate error"],
  [496, "No required SSL certificate was sent"],
  [497, "The plain HTTP request was sent to HTTPS port"],
]);

const NO_PAGE: ReadonlySet<number> = new Set([304]);

/** `server_tokens`: whether pages show the version. "build" is like "on", as in an nginx built without a name. */
type TokensMode = "on" | "off" | "build";

const PADDING = "<!-- a padding to disable MSIE and Chrome friendly error page -->\r\n".repeat(6);

const pages = new Map<number, string>();

/**
 * The built-in page of a status (3xx, 4xx, 5xx, and nginx's 494 to 498), or "" when it has none. `padding`: the client
 * is one that hides small error pages (`msie_padding`); only pages of 400 and above are padded.
 */
export function errorPageBody(status: number, tokens: TokensMode, padding: boolean): string {
  const padded = padding && status >= 400;
  const key = status * 4 + (tokens === "off" ? 0 : 2) + (padded ? 1 : 0);
  let page = pages.get(key);
  if (page === undefined) {
    page = makePage(status, tokens, padded);
    // All are kept: `return` and error_page allow no more than 999 statuses.
    pages.set(key, page);
  }
  return page;
}

function makePage(status: number, tokens: TokensMode, padded: boolean): string {
  const why = BAD_REQUEST.get(status);
  const heading = why === undefined ? pageTitle(status) : "400 Bad Request";
  if (heading === "") return "";
  const lines = [
    "<html>",
    `<head><title>${why === undefined ? heading : `400 ${why}`}</title></head>`,
    "<body>",
    `<center><h1>${heading}</h1></center>`,
    ...(why === undefined ? [] : [`<center>${why}</center>`]),
    `<hr><center>${tokens === "off" ? SERVER.slice(0, SERVER.indexOf("/")) : SERVER}</center>`,
    "</body>",
    "</html>",
  ];
  return `${lines.join("\r\n")}\r\n${padded ? PADDING : ""}`;
}

function pageTitle(status: number): string {
  if (status === 498) return pageTitle(404);
  if (status < 300 || NO_PAGE.has(status)) return "";
  const reason = TITLES.get(status) ?? reasonPhrase(status);
  return reason === "" ? "" : `${status} ${reason}`;
}

/** msie_padding pads small error pages for browsers that hide them. */
export function wantsPadding(request: Request): boolean {
  if (!request.location.core.msiePadding || request.version < 1000) return false;
  const agent = request.headers.get("user-agent");
  return isMsie(agent) || isChrome(agent);
}

/** msie_refresh: whether a redirect is a page that redirects. */
export function wantsRefresh({ location, headers }: Request): boolean {
  return location.core.msieRefresh && isMsie(headers.get("user-agent"));
}

export function refreshPage(to: string): string {
  const url = escapeUri(to, ESCAPE_REFRESH);
  return `<html><head><meta http-equiv="Refresh" content="0; URL=${url}"></head><body></body></html>\r\n`;
}
