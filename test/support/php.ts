import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { chmodSync, existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { have } from "./have.ts";
import { waitFor } from "./wait.ts";

const PROGRAMS = ["php-fpm", "php-fpm8.4", "php-fpm8.3", "php-fpm8.2", "php-fpm8.1", "php-fpm7.4"];
const ENVIRONMENT = { ...process.env, PATH: `${process.env.PATH ?? ""}:/usr/sbin:/usr/local/sbin` };

/** The one that is installed; without the check under CI that `have` makes. */
function installed(): string | undefined {
  return PROGRAMS.find((name) => spawnSync("sh", ["-c", `command -v ${name}`], { env: ENVIRONMENT }).status === 0);
}

/** As `have`, for php-fpm, whose name has a version. */
export function havePhp(): false | string {
  return installed() === undefined ? have("php-fpm") : false;
}

/** The same, and for one of PHP's modules. */
export function havePhpModule(name: string): false | string {
  const program = installed();
  if (program === undefined) return have("php-fpm");
  const { stdout } = spawnSync(program, ["-m"], { env: ENVIRONMENT, encoding: "utf8" });
  if (stdout.split("\n").includes(name)) return false;
  const reason = `php-${name} is not installed`;
  if (process.env.CI === "true") throw new Error(reason);
  return reason;
}

/** A running php-fpm. */
export interface PhpFpm {
  /** Where it listens, as in `fastcgi_pass`: `unix:/…`. */
  readonly address: string;
  /** Where its scripts are. */
  readonly root: string;
  readonly pid: number;
  /** Ends it; and starts it again, at the same address. */
  stop(): Promise<void>;
  start(): Promise<void>;
}

/** Starts php-fpm with these scripts, by their paths below its root. `pool`: lines of its pool's configuration. */
export async function startPhp(
  t: TestContext,
  scripts: Readonly<Record<string, string>>,
  pool = "pm=static\npm.max_children=2",
): Promise<PhpFpm> {
  const root = mkdtempSync(join(tmpdir(), "holdfast-php-"));
  t.after(() => rmSync(root, { recursive: true, force: true }));
  chmodSync(root, 0o755);
  for (const [name, script] of Object.entries(scripts)) writeFileSync(join(root, name), script);
  const socket = join(root, "fpm.sock");
  const config = join(root, "fpm.conf");
  writeFileSync(
    config,
    `[global]\nerror_log=${root}/fpm.log\ndaemonize=no\n[www]\nlisten=${socket}\nlisten.mode=0666\ncatch_workers_output=no\n${pool}\n`,
  );
  let child: ChildProcess | undefined;
  const stop = async (): Promise<void> => {
    const running = child;
    if (running === undefined || running.exitCode !== null || running.signalCode !== null) return;
    const exited = once(running, "exit");
    running.kill();
    await exited;
  };
  const start = async (): Promise<void> => {
    rmSync(socket, { force: true });
    child = spawn(installed() ?? "php-fpm", ["-y", config, "-R", "-F"], { stdio: "ignore", env: ENVIRONMENT });
    await waitFor(() => existsSync(socket), "php-fpm listens");
  };
  t.after(stop);
  await start();
  return { address: `unix:${socket}`, root, pid: child?.pid ?? 0, stop, start };
}
