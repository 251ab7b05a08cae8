import { isDeepStrictEqual } from "node:util";
import { sentence, sentences } from "../config/errors.ts";
import { logFault, logFaultsTo } from "../sys/guard.ts";
import { setLimit } from "../sys/limits.ts";
import { fullName } from "../sys/paths.ts";
import type { Identity } from "../sys/users.ts";
import { VERSION } from "../version.ts";
import { ListeningSockets } from "./binding.ts";
import type { Program } from "./cycle.ts";
import { announceReady, inBackground, redirectStandardError } from "./daemon.ts";
import { coreDirectives } from "./directives.ts";
import {
  buildGeneration,
  errorLogFiles,
  type Generation,
  type Loaded,
  loadGeneration,
  openMainLog,
  rebuildGeneration,
} from "./generation.ts";
import { collectGarbage, prepareThreadHeaps } from "./heap.ts";
import { reportLogFailures } from "./log/append_file.ts";
import { withTerminal } from "./log/error_log.ts";
import type { ErrorLog } from "./log/log.ts";
import { closeLogFilesExcept, flushLogFiles } from "./log/log_files.ts";
import { closeLogs, type OpenLogs } from "./log/open_log.ts";
import { LogDescriptors } from "./log_descriptors.ts";
import type { Paths } from "./options.ts";
import { removePidFile, writePidFile } from "./pidfile.ts";
import { prepareFiles } from "./prepare.ts";
import { becomeUser, identityOf } from "./privileges.ts";
import { Signals, signalText } from "./signals.ts";
import { ThreadPool } from "./threads.ts";

export interface Start {
  readonly program: Program;
  readonly entry: URL;
  readonly paths: Paths;
  /** `-g` */
  readonly globals: string | undefined;
  readonly loaded: Loaded;
  /** The log from before the configuration was read. */
  readonly initialLog: ErrorLog;
}

/** SO_REUSEPORT, by which several workers share a port, is not on every system. */
const SHARES_PORTS = process.platform === "linux";

/** The supervisor's life: starts the threads, answers signals, and ends the process. Resolves to an exit status when the start fails. */
export async function supervise(start: Start): Promise<number> {
  const { program, entry, paths } = start;
  const signals = new Signals(["SIGHUP", "SIGUSR1", "SIGWINCH", "SIGUSR2", "SIGALRM", "SIGIO"]);
  let current: Generation;
  let log: ErrorLog;
  let identity: Identity | undefined;
  const sockets = new ListeningSockets();
  const logs = new LogDescriptors();
  try {
    current = await buildGeneration(program, paths, start.loaded, undefined);
    warnAll(current, start.initialLog);
    const core = coreDirectives.in(current.root);
    identity = identityOf(core.user);
    logs.take(prepareFiles(current, identity));
    log = withTerminal(openMainLog(current));
    if (!(await sockets.bind(current.application.listeners, workerCount(current), log))) return 1;
    setProcess(core, log);
    if (identity !== undefined) await becomeUser(identity, entry, log);
  } catch (error) {
    for (const line of sentences(error)) start.initialLog.write("emerg", line);
    sockets.close();
    return 1;
  }

  reportLogFailures((text) => log.write("alert", text));
  let env = threadEnvironment(coreDirectives.in(current.root).env);
  prepareThreadHeaps();
  const pool = new ThreadPool({
    entry,
    env: () => env,
    log: () => log,
    sockets: (workers) => sockets.descriptors(workers),
    logs: () => logs.shared,
    released: (version) => logs.release(version),
    forget: (slot) => current.application.forget?.(slot),
  });
  let pidFile = pidPath(current);
  let ending: "quit" | "stop" | undefined;

  const end = async (): Promise<void> => {
    try {
      await pool.stop();
      sockets.close();
      const failed = removePidFile(pidFile);
      if (failed !== undefined) log.write("alert", failed);
      log.write("notice", "exit");
      flushLogFiles();
    } catch (error) {
      logFault(error, " while exiting");
    }
    process.exit(0);
  };
  const stop = (signal: NodeJS.Signals): void => {
    log.write("notice", `${signalText(signal)} received, exiting`);
    if (ending === "stop") return;
    ending = "stop";
    void end();
  };
  const quit = async (): Promise<void> => {
    log.write("notice", `${signalText("SIGQUIT")} received, shutting down`);
    if (ending !== undefined) return;
    ending = "quit";
    log.write("notice", "gracefully shutting down");
    sockets.leaveOthers([]);
    try {
      await pool.quit(() => sockets.closeLeft());
    } catch (error) {
      logFault(error, " while shutting down");
    }
    if (ending === "quit") await end();
  };
  process.on("SIGTERM", stop);
  process.on("SIGINT", stop);
  process.on("SIGQUIT", () => void quit());

  log.write("notice", `holdfast/${VERSION}`);
  log.write("notice", `start worker threads: ${workerCount(current)}`);
  const errors = await pool.apply(current.data, workerCount(current));
  if (ending !== undefined) return new Promise(() => {});
  if (errors.length > 0) {
    for (const error of errors) log.write("emerg", error);
    await pool.stop();
    sockets.close();
    return 1;
  }
  try {
    writePidFile(pidFile);
  } catch (error) {
    log.write("emerg", sentence(error));
    await pool.stop();
    sockets.close();
    return 1;
  }
  log = openMainLog(current);
  logFaultsTo(log);
  announceReady(paths.errorLog);

  const reload = async (): Promise<void> => {
    log.write("notice", "reconfiguring");
    try {
      if (await reconfigure()) log.write("notice", "reconfigured");
      else log.write("notice", "reconfiguring failed, the old configuration stays in force");
    } catch (error) {
      // The threads serve on with what they have; another reload may do better.
      logFault(error, " while reconfiguring");
    }
  };
  const reconfigure = async (): Promise<boolean> => {
    let next: Generation;
    let nextLog: ErrorLog;
    let files: OpenLogs = new Map();
    try {
      next = await buildGeneration(program, paths, loadGeneration(program, paths, start.globals), current.data);
      warnAll(next, log);
      files = prepareFiles(next, identity);
      nextLog = openMainLog(next);
      const bound = await sockets.bind(next.application.listeners, workerCount(next), log);
      if (bound && ending === undefined) next = await rebuildGeneration(program, next.data);
      if (!bound || ending !== undefined) {
        closeLogs(files);
        return false;
      }
      const nextPid = pidPath(next);
      if (nextPid !== pidFile) {
        writePidFile(nextPid);
        removePidFile(pidFile);
        pidFile = nextPid;
      }
    } catch (error) {
      for (const line of sentences(error)) log.write("emerg", line);
      sockets.keepOnly(current.application.listeners);
      closeLogs(files);
      return false;
    }
    const core = coreDirectives.in(next.root);
    setProcess(core, log);
    if (identity !== undefined && !isDeepStrictEqual(core.user, coreDirectives.in(current.root).user)) {
      log.write("warn", 'the "user" directive has changed, which takes effect when Holdfast is started again');
    }
    current = next;
    logs.take(files);
    log = nextLog;
    logFaultsTo(log);
    env = threadEnvironment(core.env);
    sockets.change(next.application.listeners, log);
    sockets.leaveOthers(next.application.listeners);
    for (const error of await pool.apply(next.data, workerCount(next))) log.write("emerg", error);
    void pool.settled().then(() => sockets.closeLeft());
    closeLogFilesExcept(new Set(errorLogFiles(next)));
    return true;
  };
  // One after the other; signals that come while one is under way ask for one more, not for many.
  let reloading: Promise<void> | undefined;
  let again = false;
  const onHangup = (): void => {
    log.write("notice", `${signalText("SIGHUP")} received, reconfiguring`);
    if (ending !== undefined) return;
    if (reloading !== undefined) {
      again = true;
      return;
    }
    reloading = reload().finally(() => {
      reloading = undefined;
      if (!again) {
        collectGarbage();
        return;
      }
      again = false;
      onHangup();
    });
  };
  const answers = {
    SIGHUP: onHangup,
    SIGUSR1: () => {
      log.write("notice", `${signalText("SIGUSR1")} received, reopening logs`);
      log.write("notice", "reopening logs");
      for (const error of logs.reopen(identity)) log.write("emerg", error);
      redirectStandardError(paths.errorLog);
      pool.reopen();
    },
    // A terminal whose size changes sends it too, so nginx heeds it only as a daemon.
    SIGWINCH: () => {
      const action = inBackground ? ", stop accepting connections" : "";
      log.write("notice", `${signalText("SIGWINCH")} received${action}`);
      if (inBackground) pool.drainWorkers();
    },
    SIGUSR2: () => {
      const instead = "changing binary is not available: start the new one instead";
      log.write("notice", `${signalText("SIGUSR2")} received, ${instead}`);
    },
    // nginx uses these two among its processes. Unheeded, they would end this one.
    SIGALRM: () => log.write("notice", `${signalText("SIGALRM")} received`),
    SIGIO: () => log.write("notice", `${signalText("SIGIO")} received`),
  };
  signals.answer((name) => answers[name]());
  return new Promise(() => {});
}

export function warnAll({ warnings }: Loaded, log: ErrorLog): void {
  for (const { message, file, line } of warnings) log.write("warn", `${message} in ${file}:${line}`);
}

export function pidPath({ root, data }: Generation): string {
  return fullName(coreDirectives.in(root).pid, data.prefix);
}

function workerCount({ root }: Generation): number {
  const { master_process, worker_processes } = coreDirectives.in(root);
  return !master_process || !SHARES_PORTS ? 1 : Math.max(1, worker_processes);
}

/** What of the main block concerns the process as a whole. */
function setProcess(core: ReturnType<typeof coreDirectives.in>, log: ErrorLog): void {
  if (core.worker_rlimit_nofile !== undefined) alertIf(setLimit("RLIMIT_NOFILE", core.worker_rlimit_nofile), log);
  if (core.worker_rlimit_core !== undefined) alertIf(setLimit("RLIMIT_CORE", core.worker_rlimit_core), log);
  if (core.working_directory === undefined) return;
  try {
    process.chdir(Buffer.from(core.working_directory, "latin1").toString());
  } catch (error) {
    log.write("alert", `chdir("${core.working_directory}") failed: ${sentence(error)}`);
  }
}

function alertIf(text: string | undefined, log: ErrorLog): void {
  if (text !== undefined) log.write("alert", text);
}

/** env: the variables the threads see. What Node itself reads was read by now. */
function threadEnvironment(lines: readonly string[]): NodeJS.ProcessEnv {
  const env: NodeJS.ProcessEnv = {};
  for (const line of ["TZ", ...lines]) {
    const at = line.indexOf("=");
    if (at >= 0) env[line.slice(0, at)] = line.slice(at + 1);
    else if (process.env[line] !== undefined) env[line] = process.env[line];
  }
  return env;
}
