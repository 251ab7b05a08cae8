import { type MessagePort, parentPort, workerData } from "node:worker_threads";
import { sentence } from "../config/errors.ts";
import { startEngine } from "../net/engines.ts";
import { logFault, logFaultsTo } from "../sys/guard.ts";
import type { Program, Sockets } from "./application.ts";
import { type BuiltCycle, buildCycle } from "./build_cycle.ts";
import { eventsDirectives } from "./directives.ts";
import { reportLogFailures } from "./log/append_file.ts";
import { errorLogFiles, openMainLog } from "./log/directive.ts";
import type { ErrorLog } from "./log/log.ts";
import { adoptLogFiles, closeLogFilesExcept, flushLogFiles, usesOnlyAdopted } from "./log/log_files.ts";
import type { ChildRole, FromChild, SharedLogs, ToChild } from "./messages.ts";
import { dropCapabilities } from "./privileges.ts";

/** What the two kinds of child do differently. */
export interface ChildTask {
  /** Puts a cycle in force, with so many workers on these sockets. Resolves with messages about what failed. */
  take(built: BuiltCycle, workers: number, sockets: Sockets, log: ErrorLog): Promise<readonly string[]>;
  /** That cycle is in force: the one before it may finish its requests. */
  retirePrevious(): void;
  /** The sockets to accept from have changed. Resolves with messages about what failed. */
  listen(sockets: Sockets): Promise<readonly string[]>;
  /** Graceful shutdown: `closed` when nothing is accepted any more, `done` when the last connection has been closed. */
  quit(closed: () => void, done: () => void): void;
  /** Fast shutdown. */
  stop(): void;
  /** Whether an earlier cycle still has requests to finish. */
  readonly retiring: boolean;
}

/** The task of a role. `allRetired` is to be called when no earlier cycle has requests to finish any more. */
export type TaskOf = (role: ChildRole, allRetired: () => void) => ChildTask;

/** Runs this thread in the role that its `workerData` says, until the master tells it to exit. */
export function runChild(program: Program, taskOf: TaskOf): void {
  if (parentPort === null) throw new Error("this thread was not started by the master");
  const child = new Child(program, workerData as ChildRole, parentPort, taskOf);
  parentPort.on("message", (message: ToChild) => child.receive(message));
}

class Child {
  readonly #program: Program;
  readonly #role: ChildRole;
  readonly #port: MessagePort;
  readonly #task: ChildTask;
  /** The cycle in force, and its main error log. */
  #built: BuiltCycle | undefined;
  #log: ErrorLog | undefined;
  /** Messages are handled one after the other: a cycle is in force before the next one, or a quit, is looked at. */
  #queue: Promise<void> = Promise.resolve();
  #quitting = false;
  #hasCapabilities = true;
  /** The version of the log files that was received last, and the last that the master was told is the oldest in use. */
  #logs = 0;
  #reportedLogs = 0;

  constructor(program: Program, role: ChildRole, port: MessagePort, taskOf: TaskOf) {
    this.#program = program;
    this.#role = role;
    this.#port = port;
    this.#task = taskOf(role, () => this.#closeUnusedLogs());
  }

  receive(message: ToChild): void {
    if (message.type === "stop") this.#exit();
    else this.#queue = this.#queue.then(() => this.#handle(message)).catch((error) => logFault(error));
  }

  #post(message: FromChild): void {
    this.#port.postMessage(message);
  }

  async #handle(message: Exclude<ToChild, { type: "stop" }>): Promise<void> {
    switch (message.type) {
      case "cycle":
        this.#adoptLogs(message.logs);
        await this.#cycle(message);
        break;
      case "sockets":
        for (const error of await this.#task.listen(message.sockets)) this.#log?.write("alert", error);
        break;
      case "reopen":
        this.#adoptLogs(message.logs);
        break;
      case "quit":
        this.#quit();
    }
  }

  async #cycle(message: Extract<ToChild, { type: "cycle" }>): Promise<void> {
    const { generation } = message.data;
    let errors: readonly string[];
    try {
      errors = await this.#take(message);
    } catch (error) {
      errors = [sentence(error)];
    }
    // Not before: logs and ports of the first cycle may be root's.
    if (this.#hasCapabilities) dropCapabilities();
    this.#hasCapabilities = false;
    if (errors.length > 0) {
      this.#post({ type: "failed", generation, errors });
      return;
    }
    this.#closeUnusedLogs();
    this.#post({ type: "ready", generation });
  }

  async #take({ data, count, sockets }: Extract<ToChild, { type: "cycle" }>): Promise<readonly string[]> {
    const built = await buildCycle(this.#program, data);
    const log = openMainLog(built.cycle);
    logFaultsTo(log);
    reportLogFailures((text) => log.write("alert", text));
    if (this.#built === undefined) await this.#prepareEngine(log, built);
    const errors = await this.#task.take(built, count, sockets, log);
    this.#built = built;
    this.#log = log;
    this.#task.retirePrevious();
    return errors;
  }

  /** Before the first connection. What the engine lacks is the same in all children: the first worker logs it. */
  async #prepareEngine(log: ErrorLog, { cycle }: BuiltCycle): Promise<void> {
    const events = cycle.root.children.find((child) => child.context === "events") ?? cycle.root;
    const lacking = await startEngine(eventsDirectives.in(events).use);
    if (lacking === undefined || this.#role.kind === "checker" || this.#role.index > 0) return;
    log.write("notice", lacking);
  }

  #quit(): void {
    if (this.#quitting) return;
    this.#quitting = true;
    this.#task.quit(
      () => this.#post({ type: "closed" }),
      () => this.#exit(),
    );
  }

  #exit(): void {
    this.#task.stop();
    flushLogFiles();
    // A socket that was just closed sends its FIN or RST in the next turn of the loop.
    setImmediate(() => process.exit(0));
  }

  #closeUnusedLogs(): void {
    if (this.#built === undefined || this.#task.retiring) return;
    const { cycle, application } = this.#built;
    closeLogFilesExcept(new Set([...errorLogFiles(cycle), ...application.logFiles]));
    this.#reportLogs();
  }

  #adoptLogs({ version, files }: SharedLogs): void {
    adoptLogFiles(files);
    this.#logs = version;
    this.#reportLogs();
  }

  /** Lets the master close the descriptors that were replaced. */
  #reportLogs(): void {
    if (this.#reportedLogs === this.#logs || !usesOnlyAdopted()) return;
    this.#reportedLogs = this.#logs;
    this.#post({ type: "logs", version: this.#logs });
  }
}
