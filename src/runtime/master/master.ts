import { sentence } from "../../config/errors.ts";
import { logFault } from "../../sys/guard.ts";
import { VERSION } from "../../version.ts";
import { announceReady, inBackground, redirectStandardError } from "../daemon.ts";
import { reportLogFailures } from "../log/append_file.ts";
import { flushLogFiles } from "../log/log_files.ts";
import { Signals, signalText } from "../signals.ts";
import { Children } from "./children.ts";
import { Configuration, type Start } from "./configuration.ts";
import { collectGarbage, prepareChildHeaps } from "./heap.ts";

/** Those that do not end the process. They come before the master can answer them, too. */
const SIGNALS = ["SIGHUP", "SIGUSR1", "SIGWINCH", "SIGUSR2", "SIGALRM", "SIGIO"] as const;

/** Runs the master: starts the children, answers signals, exits the process. Resolves to an exit status if the start fails. */
export async function runMaster(start: Start): Promise<number> {
  const signals = new Signals(SIGNALS);
  const configuration = await Configuration.first(start);
  if (configuration === undefined) return 1;
  return new Master(configuration, start).run(signals);
}

class Master {
  readonly #configuration: Configuration;
  readonly #children: Children;
  readonly #errorLog: string;
  /** Told to exit: by QUIT, or by TERM or INT. */
  #ending: "quit" | "stop" | undefined;
  #reloading = false;
  /** A HUP came during a reload: however many there were, one more reload follows. */
  #reloadAgain = false;

  constructor(configuration: Configuration, { entry, paths }: Start) {
    this.#configuration = configuration;
    this.#errorLog = paths.errorLog;
    this.#children = new Children({
      entry,
      env: () => configuration.env,
      log: () => configuration.log,
      sockets: (workers) => configuration.sockets.descriptors(workers),
      logs: () => configuration.logs.shared,
      oldestLogs: (version) => configuration.logs.release(version),
      forget: (slot) => configuration.forget(slot),
    });
  }

  async run(signals: Signals<(typeof SIGNALS)[number]>): Promise<number> {
    const configuration = this.#configuration;
    reportLogFailures((text) => configuration.log.write("alert", text));
    prepareChildHeaps();
    process.on("SIGTERM", (signal) => this.#onStop(signal));
    process.on("SIGINT", (signal) => this.#onStop(signal));
    process.on("SIGQUIT", () => void this.#onQuit());
    this.#notice(`holdfast/${VERSION}`);
    this.#notice(`start worker threads: ${configuration.workers}`);
    const errors = await this.#children.apply(configuration.data, configuration.workers);
    if (this.#ending !== undefined) return new Promise(() => {});
    if (errors.length > 0) return this.#startFailed(errors);
    try {
      configuration.started();
    } catch (error) {
      return this.#startFailed([sentence(error)]);
    }
    announceReady(this.#errorLog);
    signals.answer((name) => this.#answer(name));
    return new Promise(() => {});
  }

  async #startFailed(errors: readonly string[]): Promise<number> {
    for (const error of errors) this.#configuration.log.write("emerg", error);
    await this.#children.stop();
    this.#configuration.sockets.close();
    return 1;
  }

  #notice(text: string): void {
    this.#configuration.log.write("notice", text);
  }

  #answer(name: (typeof SIGNALS)[number]): void {
    const received = `${signalText(name)} received`;
    switch (name) {
      case "SIGHUP":
        this.#notice(`${received}, reconfiguring`);
        void this.#reload();
        break;
      case "SIGUSR1":
        this.#notice(`${received}, reopening logs`);
        this.#notice("reopening logs");
        this.#configuration.reopenLogs();
        redirectStandardError(this.#errorLog);
        this.#children.reopen();
        break;
      case "SIGWINCH":
        // A terminal sends it when its size changes: as in nginx only a daemon heeds it.
        this.#notice(inBackground ? `${received}, stop accepting connections` : received);
        if (inBackground) this.#children.quitWorkers();
        break;
      case "SIGUSR2":
        this.#notice(`${received}, changing binary is not available: start the new one instead`);
        break;
      default:
        // nginx uses ALRM and IO among its processes. Without a handler they would end this one.
        this.#notice(received);
    }
  }

  /** One reload after the other. */
  async #reload(): Promise<void> {
    if (this.#ending !== undefined) return;
    this.#reloadAgain = true;
    if (this.#reloading) return;
    this.#reloading = true;
    while (this.#reloadAgain && this.#ending === undefined) {
      this.#reloadAgain = false;
      this.#notice("reconfiguring");
      try {
        if (await this.#reconfigure()) this.#notice("reconfigured");
        else this.#notice("reconfiguring failed, the old configuration stays in force");
      } catch (error) {
        // The children serve on with what they have.
        logFault(error, " while reconfiguring");
      }
    }
    this.#reloading = false;
    collectGarbage();
  }

  async #reconfigure(): Promise<boolean> {
    const configuration = this.#configuration;
    if (!(await configuration.reload(() => this.#ending !== undefined))) return false;
    const errors = await this.#children.apply(configuration.data, configuration.workers);
    for (const error of errors) configuration.log.write("emerg", error);
    void this.#children.settled().then(() => configuration.sockets.closeRetired());
    configuration.closeUnusedLogs();
    return true;
  }

  /** Fast shutdown. */
  #onStop(signal: NodeJS.Signals): void {
    this.#notice(`${signalText(signal)} received, exiting`);
    if (this.#ending === "stop") return;
    this.#ending = "stop";
    void this.#exit();
  }

  /** Graceful shutdown. */
  async #onQuit(): Promise<void> {
    this.#notice(`${signalText("SIGQUIT")} received, shutting down`);
    if (this.#ending !== undefined) return;
    this.#ending = "quit";
    this.#notice("gracefully shutting down");
    const { sockets } = this.#configuration;
    sockets.retireOthers([]);
    try {
      await this.#children.quit(() => sockets.closeRetired());
    } catch (error) {
      logFault(error, " while shutting down");
    }
    if (this.#ending === "quit") await this.#exit();
  }

  async #exit(): Promise<void> {
    try {
      await this.#children.stop();
      this.#configuration.sockets.close();
      const failed = this.#configuration.removePidFile();
      if (failed !== undefined) this.#configuration.log.write("alert", failed);
      this.#notice("exit");
      flushLogFiles();
    } catch (error) {
      logFault(error, " while exiting");
    }
    process.exit(0);
  }
}
