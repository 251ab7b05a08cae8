import { spawn } from "node:child_process";
import { closeSync, openSync, writeSync } from "node:fs";
import { libc } from "../sys/libc.ts";
import { osPath } from "../sys/paths.ts";
import { writeWhole } from "../sys/write.ts";
import { Signals } from "./signals.ts";

/** Set for the process in the background, which writes to descriptor 3 once it serves. */
const MARK = "HOLDFAST_DAEMON";
const READY_FD = 3;
const PASSED_ON = ["SIGINT", "SIGTERM", "SIGQUIT", "SIGHUP", "SIGUSR1", "SIGUSR2"] as const;

/** Whether this is the process in the background. Its own children do not inherit the mark. */
export const inBackground: boolean = process.env[MARK] === "1";
delete process.env[MARK];

/**
 * Starts the same command in the background, in a session of its own, and waits until it serves or exits, copying its
 * standard error to this terminal. Signals are passed on, so that an interrupted command leaves no half-started daemon
 * behind; one that kills it kills this command too. Resolves to the exit status.
 */
export function startInBackground(): Promise<number> {
  const signals = new Signals(PASSED_ON);
  return new Promise((resolve) => {
    const child = spawn(process.execPath, [...process.execArgv, ...process.argv.slice(1)], {
      detached: true,
      env: { ...process.env, [MARK]: "1" },
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

/** Tells the waiting command that this process serves, and detaches from its terminal. */
export function announceReady(errorLog: string): void {
  if (!inBackground) return;
  try {
    writeSync(READY_FD, "ready\n");
    closeSync(READY_FD);
  } catch {
    // The command was killed; the daemon goes on.
  }
  redirectStandardError(errorLog);
}

/** The pipe to the terminal has no reader any more: what Node itself prints goes to the error log. */
export function redirectStandardError(errorLog: string): void {
  if (!inBackground) return;
  try {
    const log = openSync(osPath(errorLog === "" ? "/dev/null" : errorLog), "a", 0o644);
    libc()?.dup2(log, 2);
    closeSync(log);
  } catch {
    // Node's messages are lost.
  }
}
