import fs from "node:fs";
import type { CycleData } from "../../../runtime/cycle.ts";
import type { LogFile } from "../../../runtime/log/log.ts";
import { type LogBuffer, openBufferedLog, openLogFile } from "../../../runtime/log/log_files.ts";
import { openSyslog, type SyslogServer } from "../../../runtime/log/syslog.ts";
import { now } from "../../../sys/clock.ts";
import { errorCode, errorText } from "../../../sys/errno.ts";
import { osPath } from "../../../sys/paths.ts";
import { OK } from "../../core/codes.ts";
import { logError } from "../../core/log_context.ts";
import type { Request } from "../../core/request.ts";
import type { Template } from "../../core/script.ts";
import type { Handler } from "../../core/types.ts";
import { mapUriToPath } from "../../files/file_root.ts";
import { appendVarying, type LogFileCache } from "./log_file_cache.ts";
import type { LogFormat } from "./log_format.ts";

/**
 * What one `access_log` writes to: a file (`path` is absolute), a file whose name has variables, or a syslog server.
 */
export type LogTarget =
  | { readonly to: "file"; readonly path: string; readonly buffer: LogBuffer | undefined }
  | {
      readonly to: "varying file";
      readonly path: Template;
      readonly absolute: (path: string) => string;
      readonly cache: LogFileCache | undefined;
    }
  | { readonly to: "syslog"; readonly server: SyslogServer };

export interface AccessLog {
  readonly target: LogTarget;
  readonly format: LogFormat;
  /** `if=`: requests for which it is "" or "0" are not logged. */
  readonly condition: Template | undefined;
}

/** Writes a line, given without line feed. */
type Sink = (request: Request, line: string) => void;

/** The log phase's handler. */
export function logHandler(logs: readonly AccessLog[], hosts: CycleData["hosts"]): Handler | undefined {
  if (logs.length === 0) return undefined;
  const writers = logs.map((log) => writer(log, sinkOf(log.target, hosts)));
  if (writers.length === 1) return writers[0];
  return (request) => {
    for (const write of writers) write(request);
    return OK;
  };
}

function writer({ format, condition }: AccessLog, sink: Sink): Handler {
  return (request) => {
    if (condition !== undefined) {
      const value = condition.render(request);
      if (value === "" || value === "0") return OK;
    }
    sink(request, format.render(request));
    return OK;
  };
}

function sinkOf(target: LogTarget, hosts: CycleData["hosts"]): Sink {
  switch (target.to) {
    case "file":
      return fileSink(target.path, target.buffer);
    case "varying file":
      return varyingSink(target);
    default: {
      const syslog = openSyslog(target.server, hosts);
      return (_request, line) => syslog.send(line);
    }
  }
}

/** Opened with the first line, so that the master, which builds the same tree, does not open it. */
function fileSink(path: string, buffer: LogBuffer | undefined): Sink {
  let file: LogFile | undefined;
  let failedAt = 0;
  return (request, line) => {
    if (file === undefined) {
      if (Date.now() - failedAt < 1000) return;
      try {
        file = buffer === undefined ? openLogFile(path) : openBufferedLog(path, buffer);
      } catch (error) {
        failedAt = Date.now();
        logError(request, "alert", error instanceof Error ? error.message : String(error));
        return;
      }
    }
    file.append(`${line}\n`);
  };
}

/** A path with variables: as in nginx nothing is written if the request's root does not exist. */
function varyingSink({ path: template, absolute, cache }: Extract<LogTarget, { to: "varying file" }>): Sink {
  let saidAt = Number.NEGATIVE_INFINITY;
  return (request, line) => {
    if (!rootExists(request)) return;
    try {
      const failed = appendVarying(absolute(template.render(request)), `${line}\n`, cache);
      // Logged once a minute, as in nginx.
      if (failed === undefined || now() - saidAt < 60_000) return;
      saidAt = now();
      logError(request, "alert", failed);
    } catch (error) {
      logError(request, "crit", error instanceof Error ? error.message : String(error));
    }
  };
}

function rootExists(request: Request): boolean {
  const mapped = mapUriToPath(request);
  if (mapped === undefined) return false;
  const root = mapped.path.slice(0, mapped.rootLength);
  let failure = "ENOENT";
  try {
    const stats = fs.statSync(osPath(root), { throwIfNoEntry: false });
    if (stats?.isDirectory()) return true;
    if (stats !== undefined) failure = "ENOTDIR";
  } catch (error) {
    failure = errorCode(error);
  }
  logError(request, "error", `testing "${root}" existence failed (${errorText(failure)})`);
  return false;
}
