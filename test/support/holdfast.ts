import { type ChildProcess, spawn } from "node:child_process";
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import type { TestContext } from "node:test";
import { fileURLToPath } from "node:url";
import { buildSync } from "esbuild";
import { freePort } from "./ports.ts";
import { PATIENCE_MS, waitFor } from "./wait.ts";

/** The program as it is shipped. */
export const LAUNCHER = fileURLToPath(new URL("../../bin/holdfast", import.meta.url));
/** The flags the launcher gives to Node, for entries of the test's own. */
export const NODE_FLAGS = ["--disable-warning=ExperimentalWarning"];

/** How many ports a configuration function gets. */
const PORTS = 8;

export interface ProgramOptions {
  /**
   * The configuration file's text, or a function of free ports. Where it has no `events`, an empty one is added at the
   * end, so that line numbers stay.
   */
  readonly config?: string | ((ports: readonly number[]) => string);
  /** Further files by path under the prefix; a Uint8Array as it is, a string as UTF-8. */
  readonly files?: Readonly<Record<string, string | Uint8Array>>;
  /** Further arguments. */
  readonly args?: readonly string[];
  /** `-g`; default: stay in the foreground and log from `info` up to logs/error.log. */
  readonly globals?: string;
  readonly env?: NodeJS.ProcessEnv;
  /** A TypeScript entry to start in place of bin/holdfast. */
  readonly entry?: string;
  /** Flags for Node, with `entry` only. */
  readonly nodeFlags?: readonly string[];
  /** A command that becomes the program: its words stand before the program's own. */
  readonly through?: readonly string[];
  /** The prefix of an earlier start, to start in again. */
  readonly prefix?: string;
  /** Descriptors for its output. Default: the test's own, and a pipe that `Running.stderr` reads. */
  readonly stdout?: number;
  readonly stderr?: number;
}

/** What a program that was run to its end left. */
export interface Outcome {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
  readonly prefix: string;
}

/** A directory of the test's own with `conf/`, `logs/` and the files given; removed at the end of the test. */
export function makePrefix(t: TestContext, files: ProgramOptions["files"] = {}): string {
  const prefix = realpathSync(mkdtempSync(join(tmpdir(), "holdfast-test-")));
  t.after(() => rmSync(prefix, { recursive: true, force: true, maxRetries: 5 }));
  // Started as root, the program becomes another user, who must get in here.
  chmodSync(prefix, 0o755);
  mkdirSync(join(prefix, "conf"));
  mkdirSync(join(prefix, "logs"));
  chmodSync(join(prefix, "logs"), 0o777);
  for (const [path, content] of Object.entries(files)) {
    mkdirSync(dirname(join(prefix, path)), { recursive: true });
    writeFileSync(join(prefix, path), content);
  }
  return prefix;
}

function withEvents(config: string): string {
  return /^\s*events\b/m.test(config) ? config : `${config.trimEnd()} events {}\n`;
}

/** A running program, and the doors to it. */
export class Running {
  readonly child: ChildProcess;
  readonly pid: number;
  readonly prefix: string;
  readonly ports: readonly number[];
  /** Resolves to the exit status, or the name of the signal that ended it. */
  readonly exited: Promise<number | NodeJS.Signals>;
  #stderr = "";
  #exit: number | NodeJS.Signals | undefined;

  constructor(child: ChildProcess, pid: number, prefix: string, ports: readonly number[]) {
    this.child = child;
    this.pid = pid;
    this.prefix = prefix;
    this.ports = ports;
    child.stderr?.on("data", (bytes: Buffer) => {
      this.#stderr += bytes.toString("latin1");
    });
    this.exited = new Promise((resolve) => {
      child.once("close", (code, signal) => {
        this.#exit = code ?? signal ?? -1;
        resolve(this.#exit);
      });
    });
  }

  /** The first port. */
  get port(): number {
    return this.ports[0];
  }

  /** `http://127.0.0.1:PORT` of the first port. */
  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  /** What it has written to standard error. */
  get stderr(): string {
    return this.#stderr;
  }

  /** The exit status once it has ended. */
  get exit(): number | NodeJS.Signals | undefined {
    return this.#exit;
  }

  /** The text (bytes) of a file under the prefix; "" where it is not there. */
  read(path: string): string {
    try {
      return readFileSync(join(this.prefix, path), "latin1");
    } catch {
      return "";
    }
  }

  /** logs/error.log */
  errorLog(): string {
    return this.read("logs/error.log");
  }

  /** logs/access.log */
  accessLog(): string {
    return this.read("logs/access.log");
  }

  /** Waits for a line in a log (logs/error.log), and resolves to the match. */
  waitForLog(pattern: RegExp, path = "logs/error.log"): Promise<RegExpExecArray> {
    const what = () => `${pattern} in ${path}, which has:\n${this.read(path)}`;
    return waitFor(() => pattern.exec(this.read(path)), what);
  }

  signal(signal: NodeJS.Signals): void {
    process.kill(this.pid, signal);
  }

  /** Writes the configuration anew where given, and reloads. Resolves to whether it was taken, once all children have it. */
  async reload(config?: string): Promise<boolean> {
    if (config !== undefined) this.configure(config);
    const before = this.errorLog().length;
    this.signal("SIGHUP");
    const done = await waitFor(
      () => /\[notice\] [^\n]*: (reconfigured|reconfiguring failed)\b/.exec(this.errorLog().slice(before)),
      "the end of the reload",
    );
    return done[1] === "reconfigured";
  }

  /** Writes conf/nginx.conf. */
  configure(config: string): void {
    writeFileSync(join(this.prefix, "conf/nginx.conf"), withEvents(config));
  }

  /** Sends the signal and waits for the end; killed if that takes too long, which rejects. */
  async stop(signal: NodeJS.Signals = "SIGTERM"): Promise<number | NodeJS.Signals> {
    if (this.#exit !== undefined) return this.#exit;
    const { exitCode, signalCode } = this.child;
    if (exitCode !== null || signalCode !== null) {
      // Its children may still be there, and have its output open.
      this.child.stderr?.destroy();
      return exitCode ?? signalCode ?? -1;
    }
    this.signal(signal);
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      this.child.kill("SIGKILL");
    }, PATIENCE_MS);
    const exit = await this.exited;
    clearTimeout(timer);
    if (late) throw new Error(`${signal} did not end the program; its error log:\n${this.errorLog()}`);
    return exit;
  }
}

/**
 * Starts Holdfast with a configuration in a new prefix directory and resolves when it serves: its pid file is there,
 * so every listener is bound. At the end of the test it is stopped and the directory removed, whatever happens.
 *
 *     const holdfast = await startHoldfast(t, { config: (ports) => `http { server { listen ${ports[0]}; … } }` });
 *     const response = await get(holdfast.port, "/");
 */
export async function startHoldfast(t: TestContext, options: ProgramOptions): Promise<Running> {
  const prepared = await prepare(t, options, "daemon off; error_log logs/error.log info;");
  const pidPath = /^\s*pid\s+([^\s;]+)/m.exec(prepared.config)?.[1];
  return started(t, prepared, "logs/holdfast.pid", pidPath, options);
}

/** Runs Holdfast to its end: `-t`, `-V`, a start that fails. `config` undefined: no configuration file is written. */
export async function runHoldfast(t: TestContext, options: ProgramOptions): Promise<Outcome> {
  const { command, args, env, prefix } = await prepare(t, options, options.config === undefined ? "" : "daemon off;");
  return finish(spawn(command, args, { env, stdio: ["ignore", "pipe", "pipe"] }), prefix);
}

/** A command to its end, with what it wrote as byte strings. Killed when it takes too long. */
export function finish(child: ChildProcess, prefix = "", ms = PATIENCE_MS): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    let stdout = "";
    let stderr = "";
    const timer = setTimeout(() => child.kill("SIGKILL"), ms);
    child.stdout?.on("data", (bytes: Buffer) => {
      stdout += bytes.toString("latin1");
    });
    child.stderr?.on("data", (bytes: Buffer) => {
      stderr += bytes.toString("latin1");
    });
    child.once("error", reject);
    child.once("close", (code) => {
      clearTimeout(timer);
      resolve({ code, stdout, stderr, prefix });
    });
  });
}

/** `holdfast WORDS …`, which asks at the control socket of a program that runs there. */
export function runTool({ prefix }: { readonly prefix: string }, ...words: readonly string[]): Promise<Outcome> {
  const env = { ...process.env, HOLDFAST_NODE: process.execPath };
  const child = spawn(LAUNCHER, [...words, "-p", `${prefix}/`], { env, stdio: ["ignore", "pipe", "pipe"] });
  return finish(child, prefix);
}

/**
 * Starts the machine's real nginx in the same way, to compare with, or another `binary`; skip the test with `have("nginx")` where
 * it is not.
 */
export async function startNginx(
  t: TestContext,
  options: Pick<ProgramOptions, "config" | "files">,
  binary = "nginx",
): Promise<Running> {
  const { prefix, ports, config } = await prepare(t, options, "");
  const temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(
    (what) => `${what}_temp_path ${what}_temp;`,
  );
  // The distribution's default log is one that only root may write.
  const log = /\baccess_log\b/.test(config) ? "" : "access_log logs/access.log;";
  writeFileSync(
    join(prefix, "conf/nginx.conf"),
    config.replace(/\bhttp\s*\{/, (http) => `${http} ${temporary.join(" ")} ${log}`),
  );
  const args = ["-p", `${prefix}/`, "-c", "conf/nginx.conf", "-e", "logs/error.log"];
  const globals = "daemon off; pid logs/nginx.pid; error_log logs/error.log info;";
  const env = { ...process.env, PATH: `${process.env.PATH ?? ""}:/usr/sbin:/usr/local/sbin` };
  return started(t, { command: binary, args: [...args, "-g", globals], env, prefix, ports, config }, "logs/nginx.pid");
}

const bundles = new Map<string, string>();

/**
 * A TypeScript entry as one file with its source map, for `ProgramOptions.entry`: it starts several times faster than the
 * many files it is made of. Made once in a test file, whose process removes it at its end.
 */
export function bundled(entry: string): string {
  const known = bundles.get(entry);
  if (known !== undefined) return known;
  const directory = realpathSync(mkdtempSync(join(tmpdir(), "holdfast-entry-")));
  process.once("exit", () => rmSync(directory, { recursive: true, force: true }));
  chmodSync(directory, 0o755);
  const outfile = join(directory, "entry.mjs");
  buildSync({
    entryPoints: [entry],
    outfile,
    bundle: true,
    platform: "node",
    format: "esm",
    sourcemap: true,
    logLevel: "silent",
  });
  bundles.set(entry, outfile);
  return outfile;
}

interface Prepared {
  readonly command: string;
  readonly args: readonly string[];
  readonly env: NodeJS.ProcessEnv;
  readonly prefix: string;
  readonly ports: readonly number[];
  readonly config: string;
}

async function prepare(t: TestContext, options: ProgramOptions, globals: string): Promise<Prepared> {
  const prefix = options.prefix ?? makePrefix(t, options.files);
  const ports: number[] = [];
  let config = "";
  if (options.config !== undefined) {
    if (typeof options.config === "function") {
      for (let i = 0; i < PORTS; i++) ports.push(await freePort());
      config = withEvents(options.config(ports));
    } else {
      config = withEvents(options.config);
    }
    writeFileSync(join(prefix, "conf/nginx.conf"), config);
  }
  const used = options.globals ?? globals;
  const args = ["-p", `${prefix}/`, ...(used === "" ? [] : ["-g", used]), ...(options.args ?? [])];
  const env: NodeJS.ProcessEnv = { ...process.env, HOLDFAST_NODE: process.execPath, ...options.env };
  // The test runner's own: a child that has it would report to the runner.
  delete env.NODE_TEST_CONTEXT;
  delete env.NODE_OPTIONS;
  if (options.env?.NODE_OPTIONS !== undefined) env.NODE_OPTIONS = options.env.NODE_OPTIONS;
  const [through, ...words] = options.through ?? [];
  if (through !== undefined)
    return { command: through, args: [...words, LAUNCHER, ...args], env, prefix, ports, config };
  return options.entry === undefined
    ? { command: LAUNCHER, args, env, prefix, ports, config }
    : {
        command: process.execPath,
        args: [...NODE_FLAGS, ...(options.nodeFlags ?? []), options.entry, ...args],
        env,
        prefix,
        ports,
        config,
      };
}

async function started(
  t: TestContext,
  prepared: Prepared,
  pidFile: string,
  pidPath?: string,
  { stdout, stderr }: ProgramOptions = {},
): Promise<Running> {
  const { command, args, env, prefix, ports } = prepared;
  const child = spawn(command, args, { env, stdio: ["ignore", stdout ?? "inherit", stderr ?? "pipe"] });
  await new Promise<void>((resolve, reject) => {
    child.once("spawn", resolve);
    child.once("error", reject);
  });
  if (child.pid === undefined) throw new Error(`${command} has no process id`);
  const running = new Running(child, child.pid, prefix, ports);
  t.after(async () => {
    if (running.exit !== undefined) return;
    try {
      await running.stop();
    } catch (error) {
      // A stopped (SIGSTOP) or hung one must not outlive the test either.
      child.kill("SIGKILL");
      throw error;
    }
  });
  const path = pidPath ?? pidFile;
  const absolute = path.startsWith("/") ? path : join(prefix, path);
  await waitFor(() => {
    if (running.exit !== undefined) {
      throw new Error(`${command} ended with ${running.exit}:\n${running.stderr}\n${running.errorLog()}`);
    }
    return readIfThere(absolute) === `${child.pid}\n`;
  }, `the pid file ${path}`);
  return running;
}

function readIfThere(path: string): string {
  try {
    return readFileSync(path, "latin1");
  } catch {
    return "";
  }
}
