import { hostText } from "../../net/address.ts";
import { RegexMatchError } from "../../regex/regex.ts";
import type { Level } from "../../runtime/log/log.ts";
import { faultText } from "../../sys/guard.ts";
import type { Server } from "./location.ts";
import type { Request } from "./request.ts";
import type { ClientConnection } from "./types.ts";

/** Writes to the location's error log, with the request's context appended as nginx does. `host`: the Host field is part of it. */
export function logError(request: Request, level: Level, message: string, host = true): void {
  const log = request.location.errorLog;
  if (log.wants(level)) log.write(level, message + requestContext(request, host), request.connection.number);
}

/**
 * The client has gone; `more`: what becomes of that. Over HTTP/2 the log has it already, of the stream or of the connection, as in
 * nginx.
 */
export function logClientGone(request: Request, more = ""): void {
  if (request.version >= 2000) return;
  logError(request, "info", `epoll_wait() reported that client prematurely closed connection${more}`);
}

/**
 * What a request's server is doing, for what the log says of a body that goes on to it as it comes. As in nginx it is being sent
 * the request until it answers.
 */
export function whileSending({ upstream }: Request): string {
  if (upstream === undefined || upstream.ended) return "";
  const { doing } = upstream;
  return ` while ${doing === "reading response header from upstream" ? "sending request to upstream" : doing}`;
}

/** Writes a line to an error log. */
export type LogLine = (level: Level, message: string) => void;

/** `logError` for this request. */
export function logOf(request: Request): LogLine {
  return (level, message) => logError(request, level, message);
}

/**
 * Logs an exception that ends the request, at [alert]. A pattern whose search was given up needs no stack: its message
 * says it all.
 */
export function logException(request: Request, error: unknown): void {
  logError(request, "alert", error instanceof RegexMatchError ? error.message : faultText(error));
}

/** `, client: …, server: …, request: "…", upstream: "…", host: "…", referrer: "…"`. */
function requestContext(request: Request, withHost: boolean): string {
  let text = `, client: ${hostText(request.remote)}, server: ${request.server.name}`;
  if (request.requestLine !== "") text += `, request: "${request.requestLine}"`;
  if (request !== request.main) text += `, subrequest: "${request.uri}"`;
  const upstream = request.upstream?.shown;
  if (upstream !== undefined) text += `, upstream: "${upstream}"`;
  const host = withHost ? request.headers.get("host") : undefined;
  if (host !== undefined) text += `, host: "${host}"`;
  const referrer = request.headers.get("referer");
  if (referrer !== undefined) text += `, referrer: "${referrer}"`;
  return text;
}

/** The same for a connection on which no request has begun. */
export function logConnection(
  connection: Pick<ClientConnection, "number" | "remote">,
  config: { readonly defaultServer: Server; readonly listening: string },
  level: Level,
  message: string,
): void {
  const log = config.defaultServer.root.errorLog;
  if (!log.wants(level)) return;
  log.write(
    level,
    `${message}, client: ${hostText(connection.remote)}, server: ${config.listening}`,
    connection.number,
  );
}
