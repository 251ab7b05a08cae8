import { closeSync } from "node:fs";
import { sentence } from "../../config/errors.ts";
import { limitWaiting } from "../../shm/lock.ts";
import { util } from "../../sys/builtin.ts";
import { exit } from "../../sys/exit.ts";
import { collectGarbage, giveStartupMemoryBack } from "../../sys/give_back.ts";
import { logFault } from "../../sys/guard.ts";
import { isAwaited, launcher } from "../../sys/launch.ts";
import { setTitle } from "../../sys/title.ts";
import { endStart } from "../../sys/v8_flags.ts";
import { VERSION } from "../../version.ts";
import { announceReady, inBackground, StandardError } from "../daemon.ts";
import { reportLogFailures } from "../log/append_file.ts";
import { flushLogFiles } from "../log/log_files.ts";
import { refuseNewPrivilegesForChildren } from "../privileges.ts";
import { Signals, signalText } from "../signals.ts";
import { Children } from "./children.ts";
import { Configuration, type Start } from "./configuration.ts";
import { bequeath, type Inheritance, inherit, SLOTS } from "./inheritance.ts";
import { NewBinary, oldPidFile } from "./new_binary.ts";
import { runSingleProcess } from "./single_process.ts";

/**
 * As in nginx, SIGUSR2 is not heeded while the process that has started this one lives: it may be another master. The
 * command that waits for a daemon is none.
 */
const parentAtStart = isAwaited ? undefined : process.ppid;

/** How long the master waits for a lock in shared memory, which is held for some hundred instructions. */
const LOCK_MS = 2000;

/** Those that do not end the process. They come before the master can answer them, too. */
const SIGNALS = ["SIGHUP", "SIGUSR1", "SIGWINCH", "SIGUSR2", "SIGALRM", "SIGIO"] as const;

/** Runs the master: starts the children, answers signals, exits the process. Resolves to an exit status if the start fails. */
export async function runMaster(start: Start): Promise<number> {
  const signals = new Signals(SIGNALS);
  let inherited: Inheritance | undefined;
  try {
    inherited = inherit();
  } catch (error) {
    // As nginx says of its variable NGINX.
    start.initialLog.write("emerg", `invalid descriptors from the process before, ignoring them: ${sentence(error)}`);
  }
  const configuration = await Configuration.first(start, inherited);
  if (configuration === undefined) return 1;
  if (!configuration.hasMaster) return runSingleProcess(configuration, start.paths.errorLog);
  setTitle(["master process", launcher ?? process.argv[1], ...process.argv.slice(2)].join(" "));
  return new Master(configuration, start, inherited).run(signals);
}

class Master {
  readonly #configuration: Configuration;
  readonly #children: Children;
  readonly #standardError: StandardError;
  /** Told to exit: by QUIT, or by TERM or INT. */
  #ending: "quit" | "stop" | undefined;
  #reloading = false;
  readonly #firstSlot: number;
  /** The master that has left its sockets to this one. */
  readonly #predecessor: number | undefined;
  readonly #newBinary = new NewBinary();
  /** WINCH: no worker is to accept. */
  #noAccepting = false;
  /** A HUP came during a reload: however many there were, one more reload follows. */
  #reloadAgain = false;

  constructor(configuration: Configuration, { entry, paths }: Start, inherited: Inheritance | undefined) {
    this.#firstSlot = inherited?.firstSlot ?? 0;
    this.#predecessor = inherited?.parent;
    this.#configuration = configuration;
    this.#standardError = new StandardError(paths.errorLog);
    this.#children = new Children({
      entry,
      env: () => configuration.env,
      log: () => configuration.log,
      standardError: () => this.#standardError.fd,
      sockets: (workers) => configuration.sockets.descriptors(workers),
      control: () => configuration.control.fd,
      shared: () => this.#sharesSockets,
      logs: () => ({ files: configuration.logs.files, standardError: this.#standardError.fd }),
      reopen: () => this.#reopenLogs(),
      watchdog: () => configuration.watchdog,
      firstSlot: this.#firstSlot,
      forget: (role, pid) => configuration.forget(role, pid),
    });
  }

  async run(signals: Signals<(typeof SIGNALS)[number]>): Promise<number> {
    const configuration = this.#configuration;
    refuseNewPrivilegesForChildren();
    limitWaiting(LOCK_MS);
    reportLogFailures((text) => configuration.log.write("alert", text));
    process.on("SIGTERM", (signal) => this.#onStop(signal));
    process.on("SIGINT", (signal) => this.#onStop(signal));
    process.on("SIGQUIT", () => void this.#onQuit());
    this.#notice(`holdfast/${VERSION}`);
    this.#notice("start worker processes");
    const errors = await this.#children.apply(configuration.data, configuration.workers);
    if (this.#ending !== undefined) return new Promise(() => {});
    if (errors.length > 0) return this.#startFailed(errors);
    try {
      configuration.started();
    } catch (error) {
      return this.#startFailed([sentence(error)]);
    }
    announceReady();
    this.#standardError.redirect();
    if (this.#standardError.fd !== undefined) this.#children.reopened();
    signals.answer((name) => this.#answer(name));
    endStart();
    giveStartupMemoryBack({ thoroughly: true });
    return new Promise(() => {});
  }

  async #startFailed(errors: readonly string[]): Promise<number> {
    for (const error of errors) this.#configuration.log.write("emerg", error);
    await this.#children.stop();
    this.#configuration.sockets.close();
    this.#configuration.control.close();
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
        this.#reopenLogs();
        break;
      case "SIGWINCH":
        // A terminal sends it when its size changes: as in nginx only a daemon heeds it.
        this.#notice(inBackground ? `${received}, stop accepting connections` : received);
        if (!inBackground) break;
        this.#noAccepting = true;
        this.#children.quitWorkers();
        break;
      case "SIGUSR2":
        this.#changeBinary(received);
        break;
      default:
        // nginx uses ALRM and IO among its processes. Without a handler they would end this one.
        this.#notice(received);
    }
  }

  #reopenLogs(): void {
    this.#notice("reopening logs");
    this.#configuration.reopenLogs();
    this.#standardError.redirect();
    this.#children.reopened();
  }

  /** Starts the program that is installed now, which takes over the sockets and zones; both serve until this one is told to quit. */
  #changeBinary(received: string): void {
    if (this.#ending !== undefined) return;
    if (this.#newBinary.running || process.ppid === parentAtStart) {
      this.#notice(`${received}, ignoring`);
      const why = "you should shutdown or terminate before either old or new binary's process";
      this.#configuration.log.write("crit", `the changing binary signal is ignored: ${why}`);
      return;
    }
    this.#notice(`${received}, changing binary`);
    this.#notice("changing binary");
    const configuration = this.#configuration;
    const { pidFile, data } = configuration;
    const fds = bequeath({
      sockets: configuration.sockets.descriptors(configuration.workers),
      zones: data.zones,
      generation: data.generation,
      firstSlot: (this.#firstSlot + SLOTS) % (2 * SLOTS),
    });
    const exited = (): void => {
      configuration.pidFile = pidFile;
      configuration.restoreControl();
      this.#children.controlAnew();
      this.#children.shareAnew();
      if (this.#noAccepting) void this.#startWorkers();
    };
    if (this.#newBinary.start(fds, pidFile, () => configuration.log, exited)) {
      configuration.pidFile = oldPidFile(pidFile);
      this.#children.shareAnew();
    }
    closeSync(fds[0]);
  }

  /** Whether another master has the same sockets: a new binary, or the one whose new binary this is. */
  get #sharesSockets(): boolean {
    return this.#newBinary.running || process.ppid === this.#predecessor;
  }

  async #startWorkers(): Promise<void> {
    this.#noAccepting = false;
    const { data, workers, log } = this.#configuration;
    for (const error of await this.#children.apply(data, workers)) log.write("emerg", error);
  }

  /** One reload after the other. */
  async #reload(): Promise<void> {
    if (this.#ending !== undefined) return;
    // The configuration may be the new binary's: workers that were told to quit are started again, and no more.
    if (this.#newBinary.running) {
      await this.#startWorkers();
      return;
    }
    this.#noAccepting = false;
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
    const before = configuration.processSettings;
    if (!(await configuration.reload(() => this.#ending !== undefined))) return false;
    const errors = await this.#children.apply(configuration.data, configuration.workers, {
      replace: !util().isDeepStrictEqual(configuration.processSettings, before),
    });
    for (const error of errors) configuration.log.write("emerg", error);
    configuration.sockets.releaseClaims();
    void this.#children.settled().then(() => configuration.sockets.closeRetired());
    configuration.closeUnusedLogs();
    return true;
  }

  /** Fast shutdown. */
  #onStop(signal: NodeJS.Signals): void {
    this.#notice(`${signalText(signal)} received, exiting`);
    if (this.#ending === "stop") return;
    this.#ending = "stop";
    if (!this.#sharesSockets) this.#configuration.giveUp();
    void this.#exit();
  }

  /** Graceful shutdown. */
  async #onQuit(): Promise<void> {
    this.#notice(`${signalText("SIGQUIT")} received, shutting down`);
    if (this.#ending !== undefined) return;
    this.#ending = "quit";
    this.#notice("gracefully shutting down");
    const { sockets } = this.#configuration;
    try {
      if (!this.#sharesSockets) await this.#configuration.announce();
      if (this.#ending !== "quit") return;
      if (!this.#sharesSockets) sockets.retireOthers([]);
      await this.#children.quit(() => sockets.closeRetired());
    } catch (error) {
      logFault(error, " while shutting down");
    }
    if (this.#ending === "quit") await this.#exit();
  }

  async #exit(): Promise<void> {
    try {
      await this.#children.stop();
      this.#configuration.leave(this.#sharesSockets);
      this.#configuration.sockets.close({ shared: this.#sharesSockets });
      const failed = this.#configuration.removePidFile();
      if (failed !== undefined) this.#configuration.log.write("alert", failed);
      this.#notice("exit");
      flushLogFiles();
    } catch (error) {
      logFault(error, " while exiting");
    }
    exit(0);
  }
}
