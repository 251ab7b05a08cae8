import { hostText } from "../../net/address.ts";
import { RegexMatchError } from "../../regex/regex.ts";
import type { Level } from "../../runtime/log/log.ts";
import { faultText } from "../../sys/guard.ts";
import type { Server } from "./location.ts";
import type { Request } from "./request.ts";
import type { ClientConnection } from "./types.ts";

/** Writes to the location's error log, with the request's context appended as nginx does. */
export function logError(request: Request, level: Level, message: string): void {
  const log = request.location.errorLog;
  if (log.wants(level)) log.write(level, message + requestContext(request), request.connection.number);
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
function requestContext(request: Request): string {
  let text = `, client: ${hostText(request.remote)}, server: ${request.server.name}`;
  if (request.requestLine !== "") text += `, request: "${request.requestLine}"`;
  if (request !== request.main) text += `, subrequest: "${request.uri}"`;
  const upstream = request.upstream?.shown;
  if (upstream !== undefined) text += `, upstream: "${upstream}"`;
  const host = request.headers.get("host");
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
