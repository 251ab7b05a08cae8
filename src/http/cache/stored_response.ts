import fs from "node:fs";
import { OK } from "../core/codes.ts";
import { finalizeRequest, sendHeader } from "../core/engine.ts";
import type { Request } from "../core/request.ts";
import { sendFile, sendSmall } from "../files/static_file.ts";
import { copyResponse } from "../upstream/headers.ts";
import type { Passing } from "../upstream/settings.ts";
import type { StoredHead } from "./entry_file.ts";

/** A response out of the cache: an open file, or one in memory. */
export interface StoredResponse {
  readonly head: StoredHead;
  readonly generation: number;
  /** undefined: in a file. */
  readonly body: string | undefined;
  readonly path: string;
  readonly fd: number;
  readonly stats: fs.Stats | undefined;
}

export function closeStored({ fd }: StoredResponse): void {
  if (fd >= 0) fs.closeSync(fd);
}

const NOTHING = Buffer.alloc(0);

/** Answers a request with it, and closes its file (ngx_http_upstream_cache_send, ngx_http_cache_send). */
export function sendStored(request: Request, stored: StoredResponse, { rules, settings }: Passing): void {
  const { head, body, fd, path, stats } = stored;
  if (head.answer.version === 9) request.version = 9;
  copyResponse(request, head.answer, rules, settings);
  request.disableNotModified = false;
  request.seekable = true;
  const code = sendHeader(request);
  if (code !== OK || request.headerOnly) {
    closeStored(stored);
    finalizeRequest(request, code);
  } else if (body !== undefined) {
    finalizeRequest(request, sendSmall(request, body));
  } else if (stats !== undefined) {
    const part = { prefix: NOTHING, start: head.headBytes, end: head.headBytes + head.bodyBytes };
    finalizeRequest(request, sendFile(request, fd, path, stats, part));
  }
}
