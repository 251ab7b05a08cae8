import fs from "node:fs";
import { httpDateOf } from "../../sys/clock.ts";
import { type HeadText, headText } from "../../wire/head_text.ts";
import { OK } from "../core/codes.ts";
import { discardBody } from "../core/discard_body.ts";
import { sendHeader } from "../core/engine.ts";
import type { Request } from "../core/request.ts";
import { isDated } from "../core/response.ts";
import { setContentType } from "./content_type.ts";
import { keepSmallFile, SMALL, type SmallFile } from "./small_files.ts";
import { readSmall, sendFile, sendSmall } from "./static_file.ts";

/**
 * Answers with a file as it is. `coding`: how its content is compressed, where it stands for another file. Returns what a
 * content handler returns.
 */

const CONTENT_ENCODING = headText("Content-Encoding");

/** Answers with a file in memory. */
export function sendKnown(request: Request, file: SmallFile, coding?: HeadText): number {
  const code = sendHead(request, file.body.length, file, coding);
  return code !== OK || request.headerOnly ? code : sendSmall(request, file.body);
}

/** Answers with an open file, and closes it. */
export function sendOpen(request: Request, path: string, fd: number, stats: fs.Stats, coding?: HeadText): number {
  let sending = false;
  try {
    const { size } = stats;
    const lastModified = Math.floor(stats.mtimeMs / 1000);
    const head = {
      lastModified,
      lastModifiedText: headText(httpDateOf(lastModified * 1000)),
      etag: etagOf(lastModified, size),
    };
    const code = sendHead(request, size, head, coding);
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

function sendHead(
  request: Request,
  size: number,
  { lastModified, lastModifiedText, etag }: Pick<SmallFile, "lastModified" | "lastModifiedText" | "etag">,
  coding: HeadText | undefined,
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
  if (coding !== undefined) response.headers.add(CONTENT_ENCODING, "content-encoding", coding);
  response.allowRanges = true;
  request.seekable = true;
  return sendHeader(request);
}

/** The entity tag of a file: its time and length in hexadecimal (ngx_http_set_etag). */
function etagOf(seconds: number, size: number): HeadText {
  return headText(`"${seconds.toString(16)}-${size.toString(16)}"`);
}
