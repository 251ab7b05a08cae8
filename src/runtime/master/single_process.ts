import { sentence } from "../../config/errors.ts";
import { startEngine } from "../../net/engines.ts";
import { exit } from "../../sys/exit.ts";
import { logFault } from "../../sys/guard.ts";
import { endStart } from "../../sys/v8_flags.ts";
import { VERSION } from "../../version.ts";
import { Checker, CONTROL } from "../checker.ts";
import { announceReady, StandardError } from "../daemon.ts";
import { eventsOf } from "../directives.ts";
import { reportLogFailures } from "../log/append_file.ts";
import { flushLogFiles } from "../log/log_files.ts";
import { Signals, signalText } from "../signals.ts";
import { Worker } from "../worker.ts";
import type { Configuration } from "./configuration.ts";

const SIGNALS = [
  "SIGTERM",
  "SIGINT",
  "SIGQUIT",
  "SIGHUP",
  "SIGUSR1",
  "SIGWINCH",
  "SIGUSR2",
  "SIGALRM",
  "SIGIO",
] as const;

/** Of the one worker. */
const SLOT = 0;

/**
 * `master_process off`: this one process serves, checks, and answers signals (ngx_single_process_cycle). For debugging: it
 * keeps root's privileges, and nothing takes its place when it dies. Resolves to an exit status if the start fails.
 */
export async function runSingleProcess(configuration: Configuration, errorLog: string): Promise<number> {
  const signals = new Signals(SIGNALS);
  const { log } = configuration;
  reportLogFailures((text) => configuration.log.write("alert", text));
  log.write("notice", `holdfast/${VERSION}`);
  for (const line of await startEngine(eventsOf(configuration.built.cycle.root).use)) log.write("notice", line);
  const single = new SingleProcess(configuration, errorLog);
  const errors = await single.take();
  endStart();
  try {
    if (errors.length === 0) configuration.started();
  } catch (error) {
    errors.push(sentence(error));
  }
  if (errors.length > 0) {
    for (const error of errors) log.write("emerg", error);
    configuration.sockets.close();
    configuration.control.close();
    return 1;
  }
  announceReady();
  single.standardError.redirect();
  signals.answer((name) => single.answer(name));
  return new Promise(() => {});
}

class SingleProcess {
  readonly standardError: StandardError;
  readonly #configuration: Configuration;
  readonly #worker = new Worker(0, SLOT, () => this.#configuration.closeUnusedLogs());
  readonly #checker = new Checker();
  /** One reload, or the end, after the other. */
  #queue: Promise<void> = Promise.resolve();

  constructor(configuration: Configuration, errorLog: string) {
    this.#configuration = configuration;
    this.standardError = new StandardError(errorLog);
  }

  /** Puts the configuration in force. Resolves with messages about what failed. */
  async take(): Promise<string[]> {
    const { built, sockets, control } = this.#configuration;
    await this.#checker.take(built, 1, control.fd < 0 ? {} : { [CONTROL]: [control.fd] });
    return [...(await this.#worker.take(built, 1, sockets.descriptors(1)))];
  }

  answer(name: (typeof SIGNALS)[number]): void {
    const received = `${signalText(name)} received`;
    const { log } = this.#configuration;
    switch (name) {
      case "SIGTERM":
      case "SIGINT":
        log.write("notice", `${received}, exiting`);
        this.#exit();
        break;
      case "SIGQUIT":
        log.write("notice", `${received}, shutting down`);
        this.#enqueue(() => this.#quit());
        break;
      case "SIGHUP":
        log.write("notice", `${received}, reconfiguring`);
        this.#enqueue(() => this.#reload());
        break;
      case "SIGUSR1":
        log.write("notice", `${received}, reopening logs`);
        this.#configuration.reopenLogs();
        this.standardError.redirect();
        break;
      default:
        log.write("notice", received);
    }
  }

  #enqueue(task: () => void | Promise<void>): void {
    this.#queue = this.#queue.then(task).catch((error) => logFault(error));
  }

  async #reload(): Promise<void> {
    const configuration = this.#configuration;
    configuration.log.write("notice", "reconfiguring");
    if (!(await configuration.reload(() => false))) {
      configuration.log.write("notice", "reconfiguring failed, the old configuration stays in force");
      return;
    }
    for (const error of await this.take()) configuration.log.write("emerg", error);
    configuration.sockets.releaseClaims();
    this.#worker.retirePrevious();
    configuration.sockets.closeRetired();
    configuration.log.write("notice", "reconfigured");
  }

  async #quit(): Promise<void> {
    const { sockets } = this.#configuration;
    await this.#configuration.announce();
    sockets.retireOthers([]);
    this.#worker.quit(
      () => sockets.closeRetired(),
      () => this.#exit(),
    );
  }

  #exit(): void {
    const configuration = this.#configuration;
    configuration.giveUp();
    this.#worker.stop();
    this.#checker.stop();
    configuration.leave(false);
    configuration.sockets.close();
    const failed = configuration.removePidFile();
    if (failed !== undefined) configuration.log.write("alert", failed);
    configuration.log.write("notice", "exit");
    // A socket that was just closed sends its FIN or RST in the next turn of the loop.
    setImmediate(() => {
      flushLogFiles();
      exit(0);
    });
  }
}
