import { spawn } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { finish, LAUNCHER, makePrefix, type ProgramOptions } from "./holdfast.ts";
import { childrenOf, isRunning, statusOf, titleOf, workersOf } from "./processes.ts";
import { waitFor } from "./wait.ts";

/** A Holdfast in the background, whose master may be another process by and by. */
export class Daemon {
  readonly prefix: string;
  /** All that there have been. */
  readonly masters = new Set<number>();

  constructor(prefix: string) {
    this.prefix = prefix;
  }

  /** The text (bytes) of a file under the prefix; "" where it is not there. */
  read(path: string): string {
    const file = join(this.prefix, path);
    return existsSync(file) ? readFileSync(file, "latin1") : "";
  }

  /** The master; 0 where there is no pid file. */
  get pid(): number {
    const pid = Number(this.read("logs/holdfast.pid"));
    this.masters.add(pid);
    return pid;
  }

  /** The master that was before, while it runs beside the new one. */
  get oldPid(): number {
    return Number(this.read("logs/holdfast.pid.oldbin"));
  }

  errorLog(): string {
    return this.read("logs/error.log");
  }

  configure(config: string): void {
    writeFileSync(join(this.prefix, "conf/nginx.conf"), config);
  }

  /** Sends a signal to the master, or to that process, and waits until something is true. */
  async signal(signal: NodeJS.Signals, what: string, done: () => unknown, pid = this.pid): Promise<void> {
    process.kill(pid, signal);
    await waitFor(
      () => Boolean(done()),
      () =>
        `${what} after ${signal} to ${pid}, which has ${childrenOf(pid).map(titleOf)}; the log:\n${this.errorLog().slice(-4000)}`,
    );
  }

  /** USR2: resolves when a new master serves beside the old one, to the old one's process id. */
  async startNewBinary(): Promise<number> {
    const old = this.pid;
    await this.signal("SIGUSR2", "a new master", () => this.oldPid === old && this.pid > 0 && this.pid !== old);
    return old;
  }

  /** After `startNewBinary`: the old master's workers leave, and then itself. */
  async retire(old: number): Promise<void> {
    await this.signal("SIGWINCH", "the old workers to leave", () => workersOf(old).length === 0, old);
    // All of its threads: until then it is the new one's parent.
    const left = () => !isRunning(old) && statusOf(this.pid, "PPid") !== String(old);
    await this.signal("SIGQUIT", "the old master to leave", left, old);
    if (existsSync(join(this.prefix, "logs/holdfast.pid.oldbin"))) throw new Error("the old pid file is still there");
  }
}

/**
 * Starts one with a configuration that has `events`, or a function of its prefix. It logs to logs/error.log, and is ended
 * with the test, whatever happens.
 */
export async function startDaemon(
  t: TestContext,
  config: string | ((prefix: string) => string),
  { through = [], files }: Pick<ProgramOptions, "through" | "files"> = {},
): Promise<Daemon> {
  const prefix = makePrefix(t, files);
  const daemon = new Daemon(prefix);
  daemon.configure(typeof config === "string" ? config : config(prefix));
  t.after(async () => {
    const masters = [...daemon.masters].filter((pid) => pid > 0 && isMaster(pid));
    const all = masters.flatMap((pid) => [pid, ...childrenOf(pid)]).filter(isRunning);
    for (const pid of all) process.kill(pid, "SIGKILL");
    await waitFor(() => !all.some(isRunning), "the end of all processes");
  });
  const env = { ...process.env, HOLDFAST_NODE: process.execPath };
  const globals = ["-g", "error_log logs/error.log info;"];
  const [program = LAUNCHER, ...args] = [...through, LAUNCHER, "-p", `${prefix}/`, ...globals];
  const child = spawn(program, args, {
    env,
    stdio: ["ignore", "ignore", "pipe"],
  });
  const { code, stderr } = await finish(child);
  if (code !== 0 || daemon.pid === 0) throw new Error(`the start failed with ${code}:\n${stderr}`);
  return daemon;
}

/** Another process may have its id by now. */
function isMaster(pid: number): boolean {
  return titleOf(pid).startsWith("holdfast: master process");
}
