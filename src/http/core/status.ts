import { SERVER } from "../../version.ts";

/** Statuses: their reason phrases and the built-in pages, with nginx's wording. All strings are byte strings. */

const REASONS: readonly (readonly [status: number, reason: string])[] = [
  [100, "Continue"],
  [101, "Switching Protocols"],
  [103, "Early Hints"],
  [200, "OK"],
  [201, "Created"],
  [202, "Accepted"],
  [204, "No Content"],
  [206, "Partial Content"],
  [301, "Moved Permanently"],
  [302, "Moved Temporarily"],
  [303, "See Other"],
  [304, "Not Modified"],
  [307, "Temporary Redirect"],
  [308, "Permanent Redirect"],
  [400, "Bad Request"],
  [401, "Unauthorized"],
  [402, "Payment Required"],
  [403, "Forbidden"],
  [404, "Not Found"],
  [405, "Not Allowed"],
  [406, "Not Acceptable"],
  [407, "Proxy Authentication Required"],
  [408, "Request Time-out"],
  [409, "Conflict"],
  [410, "Gone"],
  [411, "Length Required"],
  [412, "Precondition Failed"],
  [413, "Request Entity Too Large"],
  [414, "Request-URI Too Large"],
  [415, "Unsupported Media Type"],
  [416, "Requested Range Not Satisfiable"],
  [421, "Misdirected Request"],
  [429, "Too Many Requests"],
  [500, "Internal Server Error"],
  [501, "Not Implemented"],
  [502, "Bad Gateway"],
  [503, "Service Temporarily Unavailable"],
  [504, "Gateway Time-out"],
  [505, "HTTP Version Not Supported"],
  [507, "Insufficient Storage"],
];

const REASON: readonly string[] = Object.assign(new Array<string>(600).fill(""), Object.fromEntries(REASONS));

/** The reason phrase nginx sends with a status; "" when it has none (the line is then `HTTP/1.1 418 `). */
export function reasonPhrase(status: number): string {
  return REASON[status] ?? "";
}

/** Titles of built-in pages where they differ from the reason phrase. */
const TITLES: ReadonlyMap<number, string> = new Map([
  [302, "Found"],
  [401, "Authorization Required"],
]);

/** Pages of the internal statuses that are sent as 400: why the request is bad. 498 shows 404's page. */
const BAD_REQUEST: ReadonlyMap<number, string> = new Map([
  [494, "Request Header Or Cookie Too Large"],
  [495, "The SSL certificate error"],
  [496, "No required SSL certificate was sent"],
  [497, "The plain HTTP request was sent to HTTPS port"],
]);

const NO_PAGE: ReadonlySet<number> = new Set([304]);

/** `server_tokens`: what the foot of a page shows. "build" shows the version, as a build of nginx without a name does. */
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
    // A status out of a configuration may be any number up to 999: few enough to keep them all.
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
