import { OK } from "../core/codes.ts";
import { finalizeRequest, sendHeader } from "../core/engine.ts";
import type { Request } from "../core/request.ts";
import { type SharedFile, sendFile, sendSmall } from "../files/static_file.ts";
import { copyResponse } from "../upstream/headers.ts";
import type { Passing } from "../upstream/settings.ts";
import type { StoredHead } from "./entry_file.ts";
import type { HeldResponse } from "./memory_tier.ts";

/** A response out of the cache. */
export interface StoredResponse {
  readonly head: StoredHead;
  readonly generation: number;
  /** In memory, a byte string; or an open file, of which this is a user. */
  readonly body: string | SharedFile;
}

export function closeStored({ body }: StoredResponse): void {
  if (typeof body !== "string") body.release();
}

/** Answers a request with it (ngx_http_upstream_cache_send, ngx_http_cache_send). */
export function sendStored(request: Request, stored: StoredResponse, { rules, settings }: Passing): void {
  const { answer } = stored.head;
  if (answer.version === 9) request.version = 9;
  copyResponse(request, answer, rules, settings);
  request.disableNotModified = false;
  request.seekable = true;
  sendBody(request, stored.head, stored.body, sendHeader(request));
}

/** The same with a response in memory. */
export function sendHeld(request: Request, { stored, body, heads }: HeldResponse, passing: Passing): void {
  if (typeof body !== "string") body.use();
  request.disableNotModified = false;
  request.seekable = true;
  sendBody(request, stored, body, heads.send(request, stored.answer, passing));
}

const NOTHING = Buffer.alloc(0);

/** `code`: what sending the head has come to. */
function sendBody(
  request: Request,
  { headBytes, bodyBytes }: StoredHead,
  body: string | SharedFile,
  code: number,
): void {
  if (typeof body === "string") {
    finalizeRequest(request, code !== OK || request.headerOnly ? code : sendSmall(request, body));
  } else if (code !== OK || request.headerOnly) {
    body.release();
    finalizeRequest(request, code);
  } else {
    const part = { prefix: NOTHING, start: headBytes, end: headBytes + bodyBytes, shared: body };
    finalizeRequest(request, sendFile(request, body.fd, body.path, body.stats, part));
  }
}
