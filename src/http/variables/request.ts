import fs from "node:fs";
import { now } from "../../sys/clock.ts";
import { errnoCode, errnoText } from "../../sys/errno.ts";
import { osPath } from "../../sys/paths.ts";
import { fillRandom } from "../../sys/random.ts";
import { basicCredentials } from "../../wire/basic_auth.ts";
import { cookieValue } from "../../wire/cookie.ts";
import * as known from "../../wire/http1/known_fields.ts";
import { argument } from "../../wire/uri.ts";
import { logError } from "../core/log_context.ts";
import type { Request } from "../core/request.ts";
import { ofConnection, once, type VariableSpec } from "../core/script.ts";
import { mapUriToPath } from "../files/file_root.ts";
import { portText, seconds } from "./connection.ts";
import { fieldText } from "./field_text.ts";

/** Empty text as "not found", which logs show as `-`. */
const present = (text: string): string | undefined => (text === "" ? undefined : text);

const uri: VariableSpec = { get: (r) => (r.badUri ? "" : present(r.uri)) };

/** Variables of the request's head, body and target. */
export const REQUEST_VARIABLES: Readonly<Record<string, VariableSpec>> = {
  content_length: { get: contentLength },
  content_type: { get: contentType },
  host: { get: (r) => (r.host === "" ? r.server.name : r.host) },
  http_cookie: { get: (r) => r.headers.join("cookie", "; ") },
  server_name: ofConnection((r) => r.server.name),
  server_protocol: { get: protocol },
  scheme: ofConnection((r) => (r.connection.tls === undefined ? "http" : "https")),
  http2: ofConnection((r) => (r.main.version < 2000 ? "" : r.connection.tls === undefined ? "h2c" : "h2")),
  https: ofConnection((r) => (r.connection.tls === undefined ? "" : "on")),
  request_port: { get: (r) => portText(r.port) },
  is_request_port: { get: (r) => (r.port === 0 ? "" : ":") },
  request_uri: { get: (r) => (r.badUri ? undefined : present(r.unparsedUri)) },
  uri,
  document_uri: uri,
  request: { get: (r) => present(r.requestLine) },
  document_root: { get: documentRoot },
  realpath_root: { get: realpathRoot },
  request_filename: { get: (r) => mapUriToPath(r)?.path },
  query_string: { get: (r) => present(r.args) },
  args: { get: (r) => present(r.args), set: setArgs, changeable: true },
  is_args: { get: (r) => (r.args === "" ? "" : "?") },
  request_method: { get: (r) => present(r.main.method) },
  remote_user: once((r) => basicCredentials(r.headers.get("authorization"))?.user),
  request_body: once((r) => (r.body === undefined ? undefined : present(r.body.memory()?.toString("latin1") ?? ""))),
  request_body_file: once((r) => r.body?.file?.path),
  request_length: { get: (r) => String(r.length) },
  request_time: { get: (r) => seconds(now() - r.startedAt) },
  request_id: once(requestId),
};

function setArgs(request: Request, value: string): void {
  request.args = value;
  request.unparsedValid = false;
}

function contentType({ headers }: Request): string | undefined {
  return headers.find(known.CONTENT_TYPE) < 0 ? undefined : headers.join("content-type");
}

function contentLength(request: Request): string | undefined {
  const { headers } = request;
  const at = headers.find(known.CONTENT_LENGTH);
  if (at >= 0) return headers.value(at);
  if (request.contentLength >= 0) return String(request.contentLength);
  // The length of a chunked body is known once it was read, by whom ever: subrequests have it too.
  return request.chunked && request.body?.whole ? String(request.body.length) : undefined;
}

function protocol(request: Request): string | undefined {
  const { requestLine, version } = request;
  if (version === 1001 && requestLine.endsWith(" HTTP/1.1")) return "HTTP/1.1";
  const at = requestLine.lastIndexOf(" HTTP/");
  if (at < 0) return version >= 2000 ? "HTTP/2.0" : undefined;
  const said = requestLine.slice(at + 1).trimEnd();
  // Of a line that was refused no version was read, so it counts as HTTP/1.0; as in nginx it has no protocol.
  return version === 1000 && !said.startsWith("HTTP/1.0") ? undefined : said;
}

function documentRoot(request: Request): string {
  const { root } = request.location.core;
  return root.constant ?? root.render(request);
}

function realpathRoot(request: Request): string | undefined {
  const path = documentRoot(request);
  try {
    return fs.realpathSync.native(osPath(path), "latin1");
  } catch (error) {
    logError(request, "crit", `realpath() "${path}" failed ${errnoText(errnoCode(error) ?? "EINVAL")}`);
    return undefined;
  }
}

/** Random bytes for 256 ids: asking for sixteen at a time would cost a call each. */
const pool = Buffer.alloc(16 * 256);
let poolAt = pool.length;

function requestId(): string {
  if (poolAt === pool.length) {
    fillRandom(pool);
    poolAt = 0;
  }
  poolAt += 16;
  return pool.toString("hex", poolAt - 16, poolAt);
}

/** `$http_NAME` */
export function headerVariable(name: string): VariableSpec {
  return once((request) => fieldText(request.headers, name));
}

/** `$arg_NAME` */
export function argumentVariable(name: string): VariableSpec {
  return { get: (request) => argument(request.args, name) };
}

/** `$cookie_NAME` */
export function cookieVariable(name: string): VariableSpec {
  return once((request) => {
    const { headers } = request;
    for (let at = headers.indexOf("cookie"); at >= 0; at = headers.indexOf("cookie", at + 1)) {
      const value = cookieValue(headers.value(at), name);
      if (value !== undefined) return value;
    }
    return undefined;
  });
}
