import fs from "node:fs";
import { httpDateOf } from "../../sys/clock.ts";
import { errorCode, errorText } from "../../sys/errno.ts";
import { ESCAPE_URI, escapeUri } from "../../wire/escape.ts";
import { type HeadText, headText } from "../../wire/head_text.ts";
import { defineModule } from "../conf/module.ts";
import { DECLINED, OK } from "../core/codes.ts";
import { discardBody } from "../core/discard_body.ts";
import { sendHeader } from "../core/engine.ts";
import { logError } from "../core/log_context.ts";
import type { Request } from "../core/request.ts";
import { isDated } from "../core/response.ts";
import { setContentType } from "../files/content_type.ts";
import { mapUriToPath } from "../files/file_root.ts";
import { FileError, openFile } from "../files/open_file.ts";
import { keepSmallFile, SMALL, type SmallFile, smallFile } from "../files/small_files.ts";
import { readSmall, sendFile, sendSmall } from "../files/static_file.ts";

const { S_IFMT, S_IFDIR, S_IFREG } = fs.constants;

/** ngx_http_static_module: the file of the URI under `root` or `alias`. */
export const staticFiles = defineModule({
  name: "http_static",
  directives: {},
  contentPhase: () => serveFile,
});

function serveFile(request: Request): number {
  const { method, uri } = request;
  if (method !== "GET" && method !== "HEAD" && method !== "POST") return 405;
  if (uri.charCodeAt(uri.length - 1) === 0x2f) return DECLINED;
  const mapped = mapUriToPath(request);
  if (mapped === undefined) return 500;
  const { path } = mapped;
  const { disableSymlinks: rule } = request.location.core;
  if (rule === undefined && method !== "POST") {
    const known = smallFile(path);
    if (known !== undefined) return serveKnown(request, known);
  }

  let fd: number;
  try {
    fd = openFile(request, path, rule);
  } catch (error) {
    if (!(error instanceof FileError)) throw error;
    return openFailed(request, path, error);
  }
  return serveOpen(request, path, fd);
}

/** Owns the descriptor: it is closed here, or by sendFile. */
function serveOpen(request: Request, path: string, fd: number): number {
  let sending = false;
  try {
    const stats = statOpen(request, path, fd);
    if (stats === undefined) return 500;
    const kind = stats.mode & S_IFMT;
    if (kind === S_IFDIR) return redirectToDirectory(request);
    if (kind !== S_IFREG) {
      logError(request, "crit", `"${path}" is not a regular file`);
      return 404;
    }
    if (request.method === "POST") return 405;
    const { size } = stats;
    const lastModified = Math.floor(stats.mtimeMs / 1000);
    const head = {
      lastModified,
      lastModifiedText: headText(httpDateOf(lastModified * 1000)),
      etag: etagOf(lastModified, size),
    };
    const code = sendHead(request, size, head);
    if (code !== OK || request.headerOnly) return code;
    const body = size <= SMALL ? readSmall(fd, size) : undefined;
    if (body === undefined) {
      sending = true;
      return sendFile(request, fd, path, stats);
    }
    if (request.location.core.disableSymlinks === undefined) keepSmallFile(path, body, stats, head);
    return sendSmall(request, body);
  } finally {
    if (!sending) fs.closeSync(fd);
  }
}

function statOpen(request: Request, path: string, fd: number): fs.Stats | undefined {
  try {
    return fs.fstatSync(fd);
  } catch (error) {
    logError(request, "crit", `fstat() "${path}" failed (${errorText(errorCode(error))})`);
    return undefined;
  }
}

function serveKnown(request: Request, file: SmallFile): number {
  const code = sendHead(request, file.body.length, file);
  return code !== OK || request.headerOnly ? code : sendSmall(request, file.body);
}

function sendHead(
  request: Request,
  size: number,
  { lastModified, lastModifiedText, etag }: Pick<SmallFile, "lastModified" | "lastModifiedText" | "etag">,
): number {
  if (!request.bodyEnded || request.expectContinue) {
    const code = discardBody(request);
    if (code !== OK) return code;
  }
  const { response } = request;
  response.status = 200;
  response.contentLength = size;
  response.lastModified = lastModified;
  response.lastModifiedText = request.errorStatus === 0 || isDated(request.errorStatus) ? lastModifiedText : undefined;
  if (request.location.core.etag) response.etag = etag;
  setContentType(request);
  response.allowRanges = true;
  request.seekable = true;
  return sendHeader(request);
}

/** The entity tag of a file: its time and length in hexadecimal (ngx_http_set_etag). */
function etagOf(seconds: number, size: number): HeadText {
  return headText(`"${seconds.toString(16)}-${size.toString(16)}"`);
}

const NOT_FOUND: ReadonlySet<string> = new Set(["ENOENT", "ENOTDIR", "ENAMETOOLONG"]);
const FORBIDDEN: ReadonlySet<string> = new Set(["EACCES", "EMLINK", "ELOOP"]);

function openFailed(request: Request, path: string, { code, call }: FileError): number {
  const notFound = NOT_FOUND.has(code);
  const status = notFound ? 404 : FORBIDDEN.has(code) ? 403 : 500;
  if (!notFound || request.location.core.logNotFound) {
    logError(request, status === 500 ? "crit" : "error", `${call} "${path}" failed (${errorText(code)})`);
  }
  return status;
}

/** `/dir` is answered with `/dir/`, arguments kept. */
function redirectToDirectory(request: Request): number {
  const { response, args } = request;
  const to = `${escapeUri(request.uri, ESCAPE_URI)}/`;
  response.location = args === "" ? to : `${to}?${args}`;
  return 301;
}
