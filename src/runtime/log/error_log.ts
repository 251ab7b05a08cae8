import { errorTime } from "../../sys/clock.ts";
import type { Cycle } from "../cycle.ts";
import { type ErrorLog, LEVELS, type Level, type LogFile } from "./log.ts";
import { openLogFile, standardError } from "./log_files.ts";
import { openSyslog, type SyslogServer } from "./syslog.ts";

/** One `error_log` line. `path` is as written: relative ones start at the prefix. */
export type ErrorLogTarget = { readonly level: Level } & (
  | { readonly to: "file"; readonly path: string }
  | { readonly to: "stderr" }
  | { readonly to: "syslog"; readonly server: SyslogServer }
);

const SEVERITY: Readonly<Record<Level, number>> = Object.fromEntries(
  LEVELS.map((level, severity) => [level, severity]),
) as Record<Level, number>;

/** NGX_MAX_ERROR_STR, here without the time and level. */
const MAX_MESSAGE = 2048;

/** One open target. */
interface Sink {
  readonly severity: number;
  put(line: string, level: Level): void;
}

/** Opens the targets in force in a scope; if there are none, the log of `-e` at level error. Throws nginx's message. */
export function openErrorLog(targets: readonly ErrorLogTarget[], cycle: Pick<Cycle, "data" | "path">): ErrorLog {
  if (targets.length === 0) return logOf([defaultSink(cycle.data.errorLog)]);
  return logOf(targets.map((target) => sinkOf(target, cycle)));
}

/** The log until a configuration has been read: the file of `-e`, or standard error if `path` is "" or "stderr". */
export function openInitialLog(path: string, level: Level = "notice"): ErrorLog {
  return logOf([fileSink(path === "" || path === "stderr" ? standardError : openLogFile(path), level)]);
}

/**
 * Writes to both: while nginx starts, what is [warn] or worse, and wanted in the log, also goes to the terminal as
 * `holdfast: [level] …`.
 */
export function withTerminal(log: ErrorLog): ErrorLog {
  return {
    wants: log.wants,
    write(level, message, connection) {
      log.write(level, message, connection);
      if (SEVERITY[level] <= SEVERITY.warn && log.wants(level))
        standardError.append(`holdfast: [${level}] ${printable(message)}\n`);
    },
  };
}

function logOf(sinks: readonly Sink[]): ErrorLog {
  const most = Math.max(...sinks.map((sink) => sink.severity));
  const head = ` [`;
  const tail = `] ${process.pid}#${process.pid}: `;
  return {
    wants: (level) => SEVERITY[level] <= most,
    write(level, message, connection) {
      const severity = SEVERITY[level];
      if (severity > most) return;
      const text = printable(message);
      const line = `${errorTime()}${head}${level}${tail}${connection === undefined ? "" : `*${connection} `}${text}\n`;
      for (const sink of sinks) if (severity <= sink.severity) sink.put(line, level);
    },
  };
}

function defaultSink(path: string): Sink {
  return fileSink(path === "" || path === "stderr" ? standardError : openLogFile(path), "error");
}

function sinkOf(target: ErrorLogTarget, cycle: Pick<Cycle, "data" | "path">): Sink {
  switch (target.to) {
    case "stderr":
      return fileSink(standardError, target.level);
    case "syslog": {
      const syslog = openSyslog(target.server, cycle.data.hosts);
      // As in nginx the message is the whole line, and its severity replaces the parameter's.
      return {
        severity: SEVERITY[target.level],
        put: (line, level) => syslog.send(line.slice(0, -1), Math.max(0, SEVERITY[level] - 1)),
      };
    }
    default:
      return fileSink(openLogFile(cycle.path(target.path)), target.level);
  }
}

function fileSink(file: LogFile, level: Level): Sink {
  return {
    severity: SEVERITY[level],
    put(line, lineLevel) {
      file.append(line);
      // The process may be about to die.
      if (SEVERITY[lineLevel] <= SEVERITY.alert) file.flush();
    },
  };
}

const CONTROL = /[\x00-\x1f\x7f]/g;

/** One line of bounded length, control bytes as `\x0A`, so that no client can forge a line. */
function printable(message: string): string {
  const text = message.length > MAX_MESSAGE ? `${message.slice(0, MAX_MESSAGE)}...` : message;
  return text.replace(CONTROL, (byte) => `\\x${byte.charCodeAt(0).toString(16).toUpperCase().padStart(2, "0")}`);
}
