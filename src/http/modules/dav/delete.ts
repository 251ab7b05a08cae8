import fs from "node:fs";
import { osPath } from "../../../sys/paths.ts";
import { type LogLine, logError } from "../../core/log_context.ts";
import type { Request } from "../../core/request.ts";
import type { Handler } from "../../core/types.ts";
import { FileCallError, fileCall, rmdir, unlink } from "../../files/file_operations.ts";
import { mapUriToPath } from "../../files/file_root.ts";
import type { DavSettings } from "./dav.ts";
import { readDepth } from "./fields.ts";
import { davError, runOperation, withErrno } from "./operation.ts";
import { emptyDirectory, inTurn } from "./tree.ts";

/** DELETE: of a file, or of a directory with all that is in it. */
export function deleteHandler({ min_delete_depth: least }: DavSettings): Handler {
  return (request) => {
    if (request.contentLength > 0 || request.chunked) {
      logError(request, "error", "DELETE with body is unsupported");
      return 415;
    }
    if (least > 0 && !isDeepEnough(request, least)) return 409;
    const mapped = mapUriToPath(request);
    if (mapped === undefined) return 500;
    const { path } = mapped;
    const collection = request.uri.endsWith("/");
    const depth = request.headers.get("depth");
    return runOperation(request, (log) => remove(path, collection, depth, log));
  };
}

function isDeepEnough(request: Request, least: number): boolean {
  const { uri } = request;
  let depth = 0;
  for (let at = uri.indexOf("/"); at >= 0; at = uri.indexOf("/", at + 1)) {
    if (++depth >= least && at + 1 < uri.length) return true;
  }
  logError(request, "error", `insufficient URI depth:${depth} to DELETE`);
  return false;
}

async function remove(path: string, collection: boolean, field: string | undefined, log: LogLine): Promise<number> {
  let directory: boolean;
  try {
    directory = (await fileCall("lstat()", path, fs.promises.lstat(osPath(path)))).isDirectory();
  } catch (error) {
    return davError(log, error, isNoDirectory(error) ? 409 : 404);
  }
  if (directory && !collection) {
    log("error", withErrno(`DELETE "${path}" failed`, "EISDIR"));
    return 409;
  }
  const depth = readDepth(field, directory ? "infinity" : "0", log);
  if (depth !== "infinity" && (directory || depth !== "0")) {
    log("error", `"Depth" header must be ${directory ? "infinity" : "0 or infinity"}`);
    return 400;
  }
  return removePath(path, directory, log);
}

function isNoDirectory(error: unknown): boolean {
  return error instanceof FileCallError && error.code === "ENOTDIR";
}

/** Removes a file, or a directory with all that is in it. Returns 204, or the status of the error, which was logged. */
export async function removePath(path: string, directory: boolean, log: LogLine): Promise<number> {
  try {
    if (!directory) {
      await unlink(path);
      return 204;
    }
    if (!(await inTurn(() => emptyDirectory(path, log)))) return 500;
    await rmdir(path);
    return 204;
  } catch (error) {
    return davError(log, error, 404);
  }
}
