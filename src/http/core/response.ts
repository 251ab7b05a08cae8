import { headText } from "../../wire/head_text.ts";
import { HeaderList } from "../../wire/http1/header_list.ts";
import type { Response } from "./types.ts";

/** A new response. */
export function newResponse(): Response {
  return {
    status: 0,
    statusLine: undefined,
    headers: new HeaderList(),
    contentType: undefined,
    charset: undefined,
    upstreamType: undefined,
    overrideCharset: undefined,
    contentLength: -1,
    contentOffset: 0,
    lastModified: -1,
    lastModifiedText: undefined,
    etag: undefined,
    location: undefined,
    server: undefined,
    date: undefined,
    allowRanges: false,
    trailers: undefined,
    lines: undefined,
  };
}

/** Gives a response that has nothing yet all that another one has. */
export function copyFields(response: Response, from: Response): void {
  const { headers } = from;
  for (let at = 0; at < headers.count; at++) response.headers.copy(headers, at);
  response.status = from.status;
  response.statusLine = from.statusLine;
  response.contentType = from.contentType;
  response.charset = from.charset;
  response.upstreamType = from.upstreamType;
  response.overrideCharset = from.overrideCharset;
  response.contentLength = from.contentLength;
  response.contentOffset = from.contentOffset;
  response.lastModified = from.lastModified;
  response.lastModifiedText = from.lastModifiedText;
  response.etag = from.etag;
  response.location = from.location;
  response.server = from.server;
  response.date = from.date;
  response.allowRanges = from.allowRanges;
  response.trailers = from.trailers;
  response.lines = from.lines;
}

/** Resets it: an HTTP/1 connection uses the same object for all its requests. */
export function resetResponse(response: Response): void {
  response.status = 0;
  response.statusLine = undefined;
  response.headers.clear();
  response.contentType = undefined;
  response.charset = undefined;
  response.upstreamType = undefined;
  response.overrideCharset = undefined;
  response.contentLength = -1;
  response.contentOffset = 0;
  response.lastModified = -1;
  response.lastModifiedText = undefined;
  response.etag = undefined;
  response.location = undefined;
  response.server = undefined;
  response.date = undefined;
  response.allowRanges = false;
  response.trailers = undefined;
  response.lines = undefined;
}

/** Makes a strong entity tag weak (ngx_http_weak_etag): a filter changes the body's bytes. */
export function weakEtag(response: Response): void {
  const { etag } = response;
  if (etag === undefined || etag.startsWith("W/")) return;
  response.etag = etag.startsWith('"') ? headText(`W/${etag}`) : undefined;
}

/** A filter makes another body of unknown length: its parts cannot be had, and its entity tag is a weak one. */
export function bodyChanges(response: Response): void {
  response.contentLength = -1;
  response.contentOffset = 0;
  response.allowRanges = false;
  response.headers.remove("accept-ranges");
  weakEtag(response);
}

/** Whether Last-Modified goes with a status: an error page does not show the time of the file it comes from. */
export function isDated(status: number): boolean {
  return status === 200 || status === 206 || status === 304;
}

/** ngx_http_clear_last_modified */
export function clearLastModified(response: Response): void {
  response.lastModified = -1;
  response.lastModifiedText = undefined;
}
