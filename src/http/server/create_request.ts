import type { CompiledRegex } from "../../regex/regex.ts";
import { assignCaptures } from "../../script/captures.ts";
import { now } from "../../sys/clock.ts";
import { splitTarget } from "../../wire/uri.ts";
import { findServer, type ServerNames } from "../conf/server_names.ts";
import type { Server } from "../core/location.ts";
import { logException } from "../core/log_context.ts";
import { Request } from "../core/request.ts";
import type { ClientConnection, Exchange, Response } from "../core/types.ts";
import type { AddressConfig, ReceivedHead } from "./types.ts";

const hostCaptures: string[] = [];
let hostRegex: CompiledRegex | undefined;

function matchedHost(regex: CompiledRegex): void {
  hostRegex = regex;
}

/** ngx_http_set_virtual_server */
function chooseServer(request: Request, names: ServerNames<Server>, host: string): void {
  const { tls } = request.connection;
  if (tls !== undefined && tls.name === host) {
    // The server is known already, but not what its regex captures.
    if (tls.regex?.exec(host, hostCaptures)) hostRegex = tls.regex;
    return;
  }
  const server = findServer(names, host, hostCaptures, matchedHost);
  if (tls?.name !== undefined && server.tls.verify !== "off") {
    request.refused = 421;
    return;
  }
  request.server = server;
  request.location = server.root;
}

/** Makes the request of a head, complete or broken off: chooses the server and splits the target. */
export function createRequest(
  connection: ClientConnection,
  exchange: Exchange,
  config: AddressConfig,
  head: ReceivedHead,
  response: Response,
): Request {
  const { fields } = head;
  const { names, variables } = config;
  const { tls } = connection;
  const defaultServer = tls === undefined ? config.defaultServer : tls.server;
  const request = new Request(connection, exchange, defaultServer, fields.headers, response, variables.count);
  // As in nginx the target is split before Host is known, so the default server's merge_slashes applies.
  const { mergeSlashes } = defaultServer;
  const valid = splitTarget(head.rawUri, head.complex, head.argsAt, head.extAt, head.plus, mergeSlashes, request);
  let failure: unknown;
  hostRegex = undefined;
  if (!valid) {
    // As in nginx nothing after an invalid target counts, neither Host nor any other field.
    fields.headers.clear();
    request.badUri = true;
  } else if ((names.hash !== undefined || names.regexes.length > 0) && (fields.host !== "" || fields.whole)) {
    try {
      chooseServer(request, names, fields.host);
    } catch (error) {
      failure = error;
    }
  }
  if (hostRegex !== undefined) {
    request.captures = hostCaptures.slice();
    assignCaptures(request, hostRegex, request.captures);
    hostRegex = undefined;
  }
  request.startedAt = Math.floor(now());
  request.method = head.method;
  request.requestLine = head.requestLine;
  request.unparsedUri = head.rawUri;
  // The target of `http://host?a` has no path that could be passed on unchanged.
  request.unparsedValid = head.rawUri.startsWith("/");
  request.version = head.version === 0 ? 1000 : head.version;
  request.host = fields.host;
  request.port = fields.port;
  request.contentLength = fields.contentLength;
  request.chunked = fields.chunked;
  request.length = head.length;
  request.sentAtStart = connection.sent;
  if (fields.expect !== undefined && request.version >= 1001 && fields.expect.toLowerCase() === "100-continue") {
    request.expectContinue = true;
  }
  if (failure !== undefined) {
    request.refused = 500;
    logException(request, failure);
  }
  return request;
}
