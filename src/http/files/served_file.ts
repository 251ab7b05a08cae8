import fs from "node:fs";
import { httpDateOf } from "../../sys/clock.ts";
import { errorCode, errorText } from "../../sys/errno.ts";
import { type HeadText, headText } from "../../wire/head_text.ts";
import { OK } from "../core/codes.ts";
import { discardBody } from "../core/discard_body.ts";
import { sendHeader } from "../core/engine.ts";
import { logError } from "../core/log_context.ts";
import type { Request } from "../core/request.ts";
import { isDated } from "../core/response.ts";
import { setContentType } from "./content_type.ts";
import { FileError, FORBIDDEN, NOT_FOUND, openFile } from "./open_file.ts";

/** What static, flv and mp4 have in common: a file is opened, and the head of a response made of it. */

const CONTENT_ENCODING = headText("Content-Encoding");

/** A file that is open; whoever gets it closes the descriptor. */
export interface ServedFile {
  readonly fd: number;
  readonly stats: fs.Stats;
}

/** Opens a file, as `disable_symlinks` allows. The status to answer, after an error was logged, if that fails. */
export function openServed(request: Request, path: string): ServedFile | number {
  let fd: number;
  try {
    fd = openFile(request, path, request.location.core.disableSymlinks);
  } catch (error) {
    if (!(error instanceof FileError)) throw error;
    return openFailed(request, path, error);
  }
  try {
    return { fd, stats: fs.fstatSync(fd) };
  } catch (error) {
    fs.closeSync(fd);
    logError(request, "crit", `fstat() "${path}" failed (${errorText(errorCode(error))})`);
    return 500;
  }
}

function openFailed(request: Request, path: string, { code, call }: FileError): number {
  const notFound = NOT_FOUND.has(code);
  const status = notFound ? 404 : FORBIDDEN.has(code) ? 403 : 500;
  if (!notFound || request.location.core.logNotFound) {
    logError(request, status === 500 ? "crit" : "error", `${call} "${path}" failed (${errorText(code)})`);
  }
  return status;
}

/** The fields that come of a file. */
export interface FileHead {
  /** Modification time in seconds since 1970, and its text. */
  readonly lastModified: number;
  readonly lastModifiedText: HeadText;
  readonly etag: HeadText;
}

/** `length`: of the body that is made of the file. */
export function fileHead({ mtimeMs }: fs.Stats, length: number): FileHead {
  const lastModified = Math.floor(mtimeMs / 1000);
  return {
    lastModified,
    lastModifiedText: headText(httpDateOf(lastModified * 1000)),
    etag: etagOf(lastModified, length),
  };
}

/** The entity tag: the file's time and the body's length in hexadecimal (ngx_http_set_etag). */
function etagOf(seconds: number, length: number): HeadText {
  return headText(`"${seconds.toString(16)}-${length.toString(16)}"`);
}

/**
 * Sends the head of a response with `length` bytes of body, any part of which can be sent. `coding`: how the file is
 * compressed, where it stands for another one.
 */
export function sendFileHead(
  request: Request,
  length: number,
  { lastModified, lastModifiedText, etag }: FileHead,
  coding?: HeadText,
): number {
  if (!request.bodyEnded || request.expectContinue) {
    const code = discardBody(request);
    if (code !== OK) return code;
  }
  const { response } = request;
  response.status = 200;
  response.contentLength = length;
  response.lastModified = lastModified;
  response.lastModifiedText = request.errorStatus === 0 || isDated(request.errorStatus) ? lastModifiedText : undefined;
  if (request.location.core.etag) response.etag = etag;
  setContentType(request);
  if (coding !== undefined) response.headers.add(CONTENT_ENCODING, "content-encoding", coding);
  response.allowRanges = true;
  request.seekable = true;
  return sendHeader(request);
}
