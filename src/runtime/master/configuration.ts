import { isDeepStrictEqual } from "node:util";
import { sentence, sentences } from "../../config/errors.ts";
import { logFaultsTo } from "../../sys/guard.ts";
import { setLimit } from "../../sys/limits.ts";
import type { Identity } from "../../sys/users.ts";
import type { Program } from "../application.ts";
import { type BuiltCycle, buildCycle } from "../build_cycle.ts";
import type { CycleData } from "../cycle.ts";
import { coreDirectives } from "../directives.ts";
import { errorLogFiles, openMainLog } from "../log/directive.ts";
import { withTerminal } from "../log/error_log.ts";
import type { ErrorLog } from "../log/log.ts";
import { closeLogFilesExcept } from "../log/log_files.ts";
import { closeLogs, type OpenLogs } from "../log/open_log.ts";
import type { Paths } from "../options.ts";
import { becomeUser, identityOf } from "../privileges.ts";
import { prepareFiles } from "./files.ts";
import { ListeningSockets } from "./listening_sockets.ts";
import { type Loaded, loadConfiguration, logWarnings, validateCycle } from "./load_cycle.ts";
import { LogDescriptors } from "./log_descriptors.ts";
import { pidPath, removePidFile, writePidFile } from "./pid_file.ts";

export interface Start {
  readonly program: Program;
  /** The module that the children run. */
  readonly entry: URL;
  readonly paths: Paths;
  /** `-g` */
  readonly globals: string | undefined;
  readonly loaded: Loaded;
  /** The log until the configuration's own is open. */
  readonly initialLog: ErrorLog;
}

type CoreSettings = ReturnType<typeof coreDirectives.in>;

/** SO_REUSEPORT, by which several workers share a port, is not on every system. */
const SHARES_PORTS = process.platform === "linux";

/** The configuration in force, and what the master holds for it: listening sockets, log files, the pid file. */
export class Configuration {
  readonly sockets: ListeningSockets;
  readonly logs: LogDescriptors;
  readonly #start: Start;
  /** Whom the process has become, where root started it. */
  readonly #identity: Identity | undefined;
  #built: BuiltCycle;
  #log: ErrorLog;
  #pidFile: string;

  /** The first one. Undefined after an error, which was logged. */
  static async first(start: Start): Promise<Configuration | undefined> {
    const sockets = new ListeningSockets();
    const logs = new LogDescriptors();
    try {
      const built = await validateCycle(start.program, start.paths, start.loaded, undefined);
      logWarnings(built, start.initialLog);
      const core = coreDirectives.in(built.cycle.root);
      const identity = identityOf(core.user);
      logs.take(prepareFiles(built, identity));
      const log = withTerminal(openMainLog(built.cycle));
      if (!(await sockets.bind(built.application.listeners, workersOf(core), log))) return undefined;
      setLimits(core, log);
      if (identity !== undefined) await becomeUser(identity, start.entry, log);
      return new Configuration(start, identity, built, log, sockets, logs);
    } catch (error) {
      for (const line of sentences(error)) start.initialLog.write("emerg", line);
      sockets.close();
      return undefined;
    }
  }

  private constructor(
    start: Start,
    identity: Identity | undefined,
    built: BuiltCycle,
    log: ErrorLog,
    sockets: ListeningSockets,
    logs: LogDescriptors,
  ) {
    this.#start = start;
    this.#identity = identity;
    this.#built = built;
    this.#log = log;
    this.#pidFile = pidPath(built.cycle);
    this.sockets = sockets;
    this.logs = logs;
  }

  get data(): CycleData {
    return this.#built.cycle.data;
  }

  /** How many workers it wants. */
  get workers(): number {
    return workersOf(this.#core);
  }

  /** The main error log; until `started`, what is [warn] or worse goes to the terminal as well. */
  get log(): ErrorLog {
    return this.#log;
  }

  /** `env`: the variables that children see. What Node itself reads was read by now. */
  get env(): NodeJS.ProcessEnv {
    const env: NodeJS.ProcessEnv = {};
    for (const line of ["TZ", ...this.#core.env]) {
      const at = line.indexOf("=");
      if (at >= 0) env[line.slice(0, at)] = line.slice(at + 1);
      else if (process.env[line] !== undefined) env[line] = process.env[line];
    }
    return env;
  }

  get #core(): CoreSettings {
    return coreDirectives.in(this.#built.cycle.root);
  }

  /** A worker has exited. */
  forget(slot: number): void {
    this.#built.application.forget?.(slot);
  }

  /** Every child serves: writes the pid file, and leaves the terminal. Throws nginx's message. */
  started(): void {
    writePidFile(this.#pidFile);
    this.#log = openMainLog(this.#built.cycle);
    logFaultsTo(this.#log);
  }

  /** Removes the pid file. Returns the message of a failure. */
  removePidFile(): string | undefined {
    return removePidFile(this.#pidFile);
  }

  /** USR1. */
  reopenLogs(): void {
    for (const error of this.logs.reopen(this.#identity)) this.#log.write("emerg", error);
  }

  /**
   * Reads the configuration again and puts it in force in the master. False after an error, which was logged, or if
   * `ending` came true meanwhile: then the old one stays.
   */
  async reload(ending: () => boolean): Promise<boolean> {
    const { program, paths, globals } = this.#start;
    let files: OpenLogs = new Map();
    try {
      const loaded = loadConfiguration(program, paths, globals);
      const valid = await validateCycle(program, paths, loaded, this.data);
      logWarnings(valid, this.#log);
      files = prepareFiles(valid, this.#identity);
      const log = openMainLog(valid.cycle);
      const workers = workersOf(coreDirectives.in(valid.cycle.root));
      const bound = await this.sockets.bind(valid.application.listeners, workers, this.#log);
      const next = bound && !ending() ? await buildCycle(program, valid.cycle.data) : undefined;
      if (next === undefined || ending()) {
        closeLogs(files.values());
        return false;
      }
      this.#movePidFile(pidPath(next.cycle));
      this.#replace(next, files, log);
      return true;
    } catch (error) {
      for (const line of sentences(error)) this.#log.write("emerg", line);
      this.sockets.keepOnly(this.#built.application.listeners);
      closeLogs(files.values());
      return false;
    }
  }

  #movePidFile(path: string): void {
    if (path === this.#pidFile) return;
    writePidFile(path);
    removePidFile(this.#pidFile);
    this.#pidFile = path;
  }

  #replace(next: BuiltCycle, files: OpenLogs, log: ErrorLog): void {
    const before = this.#core;
    this.#built = next;
    const core = this.#core;
    setLimits(core, this.#log);
    if (this.#identity !== undefined && !isDeepStrictEqual(core.user, before.user)) {
      this.#log.write("warn", 'the "user" directive has changed, which takes effect when Holdfast is started again');
    }
    this.logs.take(files);
    this.#log = log;
    logFaultsTo(log);
    this.sockets.change(next.application.listeners, log);
    this.sockets.retireOthers(next.application.listeners);
  }

  /** Closes the logs that only an earlier configuration named. */
  closeUnusedLogs(): void {
    closeLogFilesExcept(new Set(errorLogFiles(this.#built.cycle)));
  }
}

function workersOf({ master_process, worker_processes }: CoreSettings): number {
  return !master_process || !SHARES_PORTS ? 1 : Math.max(1, worker_processes);
}

/** What the main block says of the process as a whole. */
function setLimits(core: CoreSettings, log: ErrorLog): void {
  const alert = (text: string | undefined): void => {
    if (text !== undefined) log.write("alert", text);
  };
  if (core.worker_rlimit_nofile !== undefined) alert(setLimit("RLIMIT_NOFILE", core.worker_rlimit_nofile));
  if (core.worker_rlimit_core !== undefined) alert(setLimit("RLIMIT_CORE", core.worker_rlimit_core));
  if (core.working_directory === undefined) return;
  try {
    process.chdir(Buffer.from(core.working_directory, "latin1").toString());
  } catch (error) {
    alert(`chdir("${core.working_directory}") failed: ${sentence(error)}`);
  }
}
