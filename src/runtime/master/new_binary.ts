import type { ChildProcess } from "node:child_process";
import { renameSync } from "node:fs";
import { constants } from "node:os";
import { sentence } from "../../config/errors.ts";
import { childProcess } from "../../sys/builtin.ts";
import { errnoCode, errnoText } from "../../sys/errno.ts";
import { boundary } from "../../sys/guard.ts";
import { heirEnvironment, launcher } from "../../sys/launch.ts";
import { osPath } from "../../sys/paths.ts";
import type { ErrorLog } from "../log/log.ts";

/** The new binary of an upgrade (SIGUSR2), while it runs beside this master (ngx_new_binary). */
export class NewBinary {
  #process: ChildProcess | undefined;

  get running(): boolean {
    return this.#process !== undefined;
  }

  /**
   * Renames the pid file and starts the program again, with these descriptors from number 3 on. `exited` is called when it
   * has exited, after the pid file has its name again. False after a failure, which was logged.
   */
  start(fds: readonly number[], pidFile: string, log: () => ErrorLog, exited: () => void): boolean {
    const program = launcher ?? process.execPath;
    const args = launcher === undefined ? [...process.execArgv, ...process.argv.slice(1)] : process.argv.slice(2);
    const old = oldPidFile(pidFile);
    const back = (when: string): void => {
      const failed = rename(old, pidFile);
      if (failed !== undefined) {
        log().write("alert", `rename() ${old} back to ${pidFile} failed ${failed} after ${when}`);
      }
    };
    const failed = rename(pidFile, old);
    if (failed !== undefined) {
      const text = `rename() ${pidFile} to ${old} failed ${failed} before executing new binary process "${program}"`;
      log().write("alert", text);
      return false;
    }
    const refused = (error: unknown): void => {
      log().write("alert", `execve() failed while executing new binary process "${program}" (${sentence(error)})`);
      back(`an attempt to execute new binary process "${program}"`);
    };
    let child: ChildProcess;
    try {
      child = childProcess().spawn(program, args, {
        env: heirEnvironment(),
        stdio: ["inherit", "inherit", "inherit", ...fds],
      });
    } catch (error) {
      // Some errors of the system are thrown, a lack of memory for instance.
      refused(error);
      return false;
    }
    child.on("error", (error) => {
      if (child.pid === undefined) refused(error);
    });
    if (child.pid === undefined) return false;
    this.#process = child;
    log().write("notice", `start new binary process ${child.pid}`);
    child.on(
      "exit",
      boundary(undefined, (code: number | null, signal: NodeJS.Signals | null) => {
        this.#process = undefined;
        const how = signal === null ? `with code ${code}` : `on signal ${constants.signals[signal]}`;
        log().write(signal === null ? "notice" : "alert", `new binary process ${child.pid} exited ${how}`);
        back(`the new binary process "${program}" exited`);
        exited();
      }),
    );
    return true;
  }
}

/** Where the pid file is while a new binary runs. */
export function oldPidFile(pidFile: string): string {
  return `${pidFile}.oldbin`;
}

/** Returns errno as nginx logs it. */
function rename(from: string, to: string): string | undefined {
  try {
    renameSync(osPath(from), osPath(to));
    return undefined;
  } catch (error) {
    return errnoText(errnoCode(error) ?? "EIO");
  }
}
