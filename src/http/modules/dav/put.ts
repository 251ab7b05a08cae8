import fs from "node:fs";
import { osPath } from "../../../sys/paths.ts";
import { ESCAPE_URI, escapeUri } from "../../../wire/escape.ts";
import { parseHttpTime } from "../../../wire/http_time.ts";
import { DONE } from "../../core/codes.ts";
import { finalizeRequest, sendHeader } from "../../core/engine.ts";
import { type LogLine, logError } from "../../core/log_context.ts";
import type { Request } from "../../core/request.ts";
import { readBodyIntoFile } from "../../core/request_body.ts";
import type { Handler } from "../../core/types.ts";
import { discard, extRenameFile, FileCallError, type RenameOptions } from "../../files/file_operations.ts";
import { mapUriToPath } from "../../files/file_root.ts";
import type { DavSettings } from "./dav.ts";
import { runOperation, withErrno } from "./operation.ts";

/** PUT: the body is read into a temporary file, which then gets its name. */
export function putHandler({ create_full_put_path: createPath, dav_access: access }: DavSettings): Handler {
  const pathAccess = createPath ? access : undefined;
  const store = (request: Request): void => {
    const code = storeBody(request, { access, pathAccess, time: dateOf(request) });
    if (code !== DONE) finalizeRequest(request, code);
  };
  return (request) => {
    if (request.uri.endsWith("/")) {
      logError(request, "error", "cannot PUT to a collection");
      return 409;
    }
    if (request.headers.get("content-range") !== undefined) {
      logError(request, "error", "PUT with range is unsupported");
      return 501;
    }
    readBodyIntoFile(request, store);
    return DONE;
  };
}

/** The `Date` field becomes the file's time. */
function dateOf({ headers }: Request): number {
  const date = headers.get("date");
  return date === undefined ? -1 : parseHttpTime(date);
}

function storeBody(request: Request, options: RenameOptions): number {
  const { body } = request;
  if (body === undefined) {
    logError(request, "error", "PUT request body is unavailable");
    return 500;
  }
  const { file } = body;
  if (file === undefined) {
    logError(request, "error", "PUT request body must be in a file");
    return 500;
  }
  const mapped = mapUriToPath(request);
  if (mapped === undefined) return 500;
  const temporary = file.giveAway();
  return runOperation(request, (log) => rename(temporary, mapped.path, options, log), answer);
}

async function rename(temporary: string, path: string, options: RenameOptions, log: LogLine): Promise<number> {
  let status = 201;
  try {
    const stats = await fs.promises.stat(osPath(path));
    status = stats.isDirectory() ? 409 : 204;
  } catch {
    // There is none; whatever else is wrong, rename() will say.
  }
  if (status === 409) {
    log("error", withErrno(`"${path}" could not be created`, "EISDIR"));
    await discard(temporary, log);
    return status;
  }
  try {
    await extRenameFile(temporary, path, options, log);
    return status;
  } catch (error) {
    if (!(error instanceof FileCallError)) throw error;
    await discard(temporary, log);
    log("crit", error.message);
    return 500;
  }
}

function answer(request: Request, status: number): void {
  if (status >= 300) {
    finalizeRequest(request, status);
    return;
  }
  const { response } = request;
  response.status = status;
  if (status === 201) {
    response.location = escapeUri(request.uri, ESCAPE_URI);
    response.contentLength = 0;
  }
  request.headerOnly = true;
  finalizeRequest(request, sendHeader(request));
}
