import { errorText } from "../../../sys/errno.ts";
import { boundary, contain } from "../../../sys/guard.ts";
import { DONE } from "../../core/codes.ts";
import { finalizeRequest } from "../../core/engine.ts";
import { type LogLine, logOf } from "../../core/log_context.ts";
import type { Request } from "../../core/request.ts";
import { FileCallError } from "../../files/file_operations.ts";
import { NOT_FOUND } from "../../files/open_file.ts";

/**
 * Runs operations on files beside the event loop and answers with the status they come to. A client that goes away does not
 * stop them, as it does not stop nginx, which would not notice.
 */
export function runOperation(
  request: Request,
  operation: (log: LogLine) => Promise<number>,
  answer: (request: Request, status: number) => void = finalizeRequest,
): number {
  request.onAbort = goOn;
  operation(logOf(request)).then(
    boundary(request, (status) => answer(request, status)),
    (error) => contain(request, error),
  );
  return DONE;
}

function goOn(): void {}

const FORBIDDEN: ReadonlySet<string> = new Set(["EACCES", "EPERM"]);

/** Logs a call that has failed. Returns what it is answered with, `notFound` where there is no such file (ngx_http_dav_error). */
export function davError(log: LogLine, error: unknown, notFound: number): number {
  if (!(error instanceof FileCallError)) throw error;
  const { code, message } = error;
  if (NOT_FOUND.has(code)) return logged("error", notFound);
  if (FORBIDDEN.has(code)) return logged("error", 403);
  if (code === "EEXIST") return logged("error", 405);
  return logged("crit", code === "ENOSPC" ? 507 : 500);

  function logged(level: "error" | "crit", status: number): number {
    log(level, message);
    return status;
  }
}

/** `… (21: Is a directory)` */
export function withErrno(sentence: string, code: string): string {
  return `${sentence} (${errorText(code)})`;
}
