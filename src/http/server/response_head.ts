import { type Address, hostText, portOf } from "../../net/address.ts";
import { httpDate, httpDateOf } from "../../sys/clock.ts";
import { SERVER } from "../../version.ts";
import { headText } from "../../wire/head_text.ts";
import type { HeaderList } from "../../wire/http1/header_list.ts";
import type { Request } from "../core/request.ts";
import { isDated } from "../core/response.ts";
import { reasonPhrase } from "../core/status.ts";

const NAME = SERVER.slice(0, SERVER.indexOf("/"));

/** Status codes with reasons, by status; and, for the current second, how heads begin up to Date. */
const statusLines: string[] = [];
const withVersion: string[] = [];
const withoutVersion: string[] = [];
let second = "";

function statusLine(status: number): string {
  const known = statusLines[status];
  if (known !== undefined) return known;
  const line = `${status} ${reasonPhrase(status)}`;
  statusLines[status] = line;
  return line;
}

function opening(status: number, version: boolean): string {
  const date = httpDate();
  if (date !== second) {
    second = date;
    withVersion.length = 0;
    withoutVersion.length = 0;
  }
  const openings = version ? withVersion : withoutVersion;
  const known = openings[status];
  if (known !== undefined) return known;
  const text = `HTTP/1.1 ${statusLine(status)}\r\nServer: ${version ? SERVER : NAME}\r\nDate: ${date}`;
  openings[status] = text;
  return text;
}

/**
 * The head of an HTTP/1 response, with fields in nginx's order. Decides the framing (`request.chunkedResponse`) and
 * keep-alive.
 */
export function responseHead(request: Request): string {
  const { lines } = request.response;
  const start = startOf(request);
  if (lines === undefined) {
    const before = fieldsBefore(request);
    return start + before + connectionFields(request) + fieldsAfter(request);
  }
  if (lines.after === "") {
    lines.before = fieldsBefore(request);
    lines.after = fieldsAfter(request);
  }
  return start + lines.before + connectionFields(request) + lines.after;
}

/**
 * The fields of an HTTP/2 response, a line each: those of HTTP/1 but for what is about the connection and its framing. The status
 * is a field of its own there.
 */
export function responseFieldLines(request: Request): string {
  const { response, location, gzipVary } = request;
  const server = response.server ?? (location.core.serverTokens === "off" ? NAME : SERVER);
  const date = response.date ?? httpDate();
  const start = `${server === "" ? "" : `Server: ${server}\r\n`}${date === "" ? "" : `Date: ${date}\r\n`}`;
  const before = fieldsBefore(request).slice(2);
  const vary = gzipVary && location.core.gzipVary ? "Vary: Accept-Encoding\r\n" : "";
  return `${start}${before}${before === "" ? "" : "\r\n"}${vary}${fieldsAfter(request)}`;
}

/** The status line, Server and Date. */
function startOf({ response, location: { core } }: Request): string {
  const { status } = response;
  const line = response.statusLine ?? statusLine(status);
  if (line === statusLine(status) && response.server === undefined && response.date === undefined) {
    return opening(status, core.serverTokens !== "off");
  }
  const server = response.server ?? (core.serverTokens === "off" ? NAME : SERVER);
  const date = response.date ?? httpDate();
  return `HTTP/1.1 ${line}${server === "" ? "" : `\r\nServer: ${server}`}${date === "" ? "" : `\r\nDate: ${date}`}`;
}

/** The fields that nginx has before Connection; decides the framing. */
function fieldsBefore(request: Request): string {
  const { response } = request;
  const { core } = request.location;
  const { status } = response;
  let head = "";
  const bodiless = status === 304 || status === 204 || status < 200;
  if (bodiless) request.headerOnly = true;
  if (status === 204) {
    response.contentLength = -1;
    // A 204 of an upstream is passed on as it is.
    if (response.statusLine === undefined) {
      response.contentType = undefined;
      response.lastModified = -1;
      response.lastModifiedText = undefined;
    }
  }
  const type = response.contentType;
  if (type !== undefined && type !== "") {
    head +=
      response.charset === undefined
        ? `\r\nContent-Type: ${type}`
        : `\r\nContent-Type: ${type}; charset=${response.charset}`;
  }
  const framed = request.version < 2000;
  // With trailers the body is chunked even if its length is known.
  const trailers =
    framed &&
    response.trailers !== undefined &&
    !bodiless &&
    request.method !== "HEAD" &&
    request.version >= 1001 &&
    core.chunked;
  if (response.contentLength >= 0 && !trailers && status >= 200)
    head += `\r\nContent-Length: ${response.contentLength}`;
  if (response.lastModifiedText !== undefined) head += `\r\nLast-Modified: ${response.lastModifiedText}`;
  else if (response.lastModified >= 0 && isDated(status))
    head += `\r\nLast-Modified: ${httpDateOf(response.lastModified * 1000)}`;
  if (response.location !== undefined) {
    // Kept for $sent_http_location.
    response.location = headText(absoluteLocation(request, response.location));
    head += `\r\nLocation: ${response.location}`;
  }

  if (framed && !bodiless && request.method !== "HEAD" && (response.contentLength < 0 || trailers)) {
    if (request.version >= 1001 && core.chunked) {
      request.chunkedResponse = true;
      head += "\r\nTransfer-Encoding: chunked";
    } else if (response.contentLength < 0) {
      request.keepalive = false;
    }
  }
  return head;
}

function connectionFields({ response: { status }, location: { core }, keepalive, gzipVary }: Request): string {
  let fields: string;
  if (status === 101) fields = "\r\nConnection: upgrade\r\n";
  else if (!keepalive) fields = "\r\nConnection: close\r\n";
  else if (core.keepaliveHeader > 0)
    fields = `\r\nConnection: keep-alive\r\nKeep-Alive: timeout=${core.keepaliveHeader}\r\n`;
  else fields = "\r\nConnection: keep-alive\r\n";
  return gzipVary && core.gzipVary ? `${fields}Vary: Accept-Encoding\r\n` : fields;
}

/** The other fields, and the head's end. */
function fieldsAfter({ response: { etag, headers } }: Request): string {
  const lines = `${headers.lines()}\r\n`;
  return etag === undefined ? lines : `ETag: ${etag}\r\n${lines}`;
}

/** The head of a response before the final one (RFC 9110 section 15.2). */
export function informationalHead(status: number, fields: HeaderList): string {
  return `HTTP/1.1 ${status} ${reasonPhrase(status)}\r\n${fields.lines()}\r\n`;
}

/** A Location that begins with a slash becomes absolute as `absolute_redirect` and the like say. */
function absoluteLocation(request: Request, location: string): string {
  if (!location.startsWith("/")) return location;
  const { core } = request.location;
  if (!core.absoluteRedirect) return location;
  const { local, tls } = request.connection;
  let host = core.serverNameInRedirect ? request.server.name : request.host;
  if (host === "" && !core.serverNameInRedirect) host = localHost(local);
  const port = portOf(local);
  const shown = core.portInRedirect && port !== 0 && port !== (tls === undefined ? 80 : 443) ? `:${port}` : "";
  return `${tls === undefined ? "http" : "https"}://${host}${shown}${location}`;
}

/** The address that the client connected to, as part of a URL. */
function localHost(local: Address): string {
  return local.family === "ipv6" ? `[${local.host}]` : hostText(local);
}
