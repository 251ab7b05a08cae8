import { sentence, sentences } from "../../config/errors.ts";
import { freeLock } from "../../shm/zone.ts";
import { logFaultsTo } from "../../sys/guard.ts";
import type { Identity } from "../../sys/users.ts";
import type { Program } from "../application.ts";
import { type BuiltCycle, buildCycle } from "../build_cycle.ts";
import type { CycleData } from "../cycle.ts";
import { type CoreSettings, coreDirectives } from "../directives.ts";
import { openMainLog } from "../log/directive.ts";
import { withTerminal } from "../log/error_log.ts";
import { LentLogs } from "../log/lent_logs.ts";
import type { ErrorLog } from "../log/log.ts";
import { closeLogFilesExcept } from "../log/log_files.ts";
import { closeLogs, type OpenLogs } from "../log/open_log.ts";
import type { ChildRole } from "../messages.ts";
import type { Paths } from "../options.ts";
import { identityOf, isTransparent } from "../privileges.ts";
import { ControlSocket, controlPath } from "./control_socket.ts";
import { openLogFor, prepareFiles } from "./files.ts";
import type { Inheritance } from "./inheritance.ts";
import { ListeningSockets } from "./listening_sockets.ts";
import { type Loaded, loadConfiguration, logFileLimit, logWarnings, validateCycle } from "./load_cycle.ts";
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

/** The configuration in force, and what the master holds for it: listening sockets, log files, the pid file. */
export class Configuration {
  readonly sockets: ListeningSockets;
  readonly control = new ControlSocket();
  readonly logs: LentLogs;
  readonly #start: Start;
  /** Whom the children become, where root started the master. */
  #identity: Identity | undefined;
  #built: BuiltCycle;
  #log: ErrorLog;
  #pidFile: string;

  /** The first one. Undefined after an error, which was logged. */
  static async first(start: Start, inherited: Inheritance | undefined): Promise<Configuration | undefined> {
    const sockets = new ListeningSockets(inherited?.sockets);
    const logs = new LentLogs();
    try {
      const valid = await validateCycle(start.program, start.paths, start.loaded, inherited);
      logWarnings(valid, start.initialLog);
      const built = inherited === undefined ? valid : await buildCycle(start.program, valid.cycle.data);
      const core = coreDirectives.in(built.cycle.root);
      const identity = identityOf(core.user);
      logs.take(prepareFiles(built, identity));
      const log = withTerminal(openMainLog(built.cycle));
      if (!(await sockets.bind(built.application.listeners, workersOf(core), log))) return undefined;
      sockets.closeInherited();
      logFileLimit(built, log);
      for (const sentence of built.application.prepare?.(sockets) ?? []) log.write("warn", sentence);
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
    logs: LentLogs,
  ) {
    this.#start = start;
    this.#identity = identity;
    this.#built = built;
    this.#log = log;
    this.#pidFile = pidPath(built.cycle);
    this.hasMaster = this.#core.master_process;
    this.#openControl();
    this.sockets = sockets;
    this.logs = logs;
  }

  /** Traffic is served without it too. */
  #openControl(): void {
    const wanted = controlPath(this.#built.cycle);
    const failed = this.control.open(wanted?.path);
    if (failed !== undefined) this.#log.write(wanted?.configured === true ? "alert" : "notice", failed);
  }

  /** The new binary, whose control socket was in the place of this one's, has exited. */
  restoreControl(): void {
    const failed = this.control.restore();
    if (failed !== undefined) this.#log.write("alert", failed);
  }

  get built(): BuiltCycle {
    return this.#built;
  }

  /** `master_process`, as it was at the start. */
  readonly hasMaster: boolean;

  get data(): CycleData {
    return this.#built.cycle.data;
  }

  /** What children are as processes: where a reload changes it, others take their place. */
  get processSettings(): readonly unknown[] {
    const { user, worker_priority, worker_rlimit_nofile, worker_rlimit_core } = this.#core;
    const { worker_cpu_affinity, working_directory, env } = this.#core;
    const transparent = isTransparent(this.#built.cycle.root);
    return [
      transparent,
      user,
      worker_priority,
      worker_rlimit_nofile,
      worker_rlimit_core,
      worker_cpu_affinity,
      working_directory,
      env,
    ];
  }

  /** worker_watchdog_timeout, ms. */
  get watchdog(): number {
    return this.#core.worker_watchdog_timeout ?? 0;
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

  /** A child has exited: the locks that it held are free, and a worker's slot is. */
  forget({ kind, slot }: ChildRole, pid: number | undefined): void {
    if (pid !== undefined) for (const zone of Object.values(this.data.zones)) freeLock(zone, pid);
    if (kind === "worker") this.#built.application.forget?.(slot);
  }

  /** Every child serves: writes the pid file, and leaves the terminal. Throws nginx's message. */
  started(): void {
    this.sockets.releaseClaims();
    writePidFile(this.#pidFile);
    this.#log = openMainLog(this.#built.cycle);
    logFaultsTo(this.#log);
    // The initial log's file, where that is another.
    this.closeUnusedLogs();
  }

  get pidFile(): string {
    return this.#pidFile;
  }

  /** The pid file has another name now. */
  set pidFile(path: string) {
    this.#pidFile = path;
  }

  /** Removes the pid file, and the control socket. Returns the message of a failure. */
  removePidFile(): string | undefined {
    this.control.close();
    return removePidFile(this.#pidFile);
  }

  /** This master is to end gracefully. Resolves when clients find another machine, where there is one. */
  async announce(): Promise<void> {
    await this.#built.application.announce?.();
  }

  /** The same at once. */
  giveUp(): void {
    this.#built.application.giveUp?.();
  }

  /** All children have ended. */
  leave(shared: boolean): void {
    this.#built.application.leave?.(shared);
  }

  /** USR1. A file that cannot be opened again keeps its descriptor. */
  reopenLogs(): void {
    const files = new Map(this.logs.files);
    for (const path of files.keys()) {
      try {
        files.set(path, openLogFor(path, this.#identity));
      } catch (error) {
        this.#log.write("emerg", sentence(error));
      }
    }
    this.logs.take(files);
  }

  /**
   * Reads the configuration again and puts it in force in the master. False after an error, which was logged, or if
   * `ending` came true meanwhile: then the old one stays.
   */
  async reload(ending: () => boolean): Promise<boolean> {
    const { program, paths, globals } = this.#start;
    let files: OpenLogs = new Map();
    try {
      this.#built.application.reading?.();
      const loaded = loadConfiguration(program, paths, globals);
      const valid = await validateCycle(program, paths, loaded, this.data);
      logWarnings(valid, this.#log);
      files = prepareFiles(valid, identityOf(coreDirectives.in(valid.cycle.root).user));
      const log = openMainLog(valid.cycle);
      const workers = workersOf(coreDirectives.in(valid.cycle.root));
      const bound = await this.sockets.bind(valid.application.listeners, workers, this.#log);
      const next = bound && !ending() ? await buildCycle(program, valid.cycle.data) : undefined;
      if (next === undefined || ending()) {
        closeLogs(files.values());
        return false;
      }
      logFileLimit(next, log);
      for (const sentence of next.application.prepare?.(this.sockets) ?? []) log.write("warn", sentence);
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
    this.#built = next;
    this.#identity = identityOf(this.#core.user);
    this.logs.take(files);
    this.#log = log;
    logFaultsTo(log);
    this.sockets.change(next.application.listeners, log);
    this.sockets.retireOthers(next.application.listeners);
    this.#openControl();
  }

  /** Closes the logs that only an earlier configuration named. */
  closeUnusedLogs(): void {
    closeLogFilesExcept(new Set(this.logs.files.keys()));
    this.logs.release();
  }
}

function workersOf({ master_process, worker_processes }: CoreSettings): number {
  return !master_process ? 1 : Math.max(1, worker_processes);
}
