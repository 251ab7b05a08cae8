import { closeSync, openSync, writeSync } from "node:fs";
import { childProcess } from "../sys/builtin.ts";
import { daemonEnvironment, isAwaited, isHeir } from "../sys/launch.ts";
import { libc } from "../sys/libc.ts";
import { osPath } from "../sys/paths.ts";
import { writeWhole } from "../sys/write.ts";
import { Signals } from "./signals.ts";

/** Where the process in the background says that it serves. */
const READY_FD = 3;
const PASSED_ON = ["SIGINT", "SIGTERM", "SIGQUIT", "SIGHUP", "SIGUSR1", "SIGUSR2"] as const;

/** Whether this process runs in the background. As in nginx, a new binary does in any case. */
export const inBackground: boolean = isAwaited || isHeir;

/**
 * Starts the same command in the background, in a session of its own, and waits until it serves or exits, copying its
 * standard error to this terminal. Signals are passed on, so that an interrupted command leaves no half-started daemon
 * behind; one that kills it kills this command too. Resolves to the exit status.
 */
export function startInBackground(): Promise<number> {
  const signals = new Signals(PASSED_ON);
  return new Promise((resolve) => {
    const child = childProcess().spawn(process.execPath, [...process.execArgv, ...process.argv.slice(1)], {
      detached: true,
      env: daemonEnvironment(),
      stdio: ["ignore", "ignore", "pipe", "pipe"],
    });
    signals.answer((signal) => void child.kill(signal));
    child.once("error", (error) => {
      writeSync(2, `holdfast: [emerg] spawn() failed: ${error.message}\n`);
      resolve(1);
    });
    child.stderr?.on("data", (bytes: Buffer) => writeWhole(2, bytes));
    child.stdio[READY_FD]?.once("data", () => resolve(0));
    child.once("close", (code, signal) => {
      if (signal !== null) {
        process.removeAllListeners(signal);
        process.kill(process.pid, signal);
      }
      resolve(code ?? 1);
    });
  });
}

/** Tells the command that waits for this process that it serves. */
export function announceReady(): void {
  if (!isAwaited) return;
  try {
    writeSync(READY_FD, "ready\n");
    closeSync(READY_FD);
  } catch {
    // The command was killed; the daemon goes on.
  }
}

/** Standard error of a daemon: the pipe to the terminal has no reader any more, so what Node itself prints goes to a log. */
export class StandardError {
  readonly #path: string;
  #fd: number | undefined;

  /** `errorLog`: the file of -e. */
  constructor(errorLog: string) {
    this.#path = errorLog === "" ? "/dev/null" : errorLog;
  }

  /** What children are to have as theirs; undefined while they have the same as this process. */
  get fd(): number | undefined {
    return this.#fd;
  }

  /** In a daemon, opens the log (again) and writes there. */
  redirect(): void {
    if (!inBackground) return;
    try {
      const fd = openSync(osPath(this.#path), "a", 0o644);
      libc().dup2(fd, 2);
      if (this.#fd !== undefined) closeSync(this.#fd);
      this.#fd = fd;
    } catch {
      // Node's messages are lost.
    }
  }
}
