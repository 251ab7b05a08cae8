import { type DirectiveSpec, fail, reachesOut, type Scope, scopesThatSet, valueIn } from "../../config/schema.ts";
import type { Directive } from "../../config/types.ts";
import type { HostWanted } from "../application.ts";
import type { Cycle } from "../cycle.ts";
import { type ErrorLogTarget, openErrorLog } from "./error_log.ts";
import { type ErrorLog, LEVELS, type Level } from "./log.ts";
import { parseSyslog } from "./syslog.ts";

/** The `error_log` directive, and what all its lines in a configuration add up to. */
export const errorLog: DirectiveSpec<readonly ErrorLogTarget[]> = {
  in: ["main", "http", "server", "location"],
  args: [1, Number.POSITIVE_INFINITY],
  repeat: true,
  syntax: "file|stderr|syslog:server=address[,parameter=value] [level]",
  defaultText: "logs/error.log error",
  doc: "Where errors are logged: a file, the standard error output or a syslog server, from a level up (debug, info, notice, warn, error, crit, alert, emerg). Several at one level each get the line.",
  initial: () => [],
  read(at, scope, previous) {
    // It is opened at the start.
    reachesOut(scope, at);
    return [...(previous ?? []), errorLogTarget(at)];
  },
};

/** Reads an `error_log` line. */
function errorLogTarget(at: Directive): ErrorLogTarget {
  const level = levelOf(at);
  const [place] = at.args;
  if (place === "stderr") return { to: "stderr", level };
  if (place.startsWith("syslog:")) return { to: "syslog", server: parseSyslog(at), level };
  if (place.startsWith("memory:")) {
    return fail(at, "error_log to memory is not available in Holdfast; log to a file at level debug instead");
  }
  return { to: "file", path: place, level };
}

/** nginx's parts of the debug level. */
const DEBUG = /^debug_(core|alloc|mutex|event|http|mail|stream)$/;

function levelOf(at: Directive): Level {
  let level: Level | undefined;
  for (const word of at.args.slice(1)) {
    const named = LEVELS.find((candidate) => candidate === word && candidate !== "stderr");
    if (named !== undefined) {
      if (level !== undefined) fail(at, `duplicate log level "${word}"`);
      level = named;
    } else if (DEBUG.test(word) && (level === undefined || level === "debug")) {
      level = "debug";
    } else {
      fail(at, `invalid log level "${word}"`);
    }
  }
  return level ?? "error";
}

/** The log of the main block: of the master and its children, for what belongs to no request. */
export function openMainLog(cycle: Cycle): ErrorLog {
  return openErrorLog(mainTargets(cycle), cycle);
}

/** As in nginx there is always a file: where `error_log` names none (nor stderr), that of `-e`, at level error. */
function mainTargets({ root, data }: Cycle): readonly ErrorLogTarget[] {
  const targets = valueIn(root, errorLog);
  if (targets.some((target) => target.to !== "syslog")) return targets;
  const path = data.errorLog;
  return [...targets, path === "" ? { to: "stderr", level: "error" } : { to: "file", path, level: "error" }];
}

/** Every file that the error logs of a configuration write to, absolute. */
export function errorLogFiles(cycle: Cycle): string[] {
  const { root } = cycle;
  const targets = [
    ...mainTargets(cycle),
    ...scopesThatSet(root, errorLog).flatMap((scope) => valueIn(scope, errorLog)),
  ];
  return targets.flatMap((target) => (target.to === "file" ? [cycle.path(target.path)] : []));
}

/** The syslog servers that are given by name, in any scope. */
export function syslogHosts(root: Scope): HostWanted[] {
  const wanted: HostWanted[] = [];
  for (const scope of scopesThatSet(root, errorLog)) {
    const place = scope.places.get(errorLog) ?? scope.directive;
    for (const target of valueIn(scope, errorLog)) {
      if (target.to !== "syslog") continue;
      const { server, name } = target.server;
      if ("family" in server) continue;
      const error = `host not found in syslog server "${name}"`;
      wanted.push({ host: server.host, file: place.file, line: place.line, error });
    }
  }
  return wanted;
}
